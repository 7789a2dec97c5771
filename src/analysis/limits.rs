//! The limits of a check (growth, live and peak bytes, allocations), and the baseline file that
//! records them.

use std::path::Path;

use toml::Spanned;

use super::toml_table;
use crate::base::error::Error;
use crate::base::files::write_bytes;
use crate::base::units::{bytes, exact};
use crate::model::report::{Boundary, CallSite, Report, RunVerdict};
use crate::model::verdict::Verdict;

/// The limits of a check. `None` is no limit, except for growth: by default none is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) leak_bytes_per_cycle: Option<u64>,
    pub(crate) live_bytes: Option<u64>,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) allocations_per_cycle: Option<u64>,
}

/// What a run needed: the numbers of a baseline file. Neither the set-up before the first cycle nor
/// the warm-up counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Blocks allocated in the cycle that allocated the most.
    allocations_per_cycle: u64,
    /// Bytes allocated in the cycle that allocated the most.
    allocated_bytes_per_cycle: u64,
    /// Highest live bytes within a cycle.
    peak_bytes: u64,
    /// Live bytes after the last cycle.
    live_bytes: u64,
}

/// Bytes per running thread by which the peak of the same cycles may differ from run to run.
const PEAK_TOLERANCE: u64 = 4096;

impl Budget {
    const KEYS: [&str; 4] = [
        "allocations_per_cycle",
        "allocated_bytes_per_cycle",
        "peak_bytes",
        "live_bytes",
    ];

    pub(crate) fn of(report: &Report) -> Self {
        let setup = report.attribution.setup_bytes;
        let most = |of: fn(&Boundary) -> u64| {
            let measured = report.boundaries.iter().filter(|b| b.cycle > report.warmup);
            measured.map(of).max().unwrap_or(0)
        };
        Self {
            allocations_per_cycle: most(|b| b.allocations),
            allocated_bytes_per_cycle: most(|b| b.allocated_bytes),
            peak_bytes: most(|b| b.peak_bytes).saturating_sub(setup),
            live_bytes: report.attribution.live_bytes.saturating_sub(setup),
        }
    }

    /// Reads a baseline file.
    ///
    /// # Errors
    /// If it cannot be read, or is not a baseline file: the error names the line.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::io("read the baseline", path, e)
                .hint("record it with AFTERDROP_UPDATE=1, and review it")
        })?;
        toml_table::parse(path, &text, &Self::KEYS, |table| {
            let number = |key| {
                table
                    .required(key, table.number(key)?)
                    .map(Spanned::into_inner)
            };
            let [allocations, allocated_bytes, peak_bytes, live_bytes] = Self::KEYS.map(number);
            Ok(Self {
                allocations_per_cycle: allocations?,
                allocated_bytes_per_cycle: allocated_bytes?,
                peak_bytes: peak_bytes?,
                live_bytes: live_bytes?,
            })
        })
        .map_err(|e| e.hint("record it again with AFTERDROP_UPDATE=1"))
    }

    /// Writes a baseline file, and creates its folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::io("create the folder", folder, e))?;
        }
        let Self {
            allocations_per_cycle,
            allocated_bytes_per_cycle,
            peak_bytes,
            live_bytes,
        } = self;
        let text = format!(
            "# What the cycles of a check need, recorded by AFTERDROP_UPDATE=1. More than this fails.\n\
             allocations_per_cycle = {allocations_per_cycle}\n\
             allocated_bytes_per_cycle = {allocated_bytes_per_cycle}\n\
             peak_bytes = {peak_bytes}\n\
             live_bytes = {live_bytes}\n"
        );
        write_bytes(path, text.as_bytes())
    }

    /// A message for each figure that exceeds the recorded one.
    pub(crate) fn over(&self, recorded: &Self, threads: u64) -> Vec<String> {
        let tolerance = PEAK_TOLERANCE * threads.max(1);
        over(&[
            (
                ALLOCATIONS,
                self.allocations_per_cycle,
                Some(recorded.allocations_per_cycle),
            ),
            (
                "bytes allocated in a cycle",
                self.allocated_bytes_per_cycle,
                Some(recorded.allocated_bytes_per_cycle),
            ),
            (
                PEAK,
                self.peak_bytes,
                Some(recorded.peak_bytes.saturating_add(tolerance)),
            ),
            (LIVE, self.live_bytes, Some(recorded.live_bytes)),
        ])
    }
}

const ALLOCATIONS: &str = "allocations in a cycle";
const PEAK: &str = "peak live bytes in a cycle";
const LIVE: &str = "live bytes after the last cycle";

