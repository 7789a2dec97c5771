//! Real models: Burn's own leak is found, with its call sites, and what is clean is called clean.

mod common;

use std::path::Path;

use afterdrop::Phase;
use afterdrop::report::{CallSite, Report, RunVerdict};
use common::{Folder, Ran, finish, run_with};

fn run(args: &[&str]) -> Ran {
    run_with(Path::new(env!("CARGO_BIN_EXE_afterdrop")), args)
}

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

#[test]
fn inference_on_ndarray_is_clean() {
    for workload in ["burn:mlp", "burn:cnn", "burn:transformer"] {
        let ran = run(&[workload, "--cycles", "24"]).exits(0);
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
}

#[test]
fn loading_from_safetensors_is_clean() {
    let ran = run(&["burn:mlp", "--format", "safetensors", "--cycles", "24"]).exits(0);
    assert_eq!(
        ran.report().options,
        ["device=ndarray", "format=safetensors"]
    );
}

#[test]
fn serving_on_an_autodiff_device_leaks_in_burn_autodiff_and_in_the_model() {
    // A `backward` every so often would free the graphs: only the horizon tells.
    let ran = run(&["burn:cnn", "--device", "autodiff", "--horizon", "20"]).exits(1);
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
    let ran = run(&["burn:mlp", "--device", "autodiff", "--no-infer"]).exits(1);
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
fn dhat_names_the_same_lines_as_jemalloc() {
    let lines = |heap: &str| {
        let args = [
            "burn:mlp",
            "--device",
            "autodiff",
            "--no-infer",
            "--heap",
            heap,
        ];
        let report = run(&args).exits(1).report();
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

#[test]
fn a_model_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    let shipped = std::fs::read("fixtures/burn/mlp.bpk").unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_string_lossy().into_owned()
    };
    let truncated = write("truncated.bpk", &shipped[..shipped.len() / 2]);
    let foreign = write("foreign.bpk", b"this is no model");
    let empty = write("empty.safetensors", b"");
    let missing = folder.join("missing.bpk").to_string_lossy().into_owned();
    // Named as it is: no ending is guessed, though another file would answer to it.
    let bare = write("bare", b"this is no model");
    std::fs::copy("fixtures/burn/mlp.bpk", folder.join("bare.bpk")).unwrap();
    let pipe = folder.join("pipe.bpk").to_string_lossy().into_owned();
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    for (file, says) in [
        (missing.as_str(), "cannot read the model"),
        (&truncated, "is no bpk file of burn:mlp"),
        (&foreign, "is no bpk file of burn:mlp"),
        (&empty, "is no safetensors file of burn:mlp"),
        (&bare, "is no bpk file of burn:mlp"),
        (&pipe, "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        ("fixtures/burn/cnn.bpk", "is no bpk file of burn:mlp"),
    ] {
        let ran = run(&["burn:mlp", "--model", file]).exits(2);
        assert!(ran.error().contains(says), "{}", ran.err);
        assert!(ran.error().contains(file), "{}", ran.err);
        assert!(!ran.dir().exists());
    }
}

#[test]
fn another_file_of_the_same_model_can_be_named_but_not_its_output() {
    // The right file under another name runs.
    let folder = Folder::new();
    let copy = folder.join("copy.safetensors");
    std::fs::copy("fixtures/burn/mlp.safetensors", &copy).unwrap();
    let ran = run(&[
        "burn:mlp",
        "--model",
        &copy.to_string_lossy(),
        "--cycles",
        "12",
    ])
    .exits(0);
    assert_eq!(
        ran.report().options,
        ["device=ndarray", "format=safetensors"]
    );
    // Weights of another training give another output, which no cycle lets pass.
    let mut bytes = std::fs::read(&copy).unwrap();
    for value in bytes.chunks_exact_mut(4).rev().take(100_000) {
        value[3] ^= 0x80;
    }
    std::fs::write(&copy, bytes).unwrap();
    let ran = run(&[
        "burn:mlp",
        "--model",
        &copy.to_string_lossy(),
        "--cycles",
        "12",
    ])
    .exits(3);
    assert!(
        ran.error().contains("cycle 1, infer: the output is wrong"),
        "{}",
        ran.err
    );
}

#[test]
fn a_device_that_does_not_exist_is_named() {
    let ran = run(&["burn:mlp", "--device", "ndaray"]).exits(2);
    assert!(
        ran.error().contains("did you mean `ndarray`"),
        "{}",
        ran.err
    );
    if !cfg!(feature = "flex") {
        let ran = run(&["burn:mlp", "--device", "flex"]).exits(2);
        assert!(ran.error().contains("--features flex"), "{}", ran.err);
    }
}

#[test]
fn the_flex_device_keeps_its_slab_and_is_clean() {
    if !cfg!(feature = "flex") {
        return;
    }
    let ran = run(&["burn:mlp", "--device", "flex", "--cycles", "24"]).exits(0);
    assert_eq!(ran.report().verdict, RunVerdict::Clean, "{}", ran.out);
}

#[test]
fn the_command_runs_outside_the_repository() {
    let folder = Folder::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_afterdrop"));
    command
        .args(["run", "burn:mlp", "--cycles", "12", "--out", "out"])
        .current_dir(folder.path());
    let ran = finish(command, folder).exits(0);
    assert_eq!(ran.report().cycles_run(), 12);
}
