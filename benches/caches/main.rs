//! What each cache of the hot path brings: `benches/caches/run` builds this bench once as it is and
//! once without each cache, and prints how much slower or larger it gets.
//!
//! Prints lines of `program figure`. Each program runs in a child process, because a process decides
//! once whether it records.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tikv_jemallocator::Jemalloc;

#[path = "../overhead/cycles.rs"]
mod cycles;
mod formatter;
#[path = "../overhead/program.rs"]
mod program;
#[path = "../overhead/stacks.rs"]
mod stacks;
#[path = "../overhead/time.rs"]
mod time;

use stacks::{MANY, Order, at_stacks};

#[global_allocator]
static HEAP: afterdrop::Heap<Jemalloc> = afterdrop::Heap::over(Jemalloc);

/// Environment variable of the child: the program that it runs.
const ENV_PROGRAM: &str = "CACHES_PROGRAM";

const PROGRAMS: [&str; 7] = [
    "depth-5",
    "depth-15",
    "depth-40",
    "stacks-repeated",
    "stacks-random",
    "sampled",
    "formatter",
];

fn measure(program: &str) {
    assert_eq!(afterdrop::bench::choose_unwinder(), "frame pointers");
    afterdrop::bench::begin_cycle(1);
    let figure = match program {
        "depth-5" => program::nanos(&HEAP, 5, 1, 200_000),
        "depth-15" | "sampled" => program::nanos(&HEAP, 15, 1, 200_000),
        "depth-40" => program::nanos(&HEAP, 40, 1, 200_000),
        "stacks-repeated" => at_stacks(&HEAP, MANY, Order::Repeated),
        "stacks-random" => at_stacks(&HEAP, MANY, Order::Random),
        "formatter" => {
            let time = formatter::lowest_time();
            println!("formatter-stacks {}", afterdrop::bench::stacks());
            time.as_secs_f64() * 1e3
        }
        other => panic!("there is no program {other}"),
    };
    println!("{program} {figure}");
    let bytes = afterdrop::bench::ledger_bytes();
    println!("{program}-memory {}", bytes as f64 / 1e6);
}

/// Runs a program in a child process, which prints its figures.
fn run(program: &str) {
    let this = std::env::current_exe().expect("this program has a file");
    let mut command = Command::new(this);
    command
        .env(ENV_PROGRAM, program)
        .env("AFTERDROP_HEAP", "jemalloc");
    if program == "sampled" {
        command.env("AFTERDROP_SAMPLE", "524288");
    }
    assert!(command.status().expect("the child starts").success());
}

fn main() {
    if let Ok(program) = std::env::var(ENV_PROGRAM) {
        return measure(&program);
    }
    PROGRAMS.iter().for_each(|program| run(program));
    // Given by `run`, whose builds of the command have the same file name.
    let Ok(command) = std::env::var("CACHES_COMMAND") else {
        return;
    };
    for (workload, format) in [("burn:cnn", "bpk"), ("burn:transformer", "safetensors")] {
        let time: Duration = cycles::time(Path::new(&command), workload, format, "jemalloc");
        println!("{workload} {}", time.as_secs_f64() * 1e3);
    }
}
