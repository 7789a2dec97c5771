//! Runs each planted case under each heap, and compares the report with the known result: verdict,
//! line, phase, and the exact bytes and blocks.

mod common;

use std::process::ExitCode;

use afterdrop::Verdict;
use afterdrop::report::{CallSite, Grows, Report, Rule, RunVerdict};
use afterdrop::workloads::{Entry, Truth, all};
use common::{Ran, afterdrop, run, trial};
use libtest_mimic::{Arguments, Trial};

/// A finished run of a case.
struct Case {
    truth: Truth,
    /// The run had `--cycles auto`.
    auto: bool,
    ran: Ran,
    report: Report,
}

fn check(name: &str, truth: Truth, heap: &str) {
    // `jemalloc` as by default: until each call site has a verdict.
    let auto = heap == "jemalloc" && !truth.missed_by_auto;
    let cycles = match auto {
        true => "auto".to_owned(),
        false => truth.cycles.to_string(),
    };
    let horizon = truth.horizon.to_string();
    let leaks = truth.verdict.is_growth();
    let args = [
        name,
        "--heap",
        heap,
        "--cycles",
        &cycles,
        "--horizon",
        &horizon,
    ];
    let ran = run(args).exits(i32::from(leaks));
    let case = Case {
        truth,
        auto,
        report: ran.report(),
        ran,
    };
    case.the_run_has_its_verdict();
    case.all_bytes_are_attributed();
    if heap == "dhat" {
        case.dhat_agrees();
    }
    if leaks && case.truth.grows != Grows::None {
        case.the_process_grows();
    } else {
        case.the_line_is_reported();
        case.no_other_line_is_reported();
    }
}

impl Case {
    fn is_planted(&self, site: &CallSite) -> bool {
        site.file.as_deref() == Some(&self.truth.file) && site.line == Some(self.truth.line)
    }

    fn the_run_has_its_verdict(&self) {
        let expected = match self.truth.verdict.is_growth() {
            true => RunVerdict::Leak,
            false => RunVerdict::Clean,
        };
        assert_eq!(self.report.verdict, expected, "{}", self.ran.out);
        assert_eq!(
            self.report.process.grows, self.truth.grows,
            "{}",
            self.ran.out
        );
    }

    fn all_bytes_are_attributed(&self) {
        let a = &self.report.attribution;
        assert_eq!(a.live_bytes, a.setup_bytes + a.call_site_bytes, "{a:?}");
        assert_eq!(
            (a.unseen_calls, a.unknown_frees, a.refused),
            (0, 0, 0),
            "{a:?}"
        );
        for boundary in &self.report.boundaries {
            let b = boundary.balance.expect("the kernel's memory counters");
            let parts: u64 = b.parts().iter().map(|(_, bytes)| bytes).sum();
            let off = parts.abs_diff(b.resident_bytes);
            assert_eq!(off, b.unexplained_bytes.unsigned_abs(), "{b:?}");
            assert!(
                off * 50 <= b.resident_bytes,
                "more than 2 % are unexplained: {b:?}"
            );
        }
    }

    fn dhat_agrees(&self) {
        let witness = self.report.witness.as_ref().expect("dhat's own counts");
        assert!(witness.agrees, "{witness:?}");
        assert!(self.ran.file("dhat-heap.json").exists());
    }

    /// The growth is outside of the Rust heap.
    fn the_process_grows(&self) {
        let Self {
            truth, report, ran, ..
        } = self;
        let part = report.process.parts.iter().find(|p| p.what == truth.grows);
        let part = part.unwrap_or_else(|| panic!("{}", ran.out));
        assert_eq!(part.verdict, truth.verdict, "{}", ran.out);
        // The system's allocator states the size of the C heap to a kilobyte.
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
    }

