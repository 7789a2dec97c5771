//! Strategies: what each of them retains, and the comparison of all of them.

use std::fs;

use afterdrop::report::Report;
use rstest::rstest;

use crate::common::{command, run};

/// A run of a model with 4096 bytes of weights: its report, the highest number of live bytes in any
/// cycle, and the number after the last.
fn run_with_strategy(strategy: &str, code: i32) -> (Report, u64, u64) {
    let ran = run(["planted:one_time", "--strategy", strategy]).exits(code);
    assert!(!ran.file("spill").exists());
    let report = ran.report();
    let peak = report.boundaries.iter().map(|b| b.peak_bytes).max();
    let live = report.boundaries.last().unwrap().live_bytes;
    (report, peak.unwrap(), live)
}

#[rstest]
fn a_strategy_with_one_model_at_a_time_retains_none(
    #[values("fresh", "session", "slot")] strategy: &str,
) {
    let (report, peak, live) = run_with_strategy(strategy, 0);
    assert_eq!(report.verdict.name(), "clean");
    assert!(peak < live + 3 * 4096, "{peak} {live}");
}

#[test]
fn swap_has_two_models_at_the_peak_and_one_at_the_boundary() {
    let (report, peak, live) = run_with_strategy("swap", 0);
    assert_eq!(report.verdict.name(), "clean");
    assert!(peak >= live + 4096 - 4096 / 4, "{peak} {live}");
}

#[test]
fn keep_leaks_each_model() {
    let (report, ..) = run_with_strategy("keep", 1);
    assert_eq!(report.verdict.name(), "leak");
    assert!(report.bytes_per_cycle.unwrap() >= 4096.0);
}

#[test]
fn growth_by_whole_models_is_a_leak_before_the_horizon() {
    let ran = run(["planted:one_time", "--strategy", "keep", "--cycles", "12"]).exits(1);
    let report = ran.report();
    assert_eq!(report.verdict.name(), "leak", "{}", ran.out);
    assert!(
        report.call_sites[0].reason.contains("whole models"),
        "{}",
        ran.out
    );
}

#[test]
fn in_a_comparison_only_keep_retains_models() {
    let ran = command([
        "strategies",
        "planted:hungry",
        "--cycles",
        "30",
        "--json",
        "--out",
        "out",
    ]);
    let ran = ran.exits(0);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let written = fs::read_to_string(ran.file("strategies.json")).unwrap();
    assert_eq!(ran.out, written);
    assert_eq!(json["schema"], "afterdrop-strategies/1");
    let rows = json["rows"].as_array().unwrap();
    let of = |strategy: &str| rows.iter().find(|r| r["strategy"] == strategy).unwrap();
    assert_eq!(rows.len(), 5);
    for strategy in ["fresh", "session", "slot", "swap"] {
        assert_eq!(of(strategy)["verdict"], "clean", "{strategy}");
        assert_eq!(of(strategy)["bytes_per_cycle"], 0.0, "{strategy}");
    }
    // A model of 8 MiB and some weights.
    let model = 8 << 20;
    assert_eq!(of("keep")["verdict"], "leak");
    assert!(of("keep")["bytes_per_cycle"].as_f64().unwrap() >= f64::from(model));
    let peak = |strategy: &str| of(strategy)["peak_live_bytes"].as_i64().unwrap();
    let models = |strategy: &str| peak(strategy) / i64::from(model);
    assert_eq!((models("slot"), models("swap"), models("keep")), (1, 2, 30));
    for row in rows {
        assert!(row["peak_resident_bytes"].as_u64() >= row["end_resident_bytes"].as_u64());
        assert!(row["allocations_per_cycle"].as_u64().unwrap() > 0);
    }
    assert!(ran.file("keep-size1-f32/report.json").exists());
}

#[test]
fn a_strategy_beyond_the_memory_limit_ends_in_a_stated_cycle() {
    let ran = command([
        "strategies",
        "planted:hungry",
        "--cycles",
        "40",
        "--memory-limit",
        "120M",
        "--json",
        "--out",
        "out",
    ]);
    let ran = ran.exits(0);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["memory_limit"], 120 << 20);
    for row in json["rows"].as_array().unwrap() {
        let keeps = row["strategy"] == "keep";
        assert_eq!(row["complete"], !keeps, "{row}");
        if keeps {
            // No more than 15 models of 8 MB fit. The limit may count what the allocator only
            // reserves, up to as much again, which depends on the gaps between mappings.
            let cycle = row["died"][0].as_u64().unwrap();
            assert!((4..=15).contains(&cycle), "{row}");
        }
    }
}

#[rstest]
#[case::too_few_cycles(&["--cycles", "7"], "--cycles must be at least 8")]
#[case::sizes_without_a_burn_model(&["--sizes", "S,M"], "takes no --size")]
#[case::an_unknown_size(&["--sizes", "XL"], "must be S, M, L")]
#[case::an_unknown_unit(&["--memory-limit", "5T"], "the unit must be K, M or G")]
#[case::precisions_without_a_burn_model(&["--precision"], "takes no --precision")]
fn wrong_arguments_are_refused_before_the_first_run(#[case] args: &[&str], #[case] says: &str) {
    let ran = command([&["strategies", "planted:lru"], args].concat()).exits(2);
    assert!(ran.error().contains(says), "{}", ran.err);
    assert!(!ran.folder.join("reports").exists());
}
