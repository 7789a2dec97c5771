//! The command from outside: what it writes, how it ends, and what it says of bad input.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use afterdrop::report::{How, Report, Rule, RunVerdict};
use common::{Folder, Ran, finish, run_with};

fn run(args: &[&str]) -> Ran {
    run_with(Path::new(env!("CARGO_BIN_EXE_afterdrop")), args)
}

#[test]
fn a_clean_run_exits_with_0_and_says_so_first() {
    let ran = run(&["planted:lru"]).exits(0);
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
    let ran = run(&["planted:rayon_worker"]).exits(1);
    assert!(ran.out.lines().count() <= 40, "{}", ran.out);
    let folder = Folder::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_afterdrop"));
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
fn where_every_byte_is_drawn_the_report_is_exact() {
    let exact = run(&["planted:registry", "--cycles", "83"])
        .exits(1)
        .report();
    let ran = run(&["planted:registry", "--cycles", "83", "--sample=1"]).exits(1);
    let sampled = ran.report();
    let of = |r: &Report| {
        let s = r.growing_call_sites().next().unwrap();
        (s.bytes_per_cycle, s.retained_bytes, s.location())
    };
    assert_eq!(of(&exact), of(&sampled));
    assert!(exact.sampling.is_none() && sampled.sampling.is_some());
}

#[test]
fn a_sampled_run_says_how_sure_it_is_and_what_it_may_miss() {
    let exact = run(&["planted:registry", "--cycles", "300"])
        .exits(1)
        .report();
    let ran = run(&["planted:registry", "--cycles", "300", "--sample=16KiB"]).exits(1);
    let report = ran.report();
    let sampling = report.sampling.unwrap();
    assert_eq!(sampling.every_bytes, 16 << 10);
    // -ln 0.05 * 16 KiB / 297 cycles
    assert!((sampling.missed_below - 165.26).abs() < 0.1, "{sampling:?}");
    let site = report.growing_call_sites().next().unwrap();
    let (low, high) = site.retained_bytes_interval.unwrap();
    let truth = exact.growing_call_sites().next().unwrap().retained_bytes;
    // The draws are the same in every run of a program with one thread.
    assert!((low..=high).contains(&truth), "{low} {truth} {high}");
    assert!(
        ran.words()
            .contains("a leak of 165 B per cycle is missed in one of twenty runs")
    );
    // Nothing is drawn of so little: it runs on, and says what would have been seen.
    let ran = run(&["planted:lru", "--sample"]).exits(0);
    assert!(ran.report().cycles_run() > 64, "{}", ran.out);
    let refused = run(&["planted:lru", "--sample=0"]).exits(2);
    assert!(
        refused.error().contains("leave --sample out"),
        "{}",
        refused.err
    );
    let refused = run(&["planted:lru", "--sample", "--heap", "system"]).exits(2);
    assert!(
        refused.error().contains("goes with --heap jemalloc"),
        "{}",
        refused.err
    );
}

#[test]
fn json_is_the_report_that_was_written() {
    let ran = run(&["planted:registry", "--json", "--cycles", "83"]).exits(1);
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
fn a_run_ends_by_itself_once_all_is_settled() {
    // A clean model: within 12 cycles.
    let clean = run(&["planted:one_time"]).exits(0).report();
    assert!(clean.auto && clean.cycles_run() <= 12, "{}", clean.summary);
    // Whole models: eight cycles after the warm-up.
    let models = run(&["planted:one_time", "--strategy", "keep"]);
    let models = models.exits(1).report();
    assert_eq!((models.warmup, models.cycles_run()), (3, 11));
    assert_eq!(models.call_sites[0].evidence.rule, Rule::ModelSized);
    // Any other steady growth: right behind the horizon.
    let small = run(&["planted:prediction_log"]).exits(1).report();
    assert_eq!(small.cycles_run(), 3 + 64 + 4);
    let evidence = &small.call_sites[0].evidence;
    assert_eq!((evidence.rule, evidence.span), (Rule::Horizon, 64));
    assert!(evidence.analyses > 10 && evidence.chance < evidence.significance);
    // What is lost: as soon as something seems to grow.
    let lost = run(&["planted:forget"]).exits(1).report();
    assert!(lost.cycles_run() <= 12, "{}", lost.summary);
    assert_eq!(lost.call_sites[0].evidence.rule, Rule::Lost);
}

#[test]
fn a_run_that_cannot_settle_ends_at_its_limits() {
    let short = run(&["planted:prediction_log", "--max-cycles", "20"]).exits(1);
    let report = short.report();
    assert_eq!((report.cycles, report.cycles_run()), (20, 20));
    assert_eq!(report.verdict, RunVerdict::Growing);
    assert!(report.call_sites[0].evidence.more_cycles.unwrap() >= 40);
    let timed = run(&["planted:prediction_log", "--max-time", "0.000001"]).exits(4);
    assert_eq!(timed.report().cycles_run(), 1);
    assert!(
        timed.words().contains("--max-time gives it more"),
        "{}",
        timed.out
    );
}

#[test]
fn quiet_is_one_line() {
    let ran = run(&["planted:registry", "--quiet"]).exits(1);
    assert_eq!(
        ran.out,
        "LEAK        planted:registry leaks 4.10 kB per cycle\n"
    );
}

#[test]
fn jemalloc_leaves_its_statistics_and_what_changed() {
    let ran = run(&["planted:registry"]).exits(1);
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
fn dhat_leaves_a_profile_with_deep_stacks_and_without_its_own_frames() {
    let ran = run(&["planted:registry", "--heap", "dhat", "--cycles", "83"]).exits(1);
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
    // What dhat prints about itself is no output of the workload.
    assert!(!ran.file("output.txt").exists());
}

#[test]
fn every_strategy_retains_what_it_should() {
    // The planted model itself is 4096 bytes of weights in a box.
    for (strategy, code, verdict) in [
        ("fresh", 0, "clean"),
        ("session", 0, "clean"),
        ("slot", 0, "clean"),
        ("swap", 0, "clean"),
        ("keep", 1, "leak"),
    ] {
        let ran = run(&["planted:one_time", "--strategy", strategy]).exits(code);
        let report = ran.report();
        assert_eq!(report.verdict.name(), verdict, "{strategy}\n{}", ran.out);
        let peak = report
            .boundaries
            .iter()
            .map(|b| b.peak_bytes)
            .max()
            .unwrap();
        let live = report.boundaries.last().unwrap().live_bytes;
        match strategy {
            "keep" => assert!(report.bytes_per_cycle.unwrap() >= 4096.0),
            // Two models at the peak, one of them alive at the boundary.
            "swap" => assert!(peak >= live + 4096 - 4096 / 4, "{peak} {live}"),
            _ => assert!(peak < live + 3 * 4096, "{strategy}: {peak} {live}"),
        }
        assert!(!ran.file("spill").exists(), "{strategy}");
    }
}

#[test]
fn keeping_models_is_called_by_their_size_before_the_horizon() {
    let ran = run(&["planted:one_time", "--strategy", "keep", "--cycles", "12"]).exits(1);
    let report = ran.report();
    assert_eq!(report.verdict.name(), "leak", "{}", ran.out);
    assert!(
        report.call_sites[0].reason.contains("whole models"),
        "{}",
        ran.out
    );
}

#[test]
fn a_short_run_of_a_small_leak_is_growing_and_exits_with_1() {
    let ran = run(&["planted:prediction_log", "--cycles", "20"]).exits(1);
    assert_eq!(ran.report().verdict.name(), "growing", "{}", ran.out);
    assert!(
        ran.words().contains("would tell a leak from a cache"),
        "{}",
        ran.out
    );
}

#[test]
fn a_run_too_short_to_tell_is_undecided_and_exits_with_4() {
    // Full after 20 entries: at 25 cycles nobody can know.
    let ran = run(&["planted:lazy_cache", "--cycles", "25"]).exits(4);
    assert_eq!(ran.report().verdict.name(), "undecided", "{}", ran.out);
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.join("out")).unwrap();
    fs::write(folder.join("out").join("mine"), "precious").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_afterdrop"));
    command
        .args(["run", "planted:lru", "--out"])
        .arg(folder.join("out"));
    let ran = finish(command, folder).exits(2);
    assert!(ran.error().contains("not empty"), "{}", ran.err);
    assert_eq!(fs::read_to_string(ran.file("mine")).unwrap(), "precious");
    assert_eq!(fs::read_dir(ran.dir()).unwrap().count(), 1);
}

#[test]
fn runs_without_a_folder_get_a_new_one_each() {
    let folder = Folder::new();
    for n in 1..=2 {
        let status = Command::new(env!("CARGO_BIN_EXE_afterdrop"))
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
fn bad_input_is_one_line_exits_with_2_and_leaves_nothing() {
    for (args, expected) in [
        (&["planted:registri"][..], "did you mean `planted:registry`"),
        (&["planted:lru", "--cycles", "0"], "at least 8"),
        (&["planted:lru", "--cycles", "7"], "at least 8"),
        (
            &["planted:lru", "--cycles", "20", "--warmup", "16"],
            "at least 21",
        ),
        (&["planted:lru", "--cycles", "4000000"], "too many"),
        (&["planted:lru", "--horizon", "0"], "--horizon 0"),
        (&["planted:lru", "--device", "ndarray"], "takes no --device"),
        (
            &["planted:lru", "--timeout", "nan"],
            "no time that can be waited",
        ),
    ] {
        let ran = run(args).exits(2);
        assert!(ran.error().contains(expected), "{}", ran.err);
        assert!(!ran.dir().exists(), "{args:?}");
    }
}

#[test]
fn a_wrong_option_value_names_what_there_is() {
    for (args, expected) in [
        (
            &["planted:lru", "--strategy", "frsh"][..],
            "did you mean `fresh`",
        ),
        (
            &["planted:lru", "--heap", "snmallocator"],
            "jemalloc, dhat, system",
        ),
        (&["planted:lru", "--cycles", "many"], "invalid value 'many'"),
    ] {
        let ran = run(args).exits(2);
        assert!(ran.err.contains(expected), "{}", ran.err);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = Folder::new();
    fs::write(folder.join("file"), "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_afterdrop"));
    command
        .args(["run", "planted:lru", "--out"])
        .arg(folder.join("file").join("out"));
    let ran = finish(command, folder).exits(2);
    assert!(
        ran.error().contains("cannot make the folder"),
        "{}",
        ran.err
    );
}

#[test]
fn a_run_that_takes_too_long_is_ended_and_still_reported() {
    // Five milliseconds are enough to start and not enough for half a million cycles.
    let ran = run(&["planted:lru", "--cycles", "500000", "--timeout", "1.5"]).exits(3);
    let report = ran.report();
    assert_eq!(report.ended.how, How::TimedOut);
    let run = report.cycles_run();
    assert!((1..500_000).contains(&run), "{run}");
    assert!(
        ran.words().contains("boundaries were reached"),
        "{}",
        ran.out
    );
}

#[test]
fn a_leak_that_the_project_knows_is_allowed() {
    let folder = Folder::new();
    let entry = "[[allow]]\npattern = 'registry::load '\nreason = 'the registry is to hold them'\n";
    fs::write(folder.join("afterdrop.toml"), entry).unwrap();
    let run_in = |folder: &Folder, workload: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afterdrop"));
        command.args(["run", workload]).current_dir(folder.path());
        finish(command, Folder::new())
    };
    let known = run_in(&folder, "planted:registry").exits(0);
    assert!(
        known.words().contains("nothing grows except what is allowed"),
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
fn a_failed_run_is_never_called_clean() {
    let ran = run(&["planted:lru", "--cycles", "500000", "--timeout", "1.5"]).exits(3);
    assert!(
        ran.out.starts_with("FAILED      planted:lru timed out"),
        "{}",
        ran.out
    );
    assert_eq!(ran.report().verdict.name(), "undecided");
}

#[test]
fn the_child_does_not_outlive_its_parent() {
    let folder = Folder::new();
    let mut parent = Command::new(env!("CARGO_BIN_EXE_afterdrop"))
        .args(["run", "planted:lru", "--cycles", "500000", "--out"])
        .arg(folder.join("out"))
        .spawn()
        .unwrap();
    // The first record of the journal names the child.
    let until = |what: &str, mut is_so: Box<dyn FnMut() -> bool + '_>| {
        for _ in 0..3000 {
            if is_so() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{what}");
    };
    let journal = folder.join("out").join("journal.jsonl");
    let mut child = None;
    until(
        "the child never began",
        Box::new(|| {
            let text = fs::read_to_string(&journal).unwrap_or_default();
            let start = text.split_once('\n').map(|(line, _)| line.to_owned());
            let start = start.and_then(|l| serde_json::from_str::<serde_json::Value>(&l).ok());
            child = start.and_then(|s| s["start"]["pid"].as_u64());
            child.is_some()
        }),
    );
    let process = format!("/proc/{}", child.unwrap());
    assert!(Path::new(&process).exists());
    parent.kill().unwrap();
    parent.wait().unwrap();
    let gone = || match fs::read_to_string(format!("{process}/stat")) {
        // Dead, and only not yet collected by whoever adopted it.
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    until("the child outlived its parent", Box::new(gone));
}

#[test]
fn a_clean_run_grows_by_nothing_at_all() {
    let ran = run(&["planted:lru", "--json"]).exits(0);
    assert!(ran.out.contains("\"bytes_per_cycle\": 0.0,"), "{}", ran.out);
    assert!(!ran.out.contains("-0.0"), "{}", ran.out);
}

#[test]
fn usage_errors_are_one_line() {
    for args in [
        &["planted:lru", "--cycles", "-1"][..],
        &["planted:lru", "--nonsense"],
        &[],
    ] {
        let ran = run(args).exits(2);
        assert!(ran.error().ends_with("see --help"), "{}", ran.err);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{} list | head -n 1",
            env!("CARGO_BIN_EXE_afterdrop")
        ))
        .output()
        .unwrap();
    assert!(status.status.success());
    assert_eq!(String::from_utf8_lossy(&status.stderr), "");
}

/// Runs any command in a folder of its own.
fn command(args: &[&str]) -> Ran {
    let folder = Folder::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_afterdrop"));
    command.args(args).current_dir(folder.path());
    finish(command, folder)
}

#[test]
fn strategies_are_compared_and_only_keep_keeps() {
    let ran = command(&[
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
fn a_strategy_that_dies_under_a_limit_says_in_which_cycle() {
    let ran = command(&[
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
            // Ten models of 8 MB and what else there is.
            let cycle = row["died"][0].as_u64().unwrap();
            assert!((8..=15).contains(&cycle), "{row}");
        }
    }
}

#[test]
fn bad_strategies_are_told_before_anything_runs() {
    for (args, says) in [
        (&["--cycles", "7"][..], "--cycles 7 is too few"),
        (&["--sizes", "S,M"][..], "takes no --size"),
        (&["--sizes", "XL"][..], "neither S, M or L"),
        (&["--memory-limit", "5T"][..], "none of K, M and G"),
        (&["--precision"][..], "takes no --precision"),
    ] {
        let ran = command(&[&["strategies", "planted:lru"], args].concat()).exits(2);
        assert!(ran.error().contains(says), "{args:?}: {}", ran.err);
        assert!(!ran.folder.join("reports").exists());
    }
}

#[test]
fn a_stored_report_is_explained() {
    let ran = run(&["planted:forget", "--no-holders"]).exits(1);
    let explain = |which: &[&str]| {
        let report = ran.file("report.json");
        let args = [&["explain", report.to_str().unwrap()], which].concat();
        command(&args)
    };
    let whole = explain(&[]).exits(0);
    for says in [
        "call site 1: leak",
        "fixtures/leaks/forget.rs:",
        "growth (Theil-Sen): 1,000 B a cycle",
        "68 times: a generation that outlives all that died came to stay, in the cycles 1-68",
        "64 cycles from the first to the last that was confirmed; the horizon is 64",
        "rises went on for longer than the horizon",
        "what would have changed it",
    ] {
        assert!(whole.words().contains(says), "{says}: {}", whole.out);
    }
    assert_eq!(explain(&["1"]).exits(0).out, whole.out);
    assert_eq!(explain(&["forget::"]).exits(0).out, whole.out);
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
    let missing = command(&["explain", "nowhere.json"]).exits(2);
    assert!(missing.error().contains("nowhere.json"));
}

#[test]
fn growth_of_the_process_is_explained_like_that_of_a_site() {
    let ran = run(&["planted:mmap_leak"]).exits(1);
    assert!(
        ran.out
            .starts_with("LEAK        planted:mmap_leak: growth in mapped memory")
    );
    let report = ran.file("report.json");
    let whole = command(&["explain", report.to_str().unwrap()]).exits(0);
    for says in [
        "process, growth in mapped memory: leak",
        "growth (Theil-Sen): 65,536 B a cycle",
        "rises went on for longer than the horizon",
    ] {
        assert!(whole.words().contains(says), "{says}: {}", whole.out);
    }
}

#[test]
fn a_folder_of_several_runs_names_them() {
    let ran = command(&[
        "strategies",
        "planted:lru",
        "--cycles",
        "12",
        "--out",
        "out",
    ]);
    let folder = ran.dir();
    let asked = command(&["explain", folder.to_str().unwrap()]).exits(2);
    assert!(
        asked.error().contains("out/fresh-size1-f32"),
        "{}",
        asked.err
    );
    let one = folder.join("fresh-size1-f32");
    command(&["explain", one.to_str().unwrap()]).exits(0);
}
