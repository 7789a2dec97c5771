//! `explain`: how the verdicts of a stored report were reached.

use crate::common::{command, run};

#[test]
fn a_stored_report_is_explained() {
    let ran = run(["planted:forget", "--no-holders"]).exits(1);
    let explain = |which: &[&str]| {
        let report = ran.file("report.json");
        let args = [&["explain", report.to_str().unwrap()], which].concat();
        command(&args)
    };
    let whole = explain(&[]).exits(0);
    for says in [
        "call site 1: leak",
        "fixtures/leaks/forget.rs:",
        "growth (Theil-Sen): 1,000 B per cycle",
        "68 in cycles 1-68: a generation outlived every one that died",
        "64 cycles from the first rise to the last confirmed one; the horizon is 64",
        "the span of the rises exceeds the horizon",
        "what would change the verdict",
    ] {
        assert!(whole.words().contains(says), "{says}: {}", whole.out);
    }
    assert!(whole.words().contains("live at the peak"), "{}", whole.out);
    // The only call site, without the peak.
    let one = explain(&["1"]).exits(0).out;
    assert!(whole.out.starts_with(&one), "{one}");
    assert_eq!(explain(&["forget::"]).exits(0).out, one);
    assert!(
        explain(&["99"])
            .exits(2)
            .error()
            .contains("no call site `99`")
    );
    let threads = explain(&["threads"]).exits(0);
    assert!(
        threads
            .words()
            .contains("process, growth in threads: churn it does not rise")
    );
    let missing = command(["explain", "nowhere.json"]).exits(2);
    assert!(missing.error().contains("nowhere.json"));
}

#[test]
fn growth_of_the_process_is_explained_like_that_of_a_call_site() {
    let ran = run(["planted:mmap_leak"]).exits(1);
    assert!(
        ran.out
            .starts_with("LEAK        planted:mmap_leak: growth in mapped memory")
    );
    let report = ran.file("report.json");
    let whole = command(["explain", report.to_str().unwrap()]).exits(0);
    for says in [
        "process, growth in mapped memory: leak",
        "growth (Theil-Sen): 65,536 B per cycle",
        "the span of the rises exceeds the horizon",
    ] {
        assert!(whole.words().contains(says), "{says}: {}", whole.out);
    }
}

#[test]
fn the_explanation_of_a_run_without_a_report_says_so() {
    let ran = run(["planted:lru", "--cycles", "12"]);
    std::fs::remove_file(ran.file("report.json")).unwrap();
    let explained = command(["explain", ran.dir().to_str().unwrap()]).exits(0);
    assert!(
        explained
            .words()
            .contains("note: this report was made from the journal"),
        "{}",
        explained.out
    );
}

#[test]
fn a_folder_of_several_runs_names_them() {
    let ran = command([
        "strategies",
        "planted:lru",
        "--cycles",
        "12",
        "--out",
        "out",
    ]);
    let folder = ran.dir();
    let asked = command(["explain", folder.to_str().unwrap()]).exits(2);
    assert!(
        asked.error().contains("out/fresh-size1-f32"),
        "{}",
        asked.err
    );
    let one = folder.join("fresh-size1-f32");
    command(["explain", one.to_str().unwrap()]).exits(0);
}
