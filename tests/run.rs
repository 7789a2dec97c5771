//! The commands `run`, `strategies` and `explain`: what they print and write, and their exit codes.

#[path = "run/bad_input.rs"]
mod bad_input;
mod common;
#[path = "run/explain.rs"]
mod explain;
#[path = "run/strategies.rs"]
mod strategies;

use std::fs;
use std::process::Command;

use afterdrop::report::{Report, Rule, RunVerdict};
use common::{Folder, afterdrop, finish, run};

#[test]
fn a_clean_run_exits_with_0_and_begins_with_its_verdict() {
    let ran = run(["planted:lru"]).exits(0);
    assert!(
        ran.out.starts_with("CLEAN       planted:lru\n"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains('\u{1b}'), "no colours without a terminal");
    assert_eq!(ran.err, "", "no progress bar without a terminal");
}

#[test]
fn the_report_fits_one_screen_of_80_columns() {
    let ran = run(["planted:rayon_worker"]).exits(1);
    assert!(ran.out.lines().count() <= 40, "{}", ran.out);
    let folder = Folder::new();
    let mut command = Command::new(afterdrop());
    command
        .args(["run", "planted:registry", "--out"])
        .arg(folder.join("out"))
        .env("COLUMNS", "80");
    let ran = finish(command, folder).exits(1);
    // The folder's own name may be longer than a line.
    let lines = ran.out.lines().filter(|l| !l.contains("afterdrop-test-"));
    for line in lines {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn with_every_byte_sampled_the_report_is_exact() {
    let exact = run(["planted:registry", "--cycles", "83"])
        .exits(1)
        .report();
    let ran = run(["planted:registry", "--cycles", "83", "--sample=1"]).exits(1);
    let sampled = ran.report();
    let of = |r: &Report| {
        let s = r.growing_call_sites().next().unwrap();
        (s.bytes_per_cycle, s.retained_bytes, s.location())
    };
    assert_eq!(of(&exact), of(&sampled));
    assert!(exact.sampling.is_none() && sampled.sampling.is_some());
}

#[test]
fn a_sampled_run_states_its_confidence_interval_and_what_it_may_miss() {
    let exact = run(["planted:registry", "--cycles", "300"])
        .exits(1)
        .report();
    let ran = run(["planted:registry", "--cycles", "300", "--sample=16KiB"]).exits(1);
    let report = ran.report();
    let sampling = report.sampling.unwrap();
    assert_eq!(sampling.every_bytes, 16 << 10);
    // -ln 0.05 * 16 KiB / 297 cycles
    assert!((sampling.missed_below - 165.26).abs() < 0.1, "{sampling:?}");
    let site = report.growing_call_sites().next().unwrap();
    let (low, high) = site.retained_bytes_interval.unwrap();
    let truth = exact.growing_call_sites().next().unwrap().retained_bytes;
    // A program with one thread has the same samples in each run.
    assert!((low..=high).contains(&truth), "{low} {truth} {high}");
    assert!(
        ran.words()
            .contains("a leak of 165 B per cycle is missed in one of twenty runs")
    );
    // This allocates too little to be sampled: the run goes on to the horizon.
    let ran = run(["planted:lru", "--sample"]).exits(0);
    assert!(ran.report().cycles_run() > 64, "{}", ran.out);
}

#[test]
fn json_is_the_report_that_was_written() {
    let ran = run(["planted:registry", "--json", "--cycles", "83"]).exits(1);
    let printed: Report = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(printed, ran.report());
    assert_eq!(printed.schema, "afterdrop/2");
    assert_eq!(printed.boundaries.len() as u32, printed.cycles);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let boundary = &json["boundaries"][5];
    for counter in [
        "allocated",
        "active",
        "metadata",
        "resident",
        "mapped",
        "retained",
    ] {
        assert!(
            boundary[counter].as_u64().is_some(),
            "{counter}: {boundary}"
        );
    }
    assert!(boundary["resident_bytes"].as_u64().unwrap() > 1_000_000);
}

#[test]
fn an_automatic_run_ends_once_each_call_site_has_a_verdict() {
    // A clean model: within 19 cycles.
    let clean = run(["planted:one_time"]).exits(0).report();
    assert!(clean.auto && clean.cycles_run() <= 19, "{}", clean.summary);
    // Growth by whole models: eight cycles after the warm-up.
    let models = run(["planted:one_time", "--strategy", "keep"]);
    let models = models.exits(1).report();
    assert_eq!((models.warmup, models.cycles_run()), (3, 11));
    assert_eq!(models.call_sites[0].evidence.rule, Rule::ModelSized);
    // Other steady growth: at the first interim analysis after the horizon.
    let small = run(["planted:prediction_log"]).exits(1).report();
    assert_eq!(small.cycles_run(), 3 + 64 + 4);
    let evidence = &small.call_sites[0].evidence;
    assert_eq!((evidence.rule, evidence.span), (Rule::Horizon, 64));
    assert!(evidence.analyses > 10 && evidence.chance < evidence.significance);
    // Lost blocks: as soon as a call site seems to grow.
    let lost = run(["planted:forget"]).exits(1).report();
    assert!(lost.cycles_run() <= 12, "{}", lost.summary);
    assert_eq!(lost.call_sites[0].evidence.rule, Rule::Lost);
}

#[test]
fn an_automatic_run_ends_at_its_limits() {
    let short = run(["planted:prediction_log", "--max-cycles", "20"]).exits(1);
    let report = short.report();
    assert_eq!((report.cycles, report.cycles_run()), (20, 20));
    assert_eq!(report.verdict, RunVerdict::Growing);
    assert!(report.call_sites[0].evidence.more_cycles.unwrap() >= 40);
    let timed = run(["planted:prediction_log", "--max-time", "0.000001"]).exits(4);
    assert_eq!(timed.report().cycles_run(), 1);
    assert!(
        timed.words().contains("a higher limit gives it more"),
        "{}",
        timed.out
    );
}

#[test]
fn quiet_is_one_line() {
    let ran = run(["planted:registry", "--quiet"]).exits(1);
    assert_eq!(
        ran.out,
        "LEAK        planted:registry leaks 4.10 kB per cycle\n"
    );
}

#[test]
fn jemallocs_statistics_and_their_change_are_written() {
    let ran = run(["planted:registry"]).exits(1);
    for name in ["baseline", "end"] {
        let json = fs::read(ran.file(&format!("jemalloc-stats-{name}.json"))).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert!(json["jemalloc"]["stats"]["allocated"].as_u64().unwrap() > 0);
        let text = fs::read_to_string(ran.file(&format!("jemalloc-stats-{name}.txt"))).unwrap();
        assert!(text.contains("Allocated:"), "{text}");
    }
    let change = fs::read_to_string(ran.file("jemalloc-stats-change.txt")).unwrap();
    assert!(change.contains("bin of 4096 B: curregs"), "{change}");
}

#[test]
fn dhats_profile_has_deep_stacks_without_the_recorders_frames() {
    let ran = run(["planted:registry", "--heap", "dhat", "--cycles", "83"]).exits(1);
    let json = fs::read(ran.file("dhat-heap.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["dhatFileVersion"], 2);
    let leaks = json["pps"].as_array().unwrap().iter();
    let leaking: Vec<_> = leaks.filter(|p| p["eb"].as_u64().unwrap() > 0).collect();
    assert_eq!(leaking.len(), 1);
    assert_eq!(leaking[0]["eb"], 80 * 4096);
    let frames = json["ftbl"].as_array().unwrap();
    let stack: Vec<&str> = leaking[0]["fs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| frames[i.as_u64().unwrap() as usize].as_str().unwrap())
        .collect();
    assert!(
        stack.iter().any(|f| f.contains("registry.rs:")),
        "{stack:#?}"
    );
    assert!(stack.len() > 10, "{stack:#?}");
    assert!(!stack[0].contains("backtrace::"), "{}", stack[0]);
    // The lines that dhat prints are not output of the workload.
    assert!(!ran.file("output.txt").exists());
}

#[test]
fn a_short_run_of_a_small_leak_is_growing_and_exits_with_1() {
    let ran = run(["planted:prediction_log", "--cycles", "20"]).exits(1);
    assert_eq!(ran.report().verdict.name(), "growing", "{}", ran.out);
    assert!(
        ran.words().contains("would tell a leak from a cache"),
        "{}",
        ran.out
    );
}

#[test]
fn a_run_too_short_to_tell_is_undecided_and_exits_with_4() {
    // The cache is full after 20 entries, which 25 cycles cannot show.
    let ran = run(["planted:lazy_cache", "--cycles", "25"]).exits(4);
    assert_eq!(ran.report().verdict.name(), "undecided", "{}", ran.out);
}

#[test]
fn each_run_without_a_folder_gets_a_new_one() {
    let folder = Folder::new();
    for n in 1..=2 {
        let status = Command::new(afterdrop())
            .args(["run", "planted:lru", "--cycles", "30", "--quiet"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(status.status.code(), Some(0));
        let report = folder.join(&format!("reports/runs/planted-lru-{n:03}/report.json"));
        assert!(report.exists(), "{}", report.display());
    }
}

#[test]
fn a_leak_listed_in_afterdrop_toml_is_allowed() {
    let folder = Folder::new();
    let entry = "[[allow]]\npattern = 'registry::load '\nreason = 'the registry is to hold them'\n";
    fs::write(folder.join("afterdrop.toml"), entry).unwrap();
    let run_in = |folder: &Folder, workload: &str| {
        let mut command = Command::new(afterdrop());
        command.args(["run", workload]).current_dir(folder.path());
        finish(command, Folder::new())
    };
    let known = run_in(&folder, "planted:registry").exits(0);
    assert!(
        known
            .words()
            .contains("nothing grows except what is allowed"),
        "{}",
        known.out
    );
    assert!(
        known.out.contains("  allowed   4.10 kB/cycle"),
        "{}",
        known.out
    );
    let other = run_in(&folder, "planted:forget").exits(1);
    assert!(
        other
            .words()
            .contains("(the registry is to hold them) was not seen"),
        "{}",
        other.out
    );
    fs::write(folder.join("afterdrop.toml"), "[[alow]]\n").unwrap();
    let broken = run_in(&folder, "planted:registry").exits(2);
    assert!(
        broken
            .error()
            .contains("afterdrop.toml:1: unknown field `alow`"),
        "{}",
        broken.err
    );
}

#[test]
fn the_growth_of_a_clean_run_is_a_positive_zero() {
    let ran = run(["planted:lru", "--json"]).exits(0);
    assert!(ran.out.contains("\"bytes_per_cycle\": 0.0,"), "{}", ran.out);
    assert!(!ran.out.contains("-0.0"), "{}", ran.out);
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let ran = Command::new("sh")
        .arg("-c")
        .arg(format!("{} list | head -n 1", afterdrop().display()))
        .output()
        .unwrap();
    assert!(ran.status.success());
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "");
}
