//! Leak assertions as a test author writes them, under the ordinary test harness.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

use afterdrop::report::{How, RunVerdict};
use afterdrop::{Check, Cycle, Failure, Model, Phase, Prediction, Strategy, Workload};

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

/// The message that a check fails with.
fn message(check: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(check)).expect_err("the check should fail");
    *payload.downcast::<String>().expect("a message")
}

/// The line of a marker in this file.
fn marked(marker: &str) -> String {
    let marker = format!("// {marker}");
    let line = include_str!("check.rs")
        .lines()
        .position(|l| l.trim_end().ends_with(&marker))
        .expect("a marked line");
    format!("tests/check.rs:{}", line + 1)
}

fn tidy(_cycle: &mut Cycle<'_>) {
    drop(vec![1_u8; 1000]);
}

#[test]
fn a_closure_may_borrow() {
    let input = [1_u8; 100];
    let mut sum = 0_u64;
    Check::new("borrowing")
        .cycles(20)
        .run(|_| sum += input.iter().map(|&b| u64::from(b)).sum::<u64>());
    assert_eq!(sum, 0, "the cycles ran elsewhere");
}

#[test]
fn what_is_dropped_passes() {
    Check::new("tidy").cycles(20).run(|cycle| {
        let model = cycle.load(|| vec![1_u8; 4096]);
        let sum: u32 = cycle.infer(|| model.iter().map(|&b| u32::from(b)).sum());
        assert_eq!(sum, 4096);
    });
}

#[test]
fn a_leak_fails_with_its_line_its_bytes_and_its_phase() {
    let message = message(|| {
        Check::new("leaky").run(|cycle| {
            cycle.load(|| {
                let model = vec![1_u8; 4096]; // LEAKY
                std::mem::forget(model);
            });
        });
    });
    let place = marked("LEAKY");
    let first = message.lines().next().unwrap();
    assert_eq!(
        first,
        format!("check `leaky`: leaks 4.10 kB per cycle, at {place}")
    );
    assert!(
        message.contains("4,096 B and 1 blocks a cycle"),
        "{message}"
    );
    assert!(message.contains("from load"), "{message}");
    assert!(message.contains("beyond the horizon"), "{message}");
    assert!(!message.contains('\u{1b}'), "no colours in a panic");
}

#[test]
fn a_check_may_end_once_all_is_settled() {
    let clean = Check::new("clean").auto().run_report(tidy).unwrap();
    assert_eq!((clean.verdict, clean.cycles_run()), (RunVerdict::Clean, 12));
    let check = Check::new("leaky").auto();
    let leaky = check.run_report(|_| std::mem::forget(vec![1_u8; 64]));
    let leaky = leaky.unwrap();
    assert_eq!((leaky.verdict, leaky.cycles_run()), (RunVerdict::Leak, 71));
    let check = Check::new("limited").auto().cycles(20);
    let limited = check.run_report(|_| std::mem::forget(vec![1_u8; 64]));
    assert_eq!(limited.unwrap().cycles_run(), 20);
}

#[test]
fn a_short_run_of_a_small_leak_grows_and_fails() {
    let message = message(|| {
        Check::new("short")
            .cycles(20)
            .run(|_| std::mem::forget(vec![1_u8; 64]));
    });
    assert!(
        message.starts_with("check `short`: grows by 64 B per cycle, at "),
        "{message}"
    );
}

#[test]
fn a_closure_without_marks_is_the_phase_cycle() {
    let report = Check::new("unmarked")
        .run_report(|_| std::mem::forget(vec![1_u8; 64]))
        .unwrap();
    let site = report.growing_call_sites().next().unwrap();
    assert_eq!(
        (site.phase, site.bytes_per_cycle),
        (Phase::Cycle, Some(64.0))
    );
}

