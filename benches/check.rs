//! What a check costs over the test that it stands in: 20 empty cycles, in a debug build.
//!
//! `cargo bench --profile dev --no-default-features --bench check` prints the milliseconds from
//! `Check::new` to the end of `run`, the lowest, the median and the highest of several processes.

use std::process::Command;
use std::time::Instant;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

const PROCESSES: usize = 25;
const CYCLES: u32 = 20;

/// Times one check, as a test's process would run it.
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
        let output = output.expect("the program starts again");
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
        "a check of {CYCLES} empty cycles, {build} build: {:.0} ms (lowest of {PROCESSES}), {:.0} ms \
         (median), {:.0} ms (highest)",
        times[0],
        times[PROCESSES / 2],
        times[PROCESSES - 1]
    );
}
