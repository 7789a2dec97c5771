//! The command on Keras files: each fixture predicts what Keras predicted, and each damaged or
//! unsupported file is refused in one line that names the part of the file.

mod common;

use std::path::{Path, PathBuf};

use common::{Ran, command};
use rstest::rstest;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/keras")
        .join(name)
}

fn run(model: &str, args: &[&str]) -> Ran {
    let model = fixture(model);
    common::run([&[model.to_str().unwrap()], args].concat())
}

/// The arguments for the fixture's input and for what Keras predicted for it.
fn data(folder: &str) -> Vec<String> {
    let file = |name: &str| fixture(folder).join(name).to_str().unwrap().to_owned();
    let mut args = vec!["--input".into(), file("input.npy")];
    if fixture(folder).join("input_positions.npy").exists() {
        args.extend(["--input".into(), file("input_positions.npy")]);
    }
    args.extend(["--expect".into(), file("expected.npy")]);
    args
}

#[rstest]
fn each_model_predicts_what_keras_predicted(
    #[values("mlp", "lenet", "resblock", "lstm", "gru_bidir", "transformer")] folder: &str,
    #[values("model.h5", "model.keras")] file: &str,
) {
    let args = data(folder);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let report = run(&format!("{folder}/{file}"), &args).exits(0).report();
    assert!(report.cycles_run() <= 19, "{}", report.summary);
    assert!(report.boundaries.iter().all(|b| b.loaded_bytes > 10_000));
}

#[rstest]
fn each_layer_predicts_what_keras_predicted(
    // Keras cannot write a mask of a Functional model to a legacy file: one folder has no `.h5`.
    #[files("fixtures/keras/variants/*/model.h5")]
    #[files("fixtures/keras/variants/*/model.keras")]
    model: PathBuf,
) {
    let folder = model.parent().unwrap();
    let mut args = Vec::new();
    let inputs = (0..).map(|i| folder.join(format!("input_{i}.npy")));
    for input in inputs.take_while(|path| path.exists()) {
        args.extend(["--input".into(), input.to_str().unwrap().to_owned()]);
    }
    let expected = folder.join("expected.npy");
    args.extend(["--expect".into(), expected.to_str().unwrap().to_owned()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(model.to_str().unwrap(), &args).exits(0);
}

#[test]
fn a_wrong_prediction_is_found() {
    let args = data("mlp");
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    let other = fixture("lenet/expected.npy");
    *args.last_mut().unwrap() = other.to_str().unwrap();
    let ran = run("mlp/model.h5", &args).exits(2);
    assert!(
        ran.error().contains("values, and 80 are expected"),
        "{}",
        ran.err
    );
}

#[rstest]
fn a_model_runs_on_a_generated_input(
    #[values("lenet/model.keras", "transformer/model.h5", "h5extra/mlp_gzip.h5")] model: &str,
) {
    let report = run(model, &["--batch", "3"]).exits(0).report();
    assert!(
        report.options.contains(&"batch=3".into()),
        "{:?}",
        report.options
    );
}

#[rstest]
#[case::empty("damaged/empty.h5", "is empty")]
#[case::of_another_kind("damaged/not_hdf5.h5", "neither an HDF5 file nor a .keras archive")]
#[case::cut_off_in_the_header(
    "damaged/truncated_100.h5",
    "is truncated: it has 100 bytes of 119720"
)]
#[case::cut_off_in_the_middle(
    "damaged/truncated_half.h5",
    "is truncated: it has 59860 bytes of 119720"
)]
#[case::an_archive_cut_off("damaged/truncated.keras", "the zip archive is damaged")]
#[case::without_a_configuration(
    "damaged/no_config.keras",
    "the member `config.json` cannot be read"
)]
#[case::without_weights(
    "damaged/no_weights.keras",
    "the member `model.weights.h5` cannot be read"
)]
#[case::a_weight_of_a_wrong_shape(
    "damaged/wrong_shape.keras",
    "layer `dense`: the weight `kernel` has the shape [64, 160], and the configuration says \
     [any, 150]"
)]
#[case::an_unsupported_layer("unsupported/lambda.h5", "layer `lambda` is of the class `Lambda`")]
#[case::an_unsupported_layer_in_an_archive(
    "unsupported/lambda.keras",
    "supported are: Activation, Add"
)]
#[case::a_custom_layer("unsupported/custom.keras", "layer `scale` is of the class `Scale`")]
#[case::missing("nowhere.h5", "No such file")]
fn a_damaged_file_is_refused(#[case] file: &str, #[case] says: &str) {
    let ran = run(file, &[]).exits(2);
    assert!(ran.error().contains(says), "{}", ran.err);
    assert!(!ran.dir().exists());
}

#[test]
fn a_model_with_a_weight_that_is_not_a_number_runs() {
    run("damaged/nan_weight.keras", &[]).exits(0);
}

#[rstest]
#[case::a_text_file("mlp/model.h5", &["--input", "README.md"], "is not a .npy file")]
#[case::a_missing_file("mlp/model.h5", &["--input", "nowhere.npy"], "nowhere.npy")]
#[case::an_empty_batch("mlp/model.h5", &["--batch", "0"], "--batch 0 is out of range")]
#[case::an_option_without_effect("mlp/model.h5", &["--format", "bpk"], "takes no --format")]
#[case::an_input_of_another_shape(
    "lenet/model.h5",
    &["--input", "mlp/input.npy"],
    "input `input_layer_1` must have the shape [any, 28, 28, 1], got [16, 64]"
)]
#[case::an_output_without_an_input(
    "mlp/model.h5",
    &["--expect", "mlp/input.npy"],
    "--expect needs --input"
)]
#[case::one_input_of_two(
    "transformer/model.h5",
    &["--input", "mlp/input.npy"],
    "takes 2 inputs"
)]
fn wrong_options_are_refused(#[case] model: &str, #[case] args: &[&str], #[case] says: &str) {
    let in_fixtures = |arg: &str| match arg.contains('.') {
        true => fixture(arg).to_str().unwrap().to_owned(),
        false => arg.to_owned(),
    };
    let args: Vec<String> = args.iter().map(|arg| in_fixtures(arg)).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ran = run(model, &args).exits(2);
    assert!(ran.error().contains(says), "{}", ran.err);
}

#[test]
fn the_strategies_are_compared_on_a_file_and_leave_no_predictions() {
    let model = fixture("lenet/model.h5");
    let model = model.to_str().unwrap();
    let ran = command([
        "strategies",
        model,
        "--cycles",
        "20",
        "--json",
        "--out",
        "out",
    ]);
    let ran = ran.exits(0);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    for row in json["rows"].as_array().unwrap() {
        let keeps = row["strategy"] == "keep";
        assert_eq!(
            row["verdict"],
            if keeps { "leak" } else { "clean" },
            "{row}"
        );
    }
    let slot = ran.file("slot-size1-f32");
    assert!(slot.join("report.json").exists() && !slot.join("spill").exists());
}
