//! Every fixture predicts what Keras predicted.

use std::path::PathBuf;

use keras_burn::{Array, Model, read_arrays};
use rstest::rstest;

use crate::common::{device, fixture};

/// Largest difference of a value from Keras's: absolute, and relative to it.
const ABSOLUTE: f32 = 1e-5;
const RELATIVE: f32 = 1e-4;

fn arrays(path: &PathBuf) -> Vec<Array> {
    let arrays = read_arrays(path).unwrap().into_iter();
    arrays.map(|(_, array)| array).collect()
}

/// The inputs in a fixture's folder, in the order of the model.
fn inputs(folder: &std::path::Path) -> Vec<Array> {
    let plain = ["input.npy", "input_positions.npy"].map(|name| folder.join(name));
    let numbered = (0..).map(|i| folder.join(format!("input_{i}.npy")));
    let numbered = numbered.take_while(|path| path.exists());
    let files = plain
        .into_iter()
        .filter(|path| path.exists())
        .chain(numbered);
    files.flat_map(|path| arrays(&path)).collect()
}

fn values(arrays: &[Array]) -> Vec<f32> {
    arrays.iter().flat_map(Array::values).copied().collect()
}

#[rstest]
fn a_model_predicts_what_keras_predicted(
    #[files("../../fixtures/keras/variants/*/model.*")]
    #[files("../../fixtures/keras/[glmrt]*/model.*")]
    path: PathBuf,
) {
    let folder = path.parent().unwrap();
    let model = Model::read(&path, &device()).unwrap();
    let outputs = model.predict(&inputs(folder)).unwrap();
    let expected = arrays(&folder.join("expected.npy"));
    if let ([output], [expected]) = (&outputs[..], &expected[..])
        && expected.shape().len() > 1
    {
        assert_eq!(output.shape(), expected.shape());
    }
    let (outputs, expected) = (values(&outputs), values(&expected));
    assert_eq!(outputs.len(), expected.len());
    for (i, (o, e)) in outputs.iter().zip(&expected).enumerate() {
        let is_near = (o - e).abs() <= ABSOLUTE + RELATIVE * e.abs();
        let is_same = o == e || (o.is_nan() && e.is_nan());
        assert!(is_near || is_same, "value {i} is {o}, and Keras has {e}");
    }
}

#[rstest]
fn weights_of_bfloat16_are_read(#[values("bfloat16/model.h5", "bfloat16/model.keras")] file: &str) {
    let model = Model::read(fixture(file), &device()).unwrap();
    assert!(model.plan().is_half_precision());
    let outputs = model
        .predict(&arrays(&fixture("bfloat16/input.npy")))
        .unwrap();
    let expected = values(&arrays(&fixture("bfloat16/expected.npy")));
    let outputs = values(&outputs);
    assert_eq!(outputs.len(), expected.len());
    for (o, e) in outputs.iter().zip(&expected) {
        // Keras also rounds what it computes to eight bits.
        assert!((o - e).abs() < 0.02, "{outputs:?} {expected:?}");
    }
}

#[rstest]
fn weights_are_read_however_hdf5_stores_them(
    #[files("../../fixtures/keras/h5extra/mlp_*.h5")] path: PathBuf,
) {
    let inputs = inputs(&fixture("mlp"));
    let predict = |path: &PathBuf| {
        let model = Model::read(path, &device()).unwrap();
        values(&model.predict(&inputs).unwrap())
    };
    assert_eq!(predict(&path), predict(&fixture("mlp/model.h5")));
}

#[test]
fn inputs_and_outputs_have_the_names_of_their_layers() {
    let model = Model::read(fixture("transformer/model.keras"), &device()).unwrap();
    let names: Vec<&str> = model.inputs().iter().map(|input| input.name()).collect();
    assert_eq!(names.len(), 2);
    assert!(model.inputs().iter().all(|input| input.tokens().is_some()));
    assert_eq!(model.outputs().len(), 1);
    let error = model.predict(&[]).unwrap_err();
    assert!(error.is_input());
    assert!(
        error.to_string().contains("takes 2 inputs, and is given 0"),
        "{error}"
    );
}
