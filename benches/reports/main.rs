//! Time and memory of the commands that read reports, for very large ones.
//!
//! `cargo bench --features cli,formats --bench reports` writes reports of 100 MB, each with one large
//! part, to `target/tmp`, and has every command read them. It prints the seconds, the highest resident
//! memory as a multiple of the size of what is read, and a refusal. A star marks what no run writes. Arguments: `-- [MB] [part of a kind's name]`.

mod generate;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use afterdrop::report::formats::Format;
use generate::{KINDS, Kind};

/// Longest time of a command.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let megabytes = given
        .first()
        .map_or(100, |mb| mb.parse().expect("a number of MB"));
    let part = given.get(1).map_or("", String::as_str);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("huge-report.json");
    println!(
        "{:<20} {:<16} {:>8} {:>7}  refusal",
        "kind", "command", "seconds", "memory"
    );
    for kind in KINDS.iter().filter(|kind| kind.name.contains(part)) {
        kind.write(megabytes * 1_000_000, &path)
            .expect("the report is written");
        measure_all(kind, &path);
    }
    fs::remove_file(path).expect("the report is removed");
}

fn measure_all(kind: &Kind, path: &Path) {
    let path = path.to_str().expect("a path of text");
    for format in Format::ALL.map(Format::name) {
        measure(kind, format, &["report", path, "--as", format]);
    }
    measure(kind, "explain", &["explain", path]);
    for format in ["terminal", "json", "html", "markdown", "flame"] {
        let name = format!("compare {format}");
        measure(kind, &name, &["compare", path, path, "--as", format]);
    }
}

/// Runs the command, and prints a line.
fn measure(kind: &Kind, name: &str, args: &[&str]) {
    let path = Path::new(args[1]);
    let reports = args.iter().filter(|arg| **arg == args[1]).count() as u64;
    let size = fs::metadata(path).expect("the report").len() * reports;
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_afterdrop"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut peak = 0;
    let status = loop {
        peak = peak.max(peak_kib(&child));
        if let Some(status) = child.try_wait().expect("the command can be waited for") {
            break Some(status);
        }
        if start.elapsed() > PATIENCE {
            child.kill().expect("the command can be killed");
            break None;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let seconds = start.elapsed().as_secs_f64();
    let error = child.wait_with_output().expect("its output").stderr;
    let says = match status {
        None => "TIMED OUT".to_owned(),
        Some(status) => {
            let error = String::from_utf8_lossy(&error).into_owned();
            let error = error
                .trim_end()
                .replace(&path.display().to_string(), "report");
            let code = status
                .code()
                .map_or_else(|| "KILLED ".to_owned(), |_| String::new());
            format!("{code}{error}")
        }
    };
    let memory = peak as f64 * 1024.0 / size as f64;
    let hostile = if kind.is_plausible { "" } else { "*" };
    let kind = format!("{}{hostile}", kind.name);
    println!("{kind:<20} {name:<16} {seconds:>8.2} {memory:>7.2}  {says}");
}

/// The highest resident memory so far, in KiB; 0 once it has ended.
fn peak_kib(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0)
}