#[test]
fn a_cycle_may_use_the_question_mark() {
    Check::new("result").cycles(10).run(|_| {
        let number: u32 = "12".parse()?;
        std::hint::black_box(vec![0_u8; number as usize]);
        Ok::<(), std::num::ParseIntError>(())
    });
    let message = message(|| {
        Check::new("failing result").cycles(10).run(|cycle| {
            if cycle.number() == 7 {
                "seven".parse::<u32>()?;
            }
            Ok::<(), std::num::ParseIntError>(())
        });
    });
    assert!(
        message.contains("cycle 7: invalid digit found in string"),
        "{message}"
    );
    assert!(message.contains("6 of 10 cycles were run"), "{message}");
}

#[test]
fn a_panic_in_a_cycle_is_the_message_and_no_leak() {
    let message = message(|| {
        Check::new("panicking").cycles(10).run(|cycle| {
            cycle.infer(|| assert!(std::hint::black_box(1) == 2, "shapes differ"));
        });
    });
    assert!(
        message.contains("cycle 1, infer") && message.contains("shapes differ"),
        "{message}"
    );
    assert!(!message.contains("leak"), "{message}");
}

#[test]
fn two_checks_in_one_test_are_two_runs() {
    let first = Check::new("same").cycles(20).run_report(tidy).unwrap();
    let second = Check::new("same")
        .cycles(20)
        .run_report(|_| std::mem::forget(vec![1_u8; 8]))
        .unwrap();
    assert_eq!(first.verdict, RunVerdict::Clean);
    assert_eq!(second.verdict, RunVerdict::Growing);
    assert_eq!(
        (first.workload.as_str(), second.workload.as_str()),
        ("same", "same (2)")
    );
}

mod nested {
    pub(super) mod deeper {
        #[test]
        fn a_check_in_a_nested_module_finds_its_test() {
            afterdrop::Check::new("nested")
                .cycles(10)
                .run(super::super::tidy);
        }
    }
}

fn helper(bytes: usize) -> RunVerdict {
    let check = Check::new("helped").cycles(20);
    let report = check.run_report(move |_| std::mem::forget(Vec::<u8>::with_capacity(bytes)));
    report.unwrap().verdict
}

#[test]
fn a_helper_may_be_called_from_one_test() {
    assert_eq!(helper(10), RunVerdict::Growing);
}

#[test]
fn and_from_another() {
    assert_eq!(helper(0), RunVerdict::Clean);
}

#[test]
fn limits_beyond_growth_are_kept() {
    let run = |check: Check| {
        check.cycles(20).run(|_| {
            let blocks: Vec<Vec<u8>> = (0..10).map(|_| vec![0_u8; 1000]).collect();
            std::hint::black_box(blocks);
        });
    };
    // Eleven blocks: ten buffers and the list of them.
    run(Check::new("within")
        .max_allocations_per_cycle(11)
        .max_peak_bytes(20_000)
        .max_live_bytes(0));
    let broken = message(|| run(Check::new("blocks").max_allocations_per_cycle(10)));
    assert!(
        broken.contains("11 allocations in a cycle, but the limit is 10"),
        "{broken}"
    );
    let broken = message(|| run(Check::new("peak").max_peak_bytes(5_000)));
    assert!(
        broken.contains("peak live bytes in a cycle, but the limit is 5,000"),
        "{broken}"
    );
}

#[test]
fn some_growth_can_be_allowed() {
    let run = |check: Check| check.run(|_| std::mem::forget(vec![1_u8; 100]));
    run(Check::new("allowed").max_leak_bytes_per_cycle(100));
    let broken = message(|| run(Check::new("too much").max_leak_bytes_per_cycle(99)));
    assert!(broken.contains("leaks 100 B per cycle"), "{broken}");
}

fn known_leak() {
    std::mem::forget(vec![1_u8; 100]);
}

#[test]
fn a_known_leak_is_allowed_by_its_frame_and_no_other() {
    Check::new("known")
        .allow(
            r"known_leak tests/check\.rs:\d+",
            "waits for the next version",
        )
        .run(|_| known_leak());
    let message = message(|| {
        Check::new("unknown")
            .allow("check::known_leak ", "waits for the next version")
            .allow("mended_leak", "was mended")
            .run(|_| {
                known_leak();
                std::mem::forget(vec![1_u8; 7]);
            });
    });
    assert!(
        message.starts_with("check `unknown`: leaks 7 B per cycle"),
        "{message}"
    );
    let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("the allowed leak `mended_leak` (was mended) was not seen"),
        "{message}"
    );
}

