//! The cycles of a Burn model, run by the command.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Cycles that are timed.
pub const CYCLES: u32 = 100;

/// The time of [`CYCLES`] cycles of load, infer and drop with this value of `AFTERDROP_HEAP`. Only
/// the measured child runs, without the parent that writes the report.
///
/// # Panics
/// If the command fails.
pub fn time(command: &Path, workload: &str, format: &str, heap: &str) -> Duration {
    let name = format!("afterdrop-bench-{}-{heap}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).expect("a temporary folder");
    let plan = afterdrop::bench::plan(workload, format, CYCLES, &folder);
    let status = Command::new(command)
        .env("AFTERDROP_HEAP", heap)
        .env("AFTERDROP_PLAN", plan)
        .env("AFTERDROP_PARENT", std::process::id().to_string())
        .status()
        .expect("the command starts");
    assert!(status.success());
    let journal = std::fs::read_to_string(folder.join("journal.jsonl")).expect("a journal");
    let nanos = |line: &str| -> Option<u64> {
        let record: serde_json::Value = serde_json::from_str(line).ok()?;
        record["boundary"]["counts"]["cycle_nanos"].as_u64()
    };
    let sum = journal.lines().filter_map(nanos).sum();
    let _ = std::fs::remove_dir_all(&folder);
    Duration::from_nanos(sum)
}
