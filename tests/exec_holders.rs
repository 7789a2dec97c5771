//! `afterdrop exec` on programs that hide what they hold: in 40 cycles nothing of it may be called lost, and so a leak.

mod common;

use std::path::Path;
use std::process::Command;

use afterdrop::report::{Report, RunVerdict};
use rstest::rstest;

use common::{Folder, afterdrop, finish};

#[rstest]
#[case("last-byte")]
#[case("end")]
#[case("hash-table-of-the-c-library")]
#[case("argument-of-an-exit-handler")]
#[case("sbrk")]
#[case("sbrk-before-malloc")]
#[case("like-an-arena")]
#[case("not-aligned-in-a-mapping")]
#[case("not-aligned-on-the-stack")]
fn what_is_hard_to_see_is_not_lost(#[case] place: &str) {
    let report = report_of(place);
    assert_eq!(report.verdict, RunVerdict::Growing, "{report}");
    let holder = report.call_sites[0].holder.as_ref().expect("a holder");
    assert!(!holder.kind.is_lost(), "{holder:?}");
}

#[rstest]
#[case("forgotten")]
#[case("in-a-freed-block")]
fn what_is_lost_is_seen(#[case] place: &str) {
    let report = report_of(place);
    assert_eq!(report.verdict, RunVerdict::Leak, "{report}");
    let holder = report.call_sites[0].holder.as_ref().expect("a holder");
    assert!(holder.kind.is_lost(), "{holder:?}");
}

/// What `afterdrop exec` says of 40 cycles of `hidden PLACE`.
fn report_of(place: &str) -> Report {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Folder::new();
    let program = folder.join("hidden");
    let compiled = Command::new("cc")
        .args(["-g", "-O1", "-I"])
        .arg(root.join("crates/preload/include"))
        .arg("-o")
        .args([&program, &root.join("fixtures/exec/hidden.c")])
        .status();
    assert!(compiled.unwrap().success());
    let mut command = Command::new(afterdrop());
    command
        .args(["exec", "--cycle-at", "call", "--out"])
        .arg(folder.join("out"))
        .arg("--")
        .arg(&program)
        .args([place, "40"]);
    finish(command, folder).exits(1).report()
}