#[test]
fn a_pattern_that_does_not_parse_is_an_error() {
    let check = Check::new("pattern").cycles(10).allow("(", "known");
    let error = check.run_report(tidy).unwrap_err().to_string();
    assert!(
        error.contains("the pattern `(` of an allowed leak"),
        "{error}"
    );
}

#[test]
fn a_recorded_budget_is_kept_and_never_records_itself() {
    let run = |blocks: usize, baseline: &str| {
        let path = std::env::temp_dir().join(format!("afterdrop-check-{}", std::process::id()));
        let path = path.join(baseline);
        let check = Check::new(format!("{blocks} of {baseline}")).cycles(20);
        check.baseline(path).run(move |_| {
            let blocks: Vec<Vec<u8>> = (0..blocks).map(|_| vec![0_u8; 1000]).collect();
            std::hint::black_box(blocks);
        });
    };
    let missing = message(|| run(10, "missing.toml"));
    assert!(missing.contains("missing.toml"), "{missing}");
    assert!(missing.contains("AFTERDROP_UPDATE=1"), "{missing}");
    // Eleven blocks of ten buffers and their list, as `AFTERDROP_UPDATE=1` would have written it.
    let folder = std::env::temp_dir().join(format!("afterdrop-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let recorded = "allocations_per_cycle = 11\nallocated_bytes_per_cycle = 10240\n\
                    peak_bytes = 10240\nlive_bytes = 0\n";
    std::fs::write(folder.join("kept.toml"), recorded).unwrap();
    run(10, "kept.toml");
    let over = message(|| run(11, "kept.toml"));
    assert!(
        over.contains("12 allocations in a cycle, but the limit is 11"),
        "{over}"
    );
    assert!(
        over.contains("11,264 bytes allocated in a cycle, but the limit is 10,240"),
        "{over}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn live_bytes_can_be_limited() {
    static CACHE: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let broken = message(|| {
        Check::new("live").cycles(20).max_live_bytes(4999).run(|_| {
            CACHE.lock().unwrap().resize(5000, 1);
        });
    });
    assert!(
        broken.contains("5,000 live bytes after the last cycle"),
        "{broken}"
    );
}

#[test]
fn what_cannot_be_told_does_not_pass() {
    static CACHE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let message = message(|| {
        Check::new("undecided").cycles(20).run(|cycle| {
            let mut cache = CACHE.lock().unwrap();
            cache.reserve(64);
            if cycle.number() < 18 {
                cache.push(vec![1]);
            }
        });
    });
    assert!(message.contains("check `undecided`: "), "{message}");
}

#[test]
fn a_check_that_hangs_is_ended() {
    let message = message(|| {
        Check::new("hanging")
            .cycles(20)
            .timeout(Duration::from_secs(1))
            .run(|cycle| {
                if cycle.number() == 4 {
                    std::thread::sleep(Duration::from_secs(600));
                }
            });
    });
    assert!(
        message.contains("timed out") && message.contains("3 of 20 cycles were run"),
        "{message}"
    );
}

#[test]
fn a_check_that_hangs_is_ended_with_what_it_started() {
    let test = match std::env::var_os("AFTERDROP_CHECK") {
        Some(_) => std::os::unix::process::parent_id(),
        None => std::process::id(),
    };
    let path = std::env::temp_dir().join(format!("afterdrop-hangs-{test}"));
    let check = Check::new("hanging elsewhere").cycles(20);
    let report = check.timeout(Duration::from_secs(1)).run_report(|_| {
        let mut sleeper = Command::new("sleep").arg("600").spawn()?;
        std::fs::write(&path, sleeper.id().to_string())?;
        sleeper.wait().map(drop)
    });
    assert_eq!(report.unwrap().ended.how, How::TimedOut);
    let sleeper = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // Killed; until it is waited for it may still have a number. It would sleep for ten minutes.
    let sleeps = || {
        let stat = std::fs::read_to_string(format!("/proc/{sleeper}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z"))
    };
    let since = std::time::Instant::now();
    while sleeps() {
        assert!(since.elapsed() < Duration::from_secs(60), "it sleeps on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_set_up_that_fails_in_the_child_says_so() {
    let only_in_the_child = std::env::var_os("AFTERDROP_CHECK").is_some();
    assert!(!only_in_the_child, "cannot bind port 8080");
    let message = message(|| Check::new("set-up").cycles(20).run(tidy));
    assert!(message.contains("cannot bind port 8080"), "{message}");
}

#[test]
fn a_set_up_that_hangs_says_so() {
    if std::env::var_os("AFTERDROP_CHECK").is_some() {
        std::thread::sleep(Duration::from_secs(600));
    }
    let check = Check::new("slow")
        .cycles(20)
        .timeout(Duration::from_secs(1));
    let message = message(|| check.run(tidy));
    assert!(message.contains("timed out"), "{message}");
}

#[test]
fn a_container_that_grows_for_ever_does_not_pass() {
    static LIST: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    for cycles in [20, 40, 60, 83, 120] {
        let check = Check::new(format!("list {cycles}")).cycles(cycles);
        let report = check.run_report(|_| LIST.lock().unwrap().extend([0; 1000]));
        assert_ne!(
            report.unwrap().verdict,
            RunVerdict::Clean,
            "{cycles} cycles"
        );
    }
    let check = Check::new("list").cycles(150);
    let report = check.run_report(|_| LIST.lock().unwrap().extend([0; 1000]));
    assert_eq!(report.unwrap().verdict, RunVerdict::Leak);
}

#[test]
fn names_that_differ_in_punctuation_are_different_checks() {
    for name in ["a b", "a-b", "a/b", "", "\u{1b}[31m"] {
        Check::new(name).cycles(20).run(tidy);
    }
}

#[test]
fn any_error_that_can_be_shown_ends_a_cycle() {
    let message = message(|| {
        let check = Check::new("boxed").cycles(20);
        check.run(|_| -> Result<(), Box<dyn std::error::Error>> { Err("no".into()) });
    });
    assert!(message.contains("cycle 1: no"), "{message}");
}

#[test]
fn a_panic_keeps_its_lines() {
    let message = message(|| {
        let check = Check::new("lines").cycles(20);
        check.run(|cycle| assert_eq!(cycle.number() / 10, 0, "ten\nis too many"));
    });
    assert!(message.contains("ten\nis too many"), "{message}");
}

#[test]
fn what_cannot_be_told_may_still_be_little_enough() {
    static LIST: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let check = Check::new("little")
        .cycles(40)
        .max_leak_bytes_per_cycle(1000);
    check.run(|_| LIST.lock().unwrap().push(1));
}

#[test]
fn a_program_that_a_cycle_starts_is_not_the_measured_one() {
    let this = std::env::current_exe().unwrap();
    Check::new("starts another").cycles(10).run(|_| {
        let output = run_ignored(&this, "keeps_a_budget", &[("CHECK_BLOCKS", "1")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // It fails for want of a path, and not because it took itself for the child.
        let expected = said.contains("CHECK_BUDGET") || said.contains("NotPresent");
        if expected { Ok(()) } else { Err(said) }
    });
}

#[test]
fn a_killed_check_says_by_what() {
    let report = Check::new("aborting").cycles(20).run_report(|cycle| {
        if cycle.number() == 7 {
            std::process::abort();
        }
    });
    let report = report.unwrap();
    assert_eq!(report.ended.how, How::Killed);
    assert_eq!(report.cycles_run(), 6);
}

struct Registry(&'static Mutex<Vec<u8>>);
struct Loaded(Vec<u8>);

impl Workload for Registry {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        let size = self.0.lock().unwrap().len();
        Ok(Box::new(Loaded(vec![1; size])))
    }
}

impl Model for Loaded {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        Ok(vec![self.0.len() as f32])
    }
}

#[test]
fn a_workload_is_checked_with_a_strategy() {
    static SIZE: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let check = |strategy: Strategy| {
        let check = Check::new(strategy.name()).cycles(20).strategy(strategy);
        check.run_workload(|| {
            SIZE.lock().unwrap().resize(10_000, 0);
            Ok(Box::new(Registry(&SIZE)))
        });
    };
    check(Strategy::Fresh);
    check(Strategy::Swap);
    check(Strategy::Slot);
    let message = message(|| check(Strategy::Keep));
    assert!(
        message.contains("check `keep`: leaks 10.0 kB per cycle"),
        "{message}"
    );
}

#[test]
fn too_few_cycles_say_how_many() {
    let error = Check::new("few").cycles(4).run_report(tidy).unwrap_err();
    assert!(error.to_string().contains("at least 8"), "{error}");
}

#[test]
fn a_wrong_test_name_says_what_to_do() {
    let check = Check::new("lost").cycles(10).test("no_such_test");
    let error = check.run_report(tidy).unwrap_err().to_string();
    assert!(
        error.contains("--exact no_such_test") && error.contains(".test("),
        "{error}"
    );
}

#[test]
fn a_check_inside_a_check_is_an_error() {
    let message = message(|| {
        Check::new("outer").cycles(10).run(|_| {
            Check::new("inner").cycles(10).run(tidy);
        });
    });
    assert!(message.contains("inside another check"), "{message}");
}

#[test]
#[should_panic(expected = "grows by 24 B per cycle")]
fn a_failing_check_is_a_failing_test() {
    Check::new("should panic")
        .cycles(20)
        .run(|_| std::mem::forget(vec![1_u8; 24]));
}

/// Runs an ignored test of this executable, or of a copy of it, as a user would.
fn run_ignored(program: &Path, test: &str, more: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command.envs(more.iter().copied());
    loop {
        match command.output() {
            // Another test's fork may still hold the file that was just written.
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            output => return output.unwrap(),
        }
    }
}

#[test]
#[ignore = "run by a_budget_is_recorded_when_asked_to"]
fn keeps_a_budget() {
    let path = std::env::var("CHECK_BUDGET").unwrap();
    let blocks: usize = std::env::var("CHECK_BLOCKS").unwrap().parse().unwrap();
    let check = Check::new("budget").cycles(20).baseline(path);
    check.run(|_| {
        for size in 1..=blocks {
            drop(vec![0_u8; size]);
        }
    });
}

#[test]
fn a_budget_is_recorded_when_asked_to() {
    let folder = std::env::temp_dir().join(format!("afterdrop-budget-{}", std::process::id()));
    let path = folder.join("a/new/folder/budget.toml");
    let this = std::env::current_exe().unwrap();
    let keeps = |blocks: &str, update: &str| {
        let more = [
            ("CHECK_BUDGET", path.to_str().unwrap()),
            ("CHECK_BLOCKS", blocks),
            ("AFTERDROP_UPDATE", update),
        ];
        run_ignored(&this, "keeps_a_budget", &more).status.success()
    };
    assert!(!keeps("10", "0") && !path.exists(), "it recorded itself");
    assert!(keeps("10", "1"));
    let recorded = std::fs::read_to_string(&path).unwrap();
    assert!(
        recorded.contains("allocations_per_cycle = 10"),
        "{recorded}"
    );
    assert!(keeps("10", "0") && keeps("9", "0") && !keeps("11", "0"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), recorded);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
#[ignore = "run by an_executable_that_is_gone_is_an_error from a copy"]
fn deletes_its_executable() {
    std::fs::remove_file(std::env::current_exe().unwrap()).unwrap();
    Check::new("gone").cycles(20).run(tidy);
}

#[test]
fn an_executable_that_is_gone_is_an_error() {
    let folder = std::env::temp_dir().join(format!("afterdrop-gone-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let copy = folder.join("check");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = run_ignored(&copy, "deletes_its_executable", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("check `gone`: ") && said.contains("deleted or replaced"),
        "{said}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
