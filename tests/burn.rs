//! The Burn models: inference is clean, and the leak in Burn's autodiff is found with its call sites.

mod common;

use afterdrop::Phase;
use afterdrop::report::{CallSite, Report, RunVerdict};
use common::{Folder, command, run};
use rstest::rstest;

fn has_frame(site: &CallSite, file: &str) -> bool {
    let files = site.stack.iter().filter_map(|f| f.file.as_deref());
    files.into_iter().any(|f| f.contains(file))
}

fn leaks_from<'a>(report: &'a Report, file: &str) -> Vec<&'a CallSite> {
    report
        .growing_call_sites()
        .filter(|s| has_frame(s, file))
        .collect()
}

#[rstest]
fn inference_on_ndarray_is_clean(
    #[values("burn:mlp", "burn:cnn", "burn:transformer")] workload: &str,
) {
    let ran = run([workload, "--cycles", "24"]).exits(0);
    let report = ran.report();
    assert_eq!(report.verdict, RunVerdict::Clean, "{}", ran.out);
    assert_eq!(report.options, ["device=ndarray", "format=bpk"]);
    assert!(
        report.boundaries.iter().all(|b| b.loaded_bytes > 10_000),
        "{}",
        ran.out
    );
    assert!(!ran.file("scratch").exists());
}

#[test]
fn loading_from_safetensors_is_clean() {
    let ran = run(["burn:mlp", "--format", "safetensors", "--cycles", "24"]).exits(0);
    assert_eq!(
        ran.report().options,
        ["device=ndarray", "format=safetensors"]
    );
}

#[test]
fn inference_on_an_autodiff_device_leaks_in_burn_autodiff_and_in_the_model() {
    // A call of `backward` would free the graphs, so that growth is a leak only past the horizon.
    let ran = run(["burn:cnn", "--device", "autodiff", "--horizon", "20"]).exits(1);
    let report = ran.report();
    assert_eq!(report.verdict, RunVerdict::Leak, "{}", ran.out);
    assert_eq!(report.cycles_run(), 3 + 20 + 4, "{}", ran.out);
    assert!(report.bytes_per_cycle.unwrap() > 100_000.0, "{}", ran.out);
    let in_graph = leaks_from(&report, "burn-autodiff-0.22.1/src/");
    assert!(!in_graph.is_empty(), "{}", ran.out);
    let in_model: Vec<_> = report
        .growing_call_sites()
        .filter(|s| s.file.as_deref() == Some("src/workloads/models/cnn.rs"))
        .collect();
    assert!(!in_model.is_empty(), "{}", ran.out);
    assert!(
        in_model.iter().any(|s| s.phase == Phase::Infer),
        "{}",
        ran.out
    );
}

#[test]
fn loading_alone_leaks_on_an_autodiff_device() {
    let ran = run(["burn:mlp", "--device", "autodiff", "--no-infer"]).exits(1);
    let report = ran.report();
    assert_eq!(report.verdict, RunVerdict::Leak, "{}", ran.out);
    assert!(
        report.growing_call_sites().all(|s| s.phase == Phase::Load),
        "{}",
        ran.out
    );
    assert!(
        !leaks_from(&report, "burn-autodiff-0.22.1/src/").is_empty(),
        "{}",
        ran.out
    );
}

#[test]
fn dhat_reports_the_same_lines_as_jemalloc() {
    let lines = |heap: &str| {
        let args = [
            "burn:mlp",
            "--device",
            "autodiff",
            "--no-infer",
            "--heap",
            heap,
        ];
        let report = run(args).exits(1).report();
        if let Some(witness) = &report.witness {
            assert!(witness.agrees, "{witness:?}");
        }
        let mut lines: Vec<_> = report
            .growing_call_sites()
            .map(|s| (s.location(), s.bytes_per_cycle.map(|b| b as u64)))
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(lines("jemalloc"), lines("dhat"));
}

/// Runs `burn:mlp` with a file that cannot be loaded.
fn is_refused(file: &str, says: &str) {
    let ran = run(["burn:mlp", "--model", file]).exits(2);
    assert!(ran.error().contains(says), "{}", ran.err);
    assert!(ran.error().contains(file), "{}", ran.err);
    assert!(!ran.dir().exists());
}

#[rstest]
#[case::truncated("truncated.bpk", shipped()[..shipped().len() / 2].to_vec(), "is not a bpk file of burn:mlp")]
#[case::of_another_kind("foreign.bpk", b"not a model".to_vec(), "is not a bpk file of burn:mlp")]
#[case::empty(
    "empty.safetensors",
    Vec::new(),
    "is not a safetensors file of burn:mlp"
)]
fn a_file_without_a_model_is_refused(
    #[case] name: &str,
    #[case] bytes: Vec<u8>,
    #[case] says: &str,
) {
    let folder = Folder::new();
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    is_refused(&path.to_string_lossy(), says);
}