/// A message for each figure above its limit.
fn over(figures: &[(&str, u64, Option<u64>)]) -> Vec<String> {
    let mut broken = Vec::new();
    for &(what, found, limit) in figures {
        if let Some(limit) = limit.filter(|&limit| found > limit) {
            let (found, limit) = (exact(found), exact(limit));
            broken.push(format!("{found} {what}, but the limit is {limit}"));
        }
    }
    broken
}

impl Limits {
    /// A message for each limit that the report exceeds.
    pub(crate) fn broken_by(&self, report: &Report) -> Vec<String> {
        let needed = Budget::of(report);
        let mut broken: Vec<String> = self.growth(report).into_iter().collect();
        broken.extend(over(&[
            (LIVE, needed.live_bytes, self.live_bytes),
            (PEAK, needed.peak_bytes, self.peak_bytes),
            (
                ALLOCATIONS,
                needed.allocations_per_cycle,
                self.allocations_per_cycle,
            ),
        ]));
        broken
    }

    /// A message if the report shows growth that is not allowed, or is undecided.
    fn growth(&self, report: &Report) -> Option<String> {
        self.growth_of_call_sites(report)
            .or_else(|| growth_of_process(report))
            .or_else(|| self.undecided(report))
    }

    fn growth_of_call_sites(&self, report: &Report) -> Option<String> {
        let allowed = self.leak_bytes_per_cycle.unwrap_or(0) as f64;
        let new = |s: &&CallSite| s.allowed.is_none();
        let mut growing = report.growing_call_sites().filter(new);
        if let Some(site) = growing.next() {
            let rate = report.bytes_per_cycle.unwrap_or(0.0);
            if allowed > 0.0 && rate <= allowed {
                return None;
            }
            let verb = match report.verdict {
                RunVerdict::Leak => "leaks",
                _ => "grows by",
            };
            let (rate, place) = (bytes(rate), site.location());
            return Some(format!("{verb} {rate} per cycle, at {place}"));
        }
        None
    }

    fn undecided(&self, report: &Report) -> Option<String> {
        if let Some(gap) = report
            .ended
            .detail
            .as_ref()
            .filter(|_| report.ended.is_complete())
        {
            return Some(format!("undecided: {gap}"));
        }
        let allowed = self.leak_bytes_per_cycle.unwrap_or(0) as f64;
        let new = |s: &&CallSite| s.allowed.is_none();
        // The growth of an undecided call site may still be known to be less than what is allowed.
        let open = report.call_sites.iter().filter(new);
        let open = open.filter(|s| s.verdict == Verdict::Undecided);
        let most: Option<f64> = open.map(|s| s.bytes_per_cycle).sum();
        if allowed > 0.0 && most.is_some_and(|most| most <= allowed) {
            return None;
        }
        (report.verdict == RunVerdict::Undecided).then(|| format!("undecided: {}", report.summary))
    }
}

/// A message if something other than call sites grows, such as file descriptors or the C heap.
fn growth_of_process(report: &Report) -> Option<String> {
    let process = &report.process;
    let verb = match process.verdict {
        Verdict::Leak => "leaks",
        Verdict::Growing => "grows",
        _ => return None,
    };
    Some(format!("{verb}: {}", process.sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: Budget = Budget {
        allocations_per_cycle: 10,
        allocated_bytes_per_cycle: 1000,
        peak_bytes: 50_000,
        live_bytes: 64,
    };

    #[test]
    fn a_budget_survives_writing_and_reading() {
        let path = std::env::temp_dir()
            .join(format!("afterdrop-budget-{}", std::process::id()))
            .join("reload.toml");
        RECORDED.write(&path).unwrap();
        assert_eq!(Budget::read(&path).unwrap(), RECORDED);
        let unknown = "allocations_per_cycle = 1\n\nspeed = 3\n";
        std::fs::write(&path, unknown).unwrap();
        let error = Budget::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("reload.toml:3: unknown field `speed`"),
            "{error}"
        );
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn only_larger_figures_exceed_a_budget() {
        assert!(RECORDED.over(&RECORDED, 1).is_empty());
        let less = Budget {
            allocations_per_cycle: 9,
            ..RECORDED
        };
        assert!(less.over(&RECORDED, 1).is_empty());
        let more = Budget {
            allocations_per_cycle: 11,
            peak_bytes: 54_097,
            live_bytes: 65,
            ..RECORDED
        };
        let broken = more.over(&RECORDED, 1);
        assert_eq!(broken.len(), 3, "{broken:?}");
        assert_eq!(broken[0], "11 allocations in a cycle, but the limit is 10");
        assert_eq!(
            more.over(&RECORDED, 2).len(),
            2,
            "the peak has a tolerance of 4 KiB per thread"
        );
    }
}
