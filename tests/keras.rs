//! Keras files on the command line: each fixture runs and predicts what Keras predicted, and each
//! damaged or unsupported one is refused in one line that names the place.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, Ran, finish, run_with};
use rstest::rstest;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/keras")
        .join(name)
}

fn run(model: &str, args: &[&str]) -> Ran {
    let model = fixture(model);
    let args = [&[model.to_str().unwrap()], args].concat();
    run_with(Path::new(env!("CARGO_BIN_EXE_afterdrop")), args)
}

/// The fixture's own input and what Keras predicted for it.
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
fn every_model_predicts_what_keras_predicted(
    #[values("mlp", "lenet", "resblock", "lstm", "gru_bidir", "transformer")] folder: &str,
    #[values("model.h5", "model.keras")] file: &str,
) {
    let args = data(folder);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ran = run(&format!("{folder}/{file}"), &args).exits(0);
    let report = ran.report();
    assert!(report.cycles_run() <= 12, "{}", report.summary);
    assert!(report.boundaries.iter().all(|b| b.loaded_bytes > 10_000));
}

#[rstest]
fn every_layer_predicts_what_keras_predicted(
    #[files("fixtures/keras/variants/*/model.*")] model: PathBuf,
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
fn there_is_a_model_for_every_layer() {
    let folders = std::fs::read_dir(fixture("variants")).unwrap();
    let folders = folders.map(|folder| folder.unwrap().path());
    let files = folders.flat_map(|f| ["model.h5", "model.keras"].map(|name| f.join(name)));
    // Keras cannot write a mask of a Functional model to a legacy file.
    assert!(files.filter(|file| file.exists()).count() >= 36);
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

#[test]
fn a_model_runs_on_a_generated_input() {
    for model in [
        "lenet/model.keras",
        "transformer/model.h5",
        "h5extra/mlp_gzip.h5",
    ] {
        let ran = run(model, &["--batch", "3"]).exits(0);
        let report = ran.report();
        assert!(
            report.options.contains(&"batch=3".into()),
            "{:?}",
            report.options
        );
    }
}

#[test]
fn damaged_files_are_refused_with_their_place() {
    for (file, says) in [
        ("damaged/empty.h5", "is empty"),
        (
            "damaged/not_hdf5.h5",
            "neither an HDF5 file nor a .keras archive",
        ),
        (
            "damaged/truncated_100.h5",
            "is truncated: it has 100 bytes of 119720",
        ),
        (
            "damaged/truncated_half.h5",
            "is truncated: it has 59860 bytes of 119720",
        ),
        ("damaged/truncated.keras", "the zip archive is damaged"),
        (
            "damaged/no_config.keras",
            "the member `config.json` cannot be read",
        ),
        (
            "damaged/no_weights.keras",
            "the member `model.weights.h5` cannot be read",
        ),
        (
            "damaged/wrong_shape.keras",
            "layer `dense`: the weight `kernel` has the shape [64, 160], and the configuration \
             says [any, 150]",
        ),
        (
            "unsupported/lambda.h5",
            "layer `lambda` is of the class `Lambda`",
        ),
        ("unsupported/lambda.keras", "supported are: Activation, Add"),
        (
            "unsupported/custom.keras",
            "layer `scale` is of the class `Scale`",
        ),
        ("nowhere.h5", "No such file"),
    ] {
        let ran = run(file, &[]).exits(2);
        let error = ran.error();
        assert!(error.contains(says), "{file}: {error}");
        assert!(!ran.dir().exists(), "{file}: nothing was made");
    }
}

#[test]
fn weights_that_are_not_numbers_load_and_predict_none() {
    run("damaged/nan_weight.keras", &[]).exits(0);
}

#[test]
fn bad_inputs_are_one_line() {
    let text = fixture("README.md");
    let text = text.to_str().unwrap();
    let input = fixture("mlp/input.npy");
    let input = input.to_str().unwrap();
    for (model, args, says) in [
        ("mlp/model.h5", &["--input", text][..], "is not a .npy file"),
        (
            "mlp/model.h5",
            &["--input", "nowhere.npy"][..],
            "nowhere.npy",
        ),
        (
            "mlp/model.h5",
            &["--batch", "0"][..],
            "--batch 0 is out of range",
        ),
        (
            "mlp/model.h5",
            &["--format", "bpk"][..],
            "takes no --format",
        ),
        (
            "lenet/model.h5",
            &["--input", input][..],
            "must have the shape",
        ),
        (
            "mlp/model.h5",
            &["--expect", input][..],
            "--expect needs --input",
        ),
        (
            "transformer/model.h5",
            &["--input", input][..],
            "takes 2 inputs",
        ),
    ] {
        let ran = run(model, args).exits(2);
        assert!(ran.error().contains(says), "{args:?}: {}", ran.err);
    }
}

#[test]
fn strategies_on_a_file_leave_nothing_but_where_models_are_kept() {
    let folder = Folder::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_afterdrop"));
    command.args(["strategies", fixture("lenet/model.h5").to_str().unwrap()]);
    command
        .args(["--cycles", "20", "--json", "--out"])
        .arg(folder.join("out"));
    let ran = finish(command, folder).exits(0);
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
