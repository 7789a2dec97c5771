//! 100 cycles of each Burn model with the ledger and without.

#[cfg(feature = "burn")]
use std::{os::fd::AsRawFd, process::Command, time::SystemTime};

#[cfg(feature = "burn")]
use crate::cycles;

/// The time of 100 cycles of each Burn model with the ledger, as a multiple of the time without it.
#[cfg(feature = "burn")]
pub fn models() -> Vec<(String, f64)> {
    const TURNS: usize = 9;
    let command = std::path::Path::new(env!("CARGO_BIN_EXE_afterdrop"));
    let once = |workload: &str, format: &str, heap: &str| -> f64 {
        cycles::time(command, workload, format, heap).as_secs_f64() * 1e3
    };
    println!(
        "{} cycles of load, infer and drop: ms bare, ms with the ledger (lowest of {TURNS})",
        cycles::CYCLES
    );
    let mut ratios = Vec::new();
    for (workload, format) in [
        ("burn:mlp", "bpk"),
        ("burn:cnn", "bpk"),
        ("burn:transformer", "bpk"),
        ("burn:transformer", "safetensors"),
    ] {
        let (mut bare, mut ledger) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..TURNS {
            bare = bare.min(once(workload, format, "jemalloc-bare"));
            ledger = ledger.min(once(workload, format, "jemalloc"));
        }
        let name = format!("{workload} {format}");
        println!("{name:<30} {bare:>8.1} {ledger:>8.1}");
        ratios.push((name, ledger / bare));
    }
    println!();
    ratios
}

/// Measures and prints the seconds from the last record of the measured child's journal to the end of
/// the command, which has printed the report of `burn:cnn` by then: once with the executable's debug
/// information not in the page cache, and once with it.
#[cfg(feature = "burn")]
pub fn report_seconds() {
    const TURNS: usize = 5;
    let program = env!("CARGO_BIN_EXE_afterdrop");
    let folder = std::env::temp_dir().join(format!("afterdrop-report-{}", std::process::id()));
    let once = |is_cold: bool| -> f64 {
        let _ = std::fs::remove_dir_all(&folder);
        if is_cold {
            let file = std::fs::File::open(program).expect("the command is there");
            // SAFETY: the file is open, and the advice changes no contents.
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        }
        let output = Command::new(program)
            .args(["run", "burn:cnn", "--out"])
            .arg(&folder)
            .output()
            .expect("the command starts");
        let end = SystemTime::now();
        assert!(output.status.success());
        let journal = std::fs::metadata(folder.join("journal.jsonl")).expect("a journal");
        let written = journal.modified().expect("a time");
        end.duration_since(written).map_or(0.0, |d| d.as_secs_f64())
    };
    let lowest = |is_cold| {
        (0..TURNS)
            .map(|_| once(is_cold))
            .fold(f64::INFINITY, f64::min)
    };
    let seconds = [lowest(true), lowest(false)];
    let _ = std::fs::remove_dir_all(&folder);
    println!(
        "from the end of burn:cnn's child to the printed report: {:.3} s cold, {:.3} s warm\n",
        seconds[0], seconds[1]
    );
}

#[cfg(not(feature = "burn"))]
pub fn report_seconds() {}

#[cfg(not(feature = "burn"))]
pub fn models() -> Vec<(String, f64)> {
    println!("Burn models left out: built without the feature `burn`\n");
    Vec::new()
}
