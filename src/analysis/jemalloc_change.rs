//! Compares jemalloc's own statistics at the baseline and at the end, from its two JSON dumps.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::base::error::Error;
use crate::base::files::write_bytes;
use crate::base::units::exact;
use crate::model::profile::Bin;

const BASELINE: &str = "jemalloc-stats-baseline.json";
const END: &str = "jemalloc-stats-end.json";
/// The table's name in the folder of a run.
const TABLE: &str = "jemalloc-stats-change.txt";

/// Writes a table of the numbers that differ beside the dumps. Does nothing if a dump is missing,
/// because the run ended early or had another heap.
///
/// # Errors
/// If a dump is not jemalloc's JSON, or the table cannot be written.
pub(crate) fn write_table(folder: &Path) -> Result<(), Error> {
    let (baseline, end) = (folder.join(BASELINE), folder.join(END));
    if !baseline.exists() || !end.exists() {
        return Ok(());
    }
    let table = table(&read(&baseline)?, &read(&end)?);
    write_bytes(&folder.join(TABLE), table.as_bytes())
}

/// The size classes of jemalloc that have slabs at the end. Empty if a dump is missing, or does not
/// have the expected form.
pub(crate) fn bins(folder: &Path) -> Vec<Bin> {
    let dumps = [BASELINE, END].map(|name| {
        let path = folder.join(name);
        path.exists().then(|| read(&path).ok()).flatten()
    });
    let [Some(baseline), Some(end)] = dumps else {
        return Vec::new();
    };
    let merged = |dump: &Value, i: usize, field: &str| {
        let bins = &dump["jemalloc"]["stats.arenas"]["merged"]["bins"];
        bins[i][field].as_u64().unwrap_or(0)
    };
    let classes = end["jemalloc"]["arenas"]["bin"].as_array();
    let bins = classes.into_iter().flatten().enumerate().map(|(i, class)| {
        let both = |field| (merged(&baseline, i, field), merged(&end, i, field));
        Bin {
            size: class["size"].as_u64().unwrap_or(0),
            slots_per_slab: class["nregs"].as_u64().unwrap_or(0),
            slots_in_use: both("curregs"),
            slabs: both("curslabs"),
        }
    });
    bins.filter(|b| b.slabs.1 > 0 && b.size > 0).collect()
}

/// Removes the dumps. Returns whether there were any.
pub(crate) fn remove_dumps(folder: &Path) -> bool {
    let json = [BASELINE, END].map(|name| folder.join(name));
    let text = json.clone().map(|path| path.with_extension("txt"));
    let removed = json.iter().chain(&text).map(std::fs::remove_file);
    removed.filter(Result::is_ok).count() > 0
}

fn read(path: &Path) -> Result<Value, Error> {
    let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::malformed(path, Some(e.line() as u64), format!("not JSON: {e}")))
}

/// The numbers of a dump by their path, without rates and times, which say nothing about retained
/// memory.
fn numbers(json: &Value) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    let stats = &json["jemalloc"]["stats"];
    collect("stats", stats, &mut found);
    let merged = &json["jemalloc"]["stats.arenas"]["merged"];
    collect("arenas", merged, &mut found);
    let constants = json["jemalloc"]["arenas"]["bin"].as_array();
    let bins = merged["bins"].as_array();
    for (i, bin) in bins.into_iter().flatten().enumerate() {
        let size = constants
            .and_then(|c| c.get(i))
            .and_then(|c| c["size"].as_u64());
        let name = size.map_or_else(|| format!("bin {i}"), |s| format!("bin of {s} B"));
        for field in ["curregs", "curslabs", "nmalloc", "ndalloc"] {
            found.extend(bin[field].as_i64().map(|n| (format!("{name}: {field}"), n)));
        }
    }
    found
}

fn collect(prefix: &str, json: &Value, found: &mut Vec<(String, i64)>) {
    for (name, value) in json.as_object().into_iter().flatten() {
        let path = format!("{prefix}.{name}");
        match value {
            Value::Number(n) if !is_time(name) => found.extend(n.as_i64().map(|n| (path, n))),
            Value::Object(_) if matches!(name.as_str(), "small" | "large") => {
                collect(&path, value, found);
            }
            _ => {}
        }
    }
}

fn is_time(name: &str) -> bool {
    name.contains("uptime") || name.ends_with("_ns") || name.contains("decay")
}

fn table(baseline: &Value, end: &Value) -> String {
    let before = numbers(baseline);
    let after = numbers(end);
    let mut text = format!(
        "{:<34} {:>16} {:>16} {:>16}\n",
        "", "baseline", "end", "change"
    );
    let mut changed = 0;
    for (name, b) in &before {
        let Some((_, e)) = after.iter().find(|(n, _)| n == name) else {
            continue;
        };
        if b != e {
            changed += 1;
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                text,
                "{name:<34} {:>16} {:>16} {:>16}",
                signed(*b),
                signed(*e),
                signed(e - b)
            );
        }
    }
    if changed == 0 {
        text.push_str("nothing changed\n");
    }
    text
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", exact(number.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn dump(allocated: u64, regions: u64) -> Value {
        json!({"jemalloc": {
            "arenas": {"bin": [{"size": 8}, {"size": 16}]},
            "stats": {"allocated": allocated, "resident": 5},
            "stats.arenas": {"merged": {
                "uptime_ns": allocated,
                "small": {"nmalloc": 7},
                "bins": [{"curregs": 1}, {"curregs": regions}]
            }}
        }})
    }

    #[test]
    fn the_table_has_only_numbers_that_changed() {
        let text = table(&dump(1000, 10), &dump(5096, 7));
        assert!(text.contains("stats.allocated"), "{text}");
        assert!(text.contains("5,096            4,096"), "{text}");
        assert!(text.contains("bin of 16 B: curregs"), "{text}");
        assert!(text.contains("-3\n"), "{text}");
        assert!(
            !text.contains("resident") && !text.contains("uptime"),
            "{text}"
        );
    }

    #[test]
    fn equal_dumps_are_reported_as_unchanged() {
        assert!(table(&dump(1, 1), &dump(1, 1)).contains("nothing changed"));
        assert!(table(&json!({}), &json!(null)).contains("nothing changed"));
    }
}
