//! Services with a known truth. Each runs until its input ends, in a process of its own.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use afterdrop::Live;
use afterdrop::live::Settings;

/// The service with this name.
pub fn run(name: &str) {
    match name {
        "leak" => serve(leak),
        "clean" => serve(|_| {}),
        "forks" => serve(|n| {
            if n.is_multiple_of(20) {
                Command::new("true").status().expect("`true` runs");
            }
        }),
        "second" => {
            first();
            serve(leak);
        }
        "two" => two(),
        "restart" => restart(),
        _ => panic!("no service {name}"),
    }
}

fn settings() -> Settings {
    Settings::default()
        .window(Duration::from_millis(40))
        .cycles(5)
        .analysis(Duration::from_millis(300))
        .listen("127.0.0.1:0".parse().expect("an address"))
}

/// Says something to the test.
fn say(text: impl std::fmt::Display) {
    println!("{text}");
    std::io::stdout().flush().expect("the test reads");
}

/// Answers requests, with a ring of the last 200 answers, and does what is given with the number of each request.
fn serve(each: impl Fn(u64)) {
    say("begun");
    let live = match Live::start(settings()) {
        Ok(live) => live,
        Err(error) => {
            say(error);
            std::process::exit(2);
        }
    };
    say(live.address().expect("it listens"));
    let is_over = until_the_input_ends();
    let mut ring = VecDeque::new();
    for request in 0.. {
        if is_over.load(Relaxed) {
            break;
        }
        work();
        answer(&mut ring);
        each(request);
        live.cycle();
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn until_the_input_ends() -> Arc<AtomicBool> {
    let is_over = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&is_over);
    std::thread::spawn(move || {
        let mut line = String::new();
        while std::io::stdin()
            .lock()
            .read_line(&mut line)
            .is_ok_and(|read| read > 0)
        {
            line.clear();
        }
        set.store(true, Relaxed);
    });
    is_over
}

#[inline(never)]
fn work() {
    for size in 0..100 {
        black_box(vec![1_u8; 1000 + size]);
    }
}

#[inline(never)]
fn answer(ring: &mut VecDeque<Vec<u8>>) {
    ring.push_back(vec![2; 3000]);
    if ring.len() > 200 {
        ring.pop_front();
    }
}

#[inline(never)]
fn leak(request: u64) {
    std::mem::forget(black_box(vec![request; 100])); // PLANTED
}

/// A `Live` that is stopped after twenty windows.
fn first() {
    let live = Live::start(settings()).expect("the first starts");
    let mut ring = VecDeque::new();
    let windows = || -> f64 {
        let metrics = live.metrics();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("afterdrop_windows{"));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value
            .and_then(|value| value.parse().ok())
            .expect("a number of windows")
    };
    while windows() < 20.0 {
        work();
        answer(&mut ring);
        live.cycle();
    }
    std::mem::forget(black_box(ring));
    live.stop();
}

fn two() {
    let first = Live::start(settings()).expect("the first starts");
    let second = Live::start(settings()).expect_err("the second is refused");
    say(second);
    drop(first);
}

fn restart() {
    for _ in 0..3 {
        let live = Live::start(settings()).expect("it starts again");
        let clone = live.clone();
        drop(live);
        clone.stop();
        clone.stop();
        assert!(!clone.pprof().is_empty());
    }
    say("restarted");
}
