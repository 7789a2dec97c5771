//! Checks whose run does not reach its last cycle.

use std::process::Command;
use std::time::Duration;

use afterdrop::Check;
use afterdrop::report::How;

use crate::common::{is_running, message, shared_path, wait_until, with_timeout};
use crate::tidy;

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
fn a_panic_in_a_cycle_is_reported_as_a_panic() {
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
fn a_boxed_error_ends_a_cycle() {
    let message = message(|| {
        let check = Check::new("boxed").cycles(20);
        check.run(|_| -> Result<(), Box<dyn std::error::Error>> { Err("no".into()) });
    });
    assert!(message.contains("cycle 1: no"), "{message}");
}

#[test]
fn all_lines_of_a_panic_are_shown() {
    let message = message(|| {
        let check = Check::new("lines").cycles(20);
        check.run(|cycle| assert_eq!(cycle.number() / 10, 0, "ten\nis too many"));
    });
    assert!(message.contains("ten\nis too many"), "{message}");
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_check_that_hangs_is_ended() {
    let run = |timeout| {
        message(|| {
            let check = Check::new("hanging").cycles(20).timeout(timeout);
            check.run(|cycle| {
                if cycle.number() == 4 {
                    hang();
                }
            });
        })
    };
    let has_begun = |message: &String| message.contains("3 of 20 cycles were run");
    let message = with_timeout(run, has_begun);
    assert!(
        message.contains("timed out") && has_begun(&message),
        "{message}"
    );
}

#[test]
fn the_processes_that_a_check_has_started_are_ended_with_it() {
    let path = shared_path("sleeper");
    let pid = || {
        std::fs::read_to_string(&path)
            .ok()
            .filter(|pid| !pid.is_empty())
    };
    let run = |timeout| {
        let check = Check::new("hanging elsewhere").cycles(20).timeout(timeout);
        check.run_report(|_| {
            let mut sleeper = Command::new("sleep").arg("600").spawn()?;
            std::fs::write(&path, sleeper.id().to_string())?;
            sleeper.wait().map(drop)
        })
    };
    let report = with_timeout(run, |_| pid().is_some());
    assert_eq!(report.unwrap().ended.how, How::TimedOut);
    let sleeper = pid().unwrap();
    std::fs::remove_file(&path).unwrap();
    wait_until("the sleeping process ends", || !is_running(&sleeper));
}

#[test]
fn a_set_up_that_fails_in_the_child_fails_the_check() {
    let only_in_the_child = std::env::var_os("AFTERDROP_PLAN").is_some();
    assert!(!only_in_the_child, "cannot bind port 8080");
    let message = message(|| Check::new("set-up").cycles(20).run(tidy));
    assert!(message.contains("cannot bind port 8080"), "{message}");
}

#[test]
fn a_set_up_that_hangs_is_ended() {
    if std::env::var_os("AFTERDROP_PLAN").is_some() {
        hang();
    }
    let check = Check::new("slow")
        .cycles(20)
        .timeout(Duration::from_secs(1));
    let message = message(|| check.run(tidy));
    assert!(message.contains("timed out"), "{message}");
}

#[test]
fn a_killed_check_is_reported_as_killed() {
    let report = Check::new("aborting").cycles(20).run_report(|cycle| {
        if cycle.number() == 7 {
            std::process::abort();
        }
    });
    let report = report.unwrap();
    assert_eq!(report.ended.how, How::Killed);
    assert_eq!(report.cycles_run(), 6);
}
