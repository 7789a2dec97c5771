//! Every planted case under every heap: verdict, line, phase, bytes and blocks, to the byte.

mod common;

use std::path::Path;
use std::process::Command;

use afterdrop::Verdict;
use afterdrop::report::{CallSite, Grows, Report, Rule, RunVerdict};
use afterdrop::workloads::{Truth, all};

fn afterdrop() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_afterdrop"))
}

fn truth(name: &str) -> Truth {
    let entries = all();
    let entry = entries.iter().find(|e| e.name() == name);
    entry.unwrap().truth().unwrap().clone()
}

fn is_marked(site: &CallSite, truth: &Truth) -> bool {
    site.file.as_deref() == Some(&truth.file) && site.line == Some(truth.line)
}

fn check(name: &str, heap: &str) {
    let name = format!("planted:{name}");
    let truth = truth(&name);
    if heap == "dhat" && truth.grows == Grows::CHeap {
        // dhat's own blocks are there as well, so that nothing is said of it.
        return;
    }
    // Under jemalloc as a user runs it: until everything is settled.
    let auto = heap == "jemalloc" && !truth.shows_late;
    let cycles = if auto {
        "auto".to_owned()
    } else {
        truth.cycles.to_string()
    };
    let horizon = truth.horizon.to_string();
    let args = ["--heap", heap, "--cycles", &cycles, "--horizon", &horizon];
    let leaks = truth.verdict.is_growth();
    let ran = common::run_with(afterdrop(), [&[&*name], &args[..]].concat());
    let ran = ran.exits(i32::from(leaks));
    let report = ran.report();
    let expected = if leaks {
        RunVerdict::Leak
    } else {
        RunVerdict::Clean
    };
    assert_eq!(report.verdict, expected, "{}", ran.out);
    assert_eq!(report.process.grows, truth.grows, "{}", ran.out);
    adds_up(&report);
    if heap == "dhat" {
        let witness = report.witness.as_ref().expect("dhat was asked");
        assert!(witness.agrees, "{witness:?}");
        assert!(ran.file("dhat-heap.json").exists());
    }
    if leaks && truth.grows != Grows::None {
        let part = report.process.parts.iter().find(|p| p.what == truth.grows);
        let part = part.unwrap_or_else(|| panic!("{}", ran.out));
        assert_eq!(part.verdict, truth.verdict, "{}", ran.out);
        // Under the system's allocator what C code holds is known to a kilobyte.
        let off = part.per_cycle.unwrap_or(f64::NAN) - truth.bytes_per_cycle;
        assert!(
            off.abs() <= truth.bytes_per_cycle / 100.0,
            "{off}: {}",
            ran.out
        );
        if truth.grows == Grows::Threads {
            let names = &report.process.new_threads;
            assert!(names.iter().all(|n| n == "model-worker"), "{names:?}");
            assert!(names.len() > 60, "{names:?}");
        } else {
            assert_eq!(report.growing_call_sites().count(), 0, "{}", ran.out);
        }
        return;
    }
    let near = |found: Option<f64>, truth_is: f64| {
        let found = found.unwrap_or(f64::NAN);
        // What is lost ends a run early: where not every cycle is alike, the rate is then only near.
        let lost = report
            .call_sites
            .iter()
            .any(|s| s.evidence.rule == Rule::Lost);
        let off = match truth.roughly {
            true => truth_is,
            false if auto && lost && truth.blocks_per_cycle.fract() > 0.0 => truth_is / 5.0,
            false => 1e-9,
        };
        assert!(
            (found - truth_is).abs() <= off,
            "{found}, not {truth_is}: {}",
            ran.out
        );
    };
    near(report.bytes_per_cycle, truth.bytes_per_cycle);

    let call_sites = report.call_sites.iter();
    let marked: Vec<&CallSite> = call_sites.filter(|s| is_marked(s, &truth)).collect();
    if !leaks && marked.is_empty() && (auto || truth.verdict == Verdict::WarmUp) {
        // What happens late is beyond a run that ends early, and what is freed is nowhere.
        return;
    }
    let [site] = marked[..] else {
        panic!(
            "{} call sites at the marked line\n{}",
            marked.len(),
            ran.out
        );
    };
    assert_eq!(site.verdict, truth.verdict, "{}", ran.out);
    assert_eq!(site.phase, truth.phase, "{}", ran.out);
    near(site.bytes_per_cycle, truth.bytes_per_cycle);
    if !truth.roughly {
        near(site.blocks_per_cycle, truth.blocks_per_cycle);
    }

    // Nobody else is accused, and nobody who must not be in the stack is in it.
    let accused = report
        .growing_call_sites()
        .filter(|s| !is_marked(s, &truth));
    assert_eq!(accused.count(), 0, "{}", ran.out);
    let blamed = report.growing_call_sites().map(|s| s.function.as_str());
    for function in blamed {
        for innocent in ["freed_twin", "afterdrop::recorder", "__rust", "alloc::vec"] {
            assert!(!function.contains(innocent), "{function} is blamed");
        }
    }
}

fn adds_up(report: &Report) {
    let a = &report.attribution;
    assert_eq!(a.live_bytes, a.setup_bytes + a.call_site_bytes, "{a:?}");
    assert_eq!(
        (a.unseen_calls, a.unknown_frees, a.refused),
        (0, 0, 0),
        "{a:?}"
    );
    for boundary in &report.boundaries {
        let b = boundary.balance.expect("the kernel tells");
        let parts: u64 = b.parts().iter().map(|(_, bytes)| bytes).sum();
        let off = parts.abs_diff(b.resident_bytes);
        assert_eq!(off, b.unexplained_bytes.unsigned_abs(), "{b:?}");
        assert!(off * 50 <= b.resident_bytes, "2 % are unexplained: {b:?}");
    }
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
                // Those of tests/holders.rs are others.
                .filter(|name| name.starts_with("planted:"))
                .collect();
            assert_eq!(planted, tested);
        }
    };
}

cases! {
    registry forget rc_cycle arc_to_itself box_leak prediction_log thread_scratch interner
    error_path every_third realloc_growth rayon_worker metrics_closure drop_hook
    every_tenth drip_under_churn starts_late two_at_one_site fifty_stacks hidden_by_shrinking vec_doubling c_malloc mmap_leak shared_map program_break thread_leak descriptor_leak
    lru lazy_cache replaced_buffer one_time sweep
    cache_of_forty burst_lru random_keys results_lru vec_bounded hash_map stops lazy_pool connection_pool sweep_hundredth sawtooth backlog late_frees random_noise fragmentation hungry
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
