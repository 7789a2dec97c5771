//! Every planted case under every heap: verdict, line, phase, bytes and blocks, to the byte.

mod common;

use std::path::Path;
use std::process::Command;

use afterdrop::report::{Report, RunVerdict, Site};
use afterdrop::workloads::{Truth, all};

fn afterdrop() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_afterdrop"))
}

fn truth(name: &str) -> Truth {
    let entries = all();
    let entry = entries.iter().find(|e| e.name() == name);
    entry.unwrap().truth().unwrap().clone()
}

fn is_marked(site: &Site, truth: &Truth) -> bool {
    site.file.as_deref() == Some(&truth.file) && site.line == Some(truth.line)
}

fn check(name: &str, heap: &str) {
    let name = format!("planted:{name}");
    let truth = truth(&name);
    let leaks = truth.verdict.is_growth();
    // Under jemalloc as a user runs it: until everything is settled.
    let auto = heap == "jemalloc";
    let cycles = if auto { "auto" } else { "83" };
    let args = [&*name, "--heap", heap, "--cycles", cycles];
    let ran = common::run_with(afterdrop(), args).exits(i32::from(leaks));
    let report = ran.report();
    let expected = if leaks {
        RunVerdict::Leak
    } else {
        RunVerdict::Clean
    };
    assert_eq!(report.verdict, expected, "{}", ran.out);
    assert_eq!(
        report.bytes_per_cycle,
        Some(truth.bytes_per_cycle),
        "{}",
        ran.out
    );

    let marked: Vec<&Site> = report
        .sites
        .iter()
        .filter(|s| is_marked(s, &truth))
        .collect();
    if auto && !leaks && marked.is_empty() {
        // What happens once, and late, is beyond a run that ends early.
        return;
    }
    let [site] = marked[..] else {
        panic!("{} sites at the marked line\n{}", marked.len(), ran.out);
    };
    assert_eq!(site.verdict, truth.verdict, "{}", ran.out);
    assert_eq!(site.phase, truth.phase, "{}", ran.out);
    assert_eq!(
        site.bytes_per_cycle,
        Some(truth.bytes_per_cycle),
        "{}",
        ran.out
    );
    let blocks = site.blocks_per_cycle.unwrap();
    assert!(
        (blocks - truth.blocks_per_cycle).abs() < 1e-9,
        "{}",
        ran.out
    );

    // Nobody else is accused, and nobody who must not be in the stack is in it.
    let accused = report
        .growing_sites()
        .filter(|s| !is_marked(s, &truth))
        .count();
    assert_eq!(accused, 0, "{}", ran.out);
    let blamed = report.growing_sites().map(|s| s.function.as_str());
    for function in blamed {
        for innocent in ["freed_twin", "afterdrop::heap", "__rust", "alloc::vec"] {
            assert!(!function.contains(innocent), "{function} is blamed");
        }
    }
    adds_up(&report);
    if heap == "dhat" {
        let witness = report.witness.as_ref().expect("dhat was asked");
        assert!(witness.agrees, "{witness:?}");
        assert!(ran.file("dhat-heap.json").exists());
    }
}

fn adds_up(report: &Report) {
    let a = &report.attribution;
    assert_eq!(a.live_bytes, a.setup_bytes + a.site_bytes, "{a:?}");
    assert_eq!(
        (a.unseen_calls, a.unknown_frees, a.refused),
        (0, 0, 0),
        "{a:?}"
    );
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(
            mod $name {
                #[test]
                fn is_told_right_under_jemalloc() {
                    super::check(stringify!($name), "jemalloc");
                }

                #[test]
                fn is_told_right_under_dhat() {
                    super::check(stringify!($name), "dhat");
                }

                #[test]
                fn is_told_right_under_the_system_allocator() {
                    super::check(stringify!($name), "system");
                }
            }
        )*

        #[test]
        fn every_planted_case_is_tested() {
            let tested = [$(concat!("planted:", stringify!($name))),*];
            let planted: Vec<String> = all()
                .iter()
                .filter(|e| e.truth().is_some())
                .map(|e| e.name().to_owned())
                .collect();
            assert_eq!(planted, tested);
        }
    };
}

cases! {
    registry forget rc_cycle arc_to_itself box_leak prediction_log thread_scratch interner
    error_path every_third realloc_growth rayon_worker metrics_closure drop_hook
    lru lazy_cache replaced_buffer one_time sweep
}

#[test]
fn the_list_states_the_truth() {
    let output = Command::new(afterdrop())
        .args(["list", "--json"])
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| {
        let rows = list.as_array().unwrap();
        rows.iter().find(|r| r["name"] == name).unwrap().clone()
    };
    let registry = of("planted:registry");
    assert_eq!(registry["truth"]["verdict"], "leak");
    assert_eq!(registry["truth"]["bytes_per_cycle"], 4096.0);
    assert_eq!(registry["truth"]["phase"], "load");
    assert!(registry["about"].as_str().unwrap().len() > 5);
    let source = std::fs::read_to_string("fixtures/leaks/registry.rs").unwrap();
    let line = registry["truth"]["line"].as_u64().unwrap() as usize;
    assert!(
        source
            .lines()
            .nth(line - 1)
            .unwrap()
            .ends_with("// PLANTED")
    );
    if cfg!(feature = "burn") {
        assert!(of("burn:cnn")["truth"].is_null());
    }
}