    fn the_line_is_reported(&self) {
        let Self {
            truth,
            report,
            ran,
            auto,
        } = self;
        self.is_near(report.bytes_per_cycle, truth.bytes_per_cycle);
        let call_sites = report.call_sites.iter();
        let planted: Vec<&CallSite> = call_sites.filter(|s| self.is_planted(s)).collect();
        let may_be_absent =
            !truth.verdict.is_growth() && (*auto || truth.verdict == Verdict::WarmUp);
        if planted.is_empty() && may_be_absent {
            // The run ended before the case retained anything, or all of it was freed.
            return;
        }
        let [site] = planted[..] else {
            panic!(
                "{} call sites at the planted line\n{}",
                planted.len(),
                ran.out
            );
        };
        assert_eq!(site.verdict, truth.verdict, "{}", ran.out);
        assert_eq!(site.phase, truth.phase, "{}", ran.out);
        self.is_near(site.bytes_per_cycle, truth.bytes_per_cycle);
        if !truth.approximate {
            self.is_near(site.blocks_per_cycle, truth.blocks_per_cycle);
        }
    }

    fn no_other_line_is_reported(&self) {
        let mut growing = self.report.growing_call_sites();
        let other = growing.find(|s| !self.is_planted(s));
        assert_eq!(other, None, "{}", self.ran.out);
        for function in self.report.growing_call_sites().map(|s| &s.function) {
            for innocent in ["freed_twin", "afterdrop::recorder", "__rust", "alloc::vec"] {
                assert!(!function.contains(innocent), "{function} is blamed");
            }
        }
    }

    fn is_near(&self, found: Option<f64>, expected: f64) {
        // Lost blocks end an automatic run early: the rate of a leak that does not occur in each
        // cycle is then approximate.
        let mut call_sites = self.report.call_sites.iter();
        let ended_early = self.auto && call_sites.any(|s| s.evidence.rule == Rule::Lost);
        let tolerance = match self.truth.approximate {
            true => expected,
            false if ended_early && self.truth.blocks_per_cycle.fract() > 0.0 => expected / 5.0,
            false => 1e-9,
        };
        let found = found.unwrap_or(f64::NAN);
        assert!(
            (found - expected).abs() <= tolerance,
            "{found}, expected {expected}: {}",
            self.ran.out
        );
    }
}

/// The tests of a case: one for each heap that can show it.
fn tests_of(entry: &Entry) -> Vec<Trial> {
    let truth = entry.truth().expect("a planted case");
    let name = entry.name();
    let short = name.trim_start_matches("planted:");
    // dhat's own blocks are in the C heap, too, so that nothing is reported about it.
    let is_shown = |heap: &&str| *heap != "dhat" || short != "c_malloc";
    let heaps = ["jemalloc", "dhat", "system"].into_iter().filter(is_shown);
    heaps
        .map(|heap| {
            let (name, truth) = (name.to_owned(), truth.clone());
            trial(
                format!("{short}::is_judged_correctly_under_{heap}"),
                move || check(&name, truth, heap),
            )
        })
        .collect()
}

fn the_list_states_the_known_result() {
    let listed = common::command(["list", "--json"]).exits(0);
    let list: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let of = |name: &str| {
        let rows = list.as_array().unwrap();
        rows.iter().find(|r| r["name"] == name).unwrap().clone()
    };
    let registry = of("planted:registry");
    assert_eq!(registry["truth"]["verdict"], "leak");
    assert_eq!(registry["truth"]["bytes_per_cycle"], 4096.0);
    assert_eq!(registry["truth"]["phase"], "load");
    assert_eq!(registry["about"], "a registry keeps every loaded model");
    let line = registry["truth"]["line"].as_u64().unwrap();
    let file = "fixtures/leaks/registry.rs";
    let text = include_str!("../fixtures/leaks/registry.rs");
    assert_eq!(
        format!("{file}:{line}"),
        common::marked(file, text, "PLANTED")
    );
    if cfg!(feature = "burn") {
        assert!(of("burn:cnn")["truth"].is_null());
    }
}

fn main() -> ExitCode {
    assert!(afterdrop().exists());
    let entries = all();
    let planted = entries.iter().filter(|e| e.name().starts_with("planted:"));
    let mut trials: Vec<Trial> = planted.flat_map(tests_of).collect();
    trials.push(trial(
        "the_list_states_the_known_result",
        the_list_states_the_known_result,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
