//! Call sites and boundaries as comma-separated values (RFC 4180), with a header line.
//!
//! A value that is not known is empty. Texts are written unchanged, even those that a spreadsheet may
//! take for a formula.

use csv::Writer;

use crate::model::report::{CallSite, Report};

/// A line for each call site, the worst first.
pub(super) fn call_sites(report: &Report) -> Result<Vec<u8>, String> {
    let mut table = Table::new(&[
        "call_site",
        "verdict",
        "allowed",
        "function",
        "file",
        "line",
        "phase",
        "bytes_per_cycle",
        "bytes_per_cycle_low",
        "bytes_per_cycle_high",
        "blocks_per_cycle",
        "retained_bytes",
        "retained_blocks",
        "generations",
        "stacks",
        "holder_kind",
        "holder",
        "holder_file",
        "holder_line",
        "fingerprint",
        "reason",
    ])?;
    for (number, site) in (1..).zip(&report.call_sites) {
        table.line(&of_site(number, site))?;
    }
    table.finish()
}

fn of_site(number: usize, s: &CallSite) -> [String; 21] {
    let interval = s.bytes_per_cycle_interval;
    let holder = s.holder.as_ref();
    [
        number.to_string(),
        s.verdict.to_string(),
        shown(s.allowed.as_ref()),
        s.function.clone(),
        shown(s.file.as_ref()),
        shown(s.line),
        s.phase.to_string(),
        shown(s.bytes_per_cycle),
        shown(interval.map(|i| i.0)),
        shown(interval.map(|i| i.1)),
        shown(s.blocks_per_cycle),
        s.retained_bytes.to_string(),
        s.retained_blocks.to_string(),
        s.generations.to_string(),
        s.stacks.to_string(),
        shown(holder.map(|h| h.kind.key())),
        shown(holder.and_then(|h| h.name.as_ref())),
        shown(holder.and_then(|h| h.file.as_ref())),
        shown(holder.and_then(|h| h.line)),
        s.fingerprint.clone(),
        s.reason.clone(),
    ]
}

/// A line for each boundary.
pub(super) fn boundaries(report: &Report) -> Result<Vec<u8>, String> {
    const JEMALLOC: [&str; 6] = [
        "jemalloc_allocated",
        "jemalloc_active",
        "jemalloc_metadata",
        "jemalloc_resident",
        "jemalloc_mapped",
        "jemalloc_retained",
    ];
    let balance = report.boundaries.iter().find_map(|b| b.balance);
    let parts: Vec<String> = balance.iter().flat_map(|b| b.parts()).map(column).collect();
    let mut names = vec![
        "cycle",
        "live_bytes",
        "live_blocks",
        "peak_bytes",
        "resident_bytes",
        "peak_resident_bytes",
        "allocations",
        "allocated_bytes",
        "loaded_bytes",
        "load_peak_bytes",
        "threads",
        "quiet",
        "seconds",
    ];
    names.extend(JEMALLOC);
    names.extend(parts.iter().map(String::as_str));
    let mut table = Table::new(&names)?;
    for b in &report.boundaries {
        let mut line = vec![
            b.cycle.to_string(),
            b.live_bytes.to_string(),
            b.live_blocks.to_string(),
            b.peak_bytes.to_string(),
            shown(b.resident_bytes),
            shown(b.peak_resident_bytes),
            b.allocations.to_string(),
            b.allocated_bytes.to_string(),
            b.loaded_bytes.to_string(),
            b.load_peak_bytes.to_string(),
            b.threads.to_string(),
            b.quiet.to_string(),
            b.seconds.to_string(),
        ];
        let counters = b.jemalloc.map(|j| {
            [
                j.allocated,
                j.active,
                j.metadata,
                j.resident,
                j.mapped,
                j.retained,
            ]
        });
        line.extend((0..JEMALLOC.len()).map(|i| shown(counters.map(|c| c[i]))));
        let balance = b.balance.map(|b| b.parts());
        line.extend((0..parts.len()).map(|i| shown(balance.map(|b| b[i].1))));
        table.line(&line)?;
    }
    table.finish()
}

/// The column of a part of resident memory, such as `C heap`.
fn column((name, _): (&str, u64)) -> String {
    format!("resident_{}_bytes", name.to_lowercase().replace(' ', "_"))
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

/// A table whose lines all have the same number of values.
struct Table(Writer<Vec<u8>>);

impl Table {
    fn new(names: &[&str]) -> Result<Self, String> {
        let mut table = Self(Writer::from_writer(Vec::new()));
        table.0.write_record(names).map_err(|e| e.to_string())?;
        Ok(table)
    }

    fn line(&mut self, values: &[String]) -> Result<(), String> {
        self.0.write_record(values).map_err(|e| e.to_string())
    }

    fn finish(self) -> Result<Vec<u8>, String> {
        self.0.into_inner().map_err(|e| e.to_string())
    }
}
