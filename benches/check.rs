//! The time that a check adds to its test: a check of 20 empty cycles, in a debug build.
//!
//! `cargo bench --profile dev --no-default-features --bench check` prints the milliseconds from
//! `Check::new` to the end of `run`: the minimum, the median and the maximum of several processes.

use std::process::Command;
use std::time::Instant;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

const PROCESSES: usize = 25;
const CYCLES: u32 = 20;

/// Times one check in this process, as in the process of a test.
fn check() {
    let start = Instant::now();
    let check = afterdrop::Check::new("empty").cycles(CYCLES).test("check");
    check.run(|_| ());
    println!("{}", start.elapsed().as_secs_f64() * 1e3);
}

fn main() {
    if std::env::var_os("CHECK_ONCE").is_some() {
        return check();
    }
    let program = std::env::current_exe().expect("this program has a file");
    let once = || -> f64 {
        let mut command = Command::new(&program);
        let output = command.env("CHECK_ONCE", "1").output();
        let output = output.expect("the program starts");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().expect("milliseconds")
    };
    let mut times: Vec<f64> = (0..PROCESSES).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    println!(
        "a check of {CYCLES} empty cycles, {build} build, {PROCESSES} processes: minimum {:.0} ms, \
         median {:.0} ms, maximum {:.0} ms",
        times[0],
        times[PROCESSES / 2],
        times[PROCESSES - 1]
    );
}