fn shipped() -> Vec<u8> {
    std::fs::read("fixtures/burn/mlp.bpk").unwrap()
}

#[rstest]
#[case::a_device("/dev/zero", "is not a regular file")]
#[case::another_model("fixtures/burn/cnn.bpk", "is not a bpk file of burn:mlp")]
#[case::missing("nowhere/missing.bpk", "cannot read the model")]
fn a_path_without_the_model_is_refused(#[case] file: &str, #[case] says: &str) {
    is_refused(file, says);
}

#[test]
fn no_extension_is_added_to_the_name_of_a_model_file() {
    let folder = Folder::new();
    let bare = folder.join("bare");
    std::fs::write(&bare, b"not a model").unwrap();
    std::fs::copy("fixtures/burn/mlp.bpk", folder.join("bare.bpk")).unwrap();
    is_refused(&bare.to_string_lossy(), "is not a bpk file of burn:mlp");
}

#[test]
fn a_pipe_is_refused_as_a_model_file() {
    let folder = Folder::new();
    let pipe = folder.join("pipe.bpk").to_string_lossy().into_owned();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    is_refused(&pipe, "is not a regular file");
}

/// Runs `burn:mlp` with another file.
fn run_file(path: &std::path::Path) -> common::Ran {
    run([
        "burn:mlp",
        "--model",
        &path.to_string_lossy(),
        "--cycles",
        "12",
    ])
}

#[test]
fn a_copy_of_the_shipped_file_is_loaded() {
    let folder = Folder::new();
    let copy = folder.join("copy.safetensors");
    std::fs::copy("fixtures/burn/mlp.safetensors", &copy).unwrap();
    let report = run_file(&copy).exits(0).report();
    assert_eq!(report.options, ["device=ndarray", "format=safetensors"]);
}

#[test]
fn a_file_with_other_weights_fails_in_the_first_inference() {
    let folder = Folder::new();
    let path = folder.join("other.safetensors");
    let mut bytes = std::fs::read("fixtures/burn/mlp.safetensors").unwrap();
    for value in bytes.chunks_exact_mut(4).rev().take(100_000) {
        value[3] ^= 0x80;
    }
    std::fs::write(&path, bytes).unwrap();
    let ran = run_file(&path).exits(3);
    assert!(
        ran.error().contains("cycle 1, infer: the output is wrong"),
        "{}",
        ran.err
    );
}

#[test]
fn an_unknown_device_is_refused_with_a_hint() {
    let ran = run(["burn:mlp", "--device", "ndaray"]).exits(2);
    assert!(
        ran.error().contains("did you mean `ndarray`"),
        "{}",
        ran.err
    );
    if !cfg!(feature = "flex") {
        let ran = run(["burn:mlp", "--device", "flex"]).exits(2);
        assert!(ran.error().contains("--features flex"), "{}", ran.err);
    }
}

#[cfg(feature = "flex")]
#[test]
fn the_flex_device_keeps_its_memory_pool_and_is_clean() {
    let ran = run(["burn:mlp", "--device", "flex", "--cycles", "24"]).exits(0);
    assert_eq!(ran.report().verdict, RunVerdict::Clean, "{}", ran.out);
}

#[test]
fn the_command_runs_outside_the_repository() {
    let ran = command(["run", "burn:mlp", "--cycles", "12", "--out", "out"]).exits(0);
    assert_eq!(ran.report().cycles_run(), 12);
}
