//! Writes `docs/performance.md` and its charts from new measurements.

use std::path::Path;
use std::process::Command;

use crate::curves::{self, CURVES, Points};
use crate::parts;

/// The text of the page, with placeholders for the measurements.
const TEXT: &str = include_str!("performance.md");

/// Rounds; the lowest figure of all rounds counts.
const ROUNDS: usize = 3;

/// Measures all curves and parts and writes the page.
pub fn write() -> Result<(), Box<dyn std::error::Error>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pictures = docs.join("performance");
    std::fs::create_dir_all(&pictures)?;
    let program = std::env::current_exe()?;
    let mut points = Points::new();
    for round in 1..=ROUNDS {
        for heap in ["bare", "ledger", "sampled", "dhat"] {
            eprintln!("round {round} of {ROUNDS}: {heap}");
            let mut command = Command::new(&program);
            command.env("OVERHEAD_SETTING", format!("curves {heap}"));
            if ["ledger", "sampled"].contains(&heap) {
                command.env("AFTERDROP_HEAP", "jemalloc");
            }
            if heap == "sampled" {
                command.env("AFTERDROP_SAMPLE", crate::SAMPLED_EVERY);
            }
            let output = command.output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
            curves::add(&String::from_utf8_lossy(&output.stdout), &mut points);
        }
    }
    let mut page = TEXT.replace("{machine}", &machine());
    for curve in CURVES {
        curve.draw(&points, &pictures)?;
        let shown = format!(
            "![{}](performance/{}.svg)\n\n{}",
            curve.title(),
            curve.name(),
            curve.table(&points)
        );
        page = page.replace(&format!("{{{}}}", curve.name()), shown.trim_end());
    }
    let parts = match parts::parts(&program) {
        None => "(valgrind or addr2line is missing)".to_owned(),
        Some(parts) => {
            let all: f64 = parts.iter().map(|p| p.1).sum();
            let mut table = "| part | instructions |\n| --- | ---: |\n".to_owned();
            for (name, count) in parts {
                table += &format!("| {name} | {count:.0} |\n");
            }
            table + &format!("| together | {all:.0} |")
        }
    };
    page = page.replace("{parts}", &parts);
    let path = docs.join("performance.md");
    let temporary = path.with_extension("md.new");
    std::fs::write(&temporary, page)?;
    std::fs::rename(&temporary, &path)?;
    println!("{}", path.display());
    Ok(())
}

/// The number and model of the processors, and the version of the kernel.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split(": ").nth(1))
        .unwrap_or("an unknown processor");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: String = kernel.trim().split('-').next().unwrap_or_default().into();
    format!("{processors} processors of a virtual machine ({model}), Linux {kernel}")
}
