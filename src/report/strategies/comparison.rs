//! The comparison as data: the contents of `strategies.json`.

use std::path::Path;

use crate::base::error::Error;
use crate::base::json::fields;
use crate::model::model_file::ModelFile;
use crate::model::report::RunVerdict;
use crate::model::run::Strategy;
use crate::report::json;

#[cfg(feature = "cli")]
use crate::base::text::one_line;
#[cfg(feature = "cli")]
use crate::model::report::{Boundary, Report};

/// The schema of [`Comparison`] that this version writes.
pub const SCHEMA: &str = "afterdrop-strategies/1";

/// Bytes of the largest `strategies.json` that is read. A run takes less than 1 kB.
const LARGEST: u64 = 1 << 20;

/// The contents of `strategies.json`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Comparison {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Version of afterdrop that wrote it.
    pub version: String,
    /// The workload's name.
    pub workload: String,
    /// The workload's settings, such as `device=ndarray`.
    pub options: Vec<String>,
    /// Cycles of each run.
    pub cycles: u32,
    /// Limit on the memory of each run, in bytes.
    pub memory_limit: Option<u64>,
    /// What the limit applies to, such as `resident memory`.
    pub limited: Option<String>,
    /// The runs.
    pub rows: Vec<Row>,
}

fields! {
    Comparison {
        schema, version, workload, options, cycles, memory_limit: default, limited: default, rows,
    }
}

impl Comparison {
    /// Reads a `strategies.json`.
    ///
    /// # Errors
    /// If the file cannot be read, is not such a comparison, or has another schema.
    pub fn read(path: &Path) -> Result<Self, Error> {
        json::read(
            path,
            "comparison of strategies",
            LARGEST,
            SCHEMA,
            |c: &Self| &c.schema,
        )
    }

    /// The comparison as indented JSON.
    pub fn to_json(&self) -> String {
        // Every map key is a string and every number finite, so that this cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Runs with `f32` weights, of which there is one for each strategy and size.
    pub(super) fn strategies(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|r| r.precision == "f32")
    }
}

/// A run of the comparison. What it did not reach is `null`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Row {
    /// How cycles handled the model.
    pub strategy: Strategy,
    /// Width of the model, as a multiple of the shipped one.
    pub size: u32,
    /// Data type in which the weights were stored.
    pub precision: String,
    /// The verdict on the run.
    pub verdict: RunVerdict,
    /// Whether all cycles ran.
    pub complete: bool,
    /// If not, the cycle in which the run ended, 0 if it was before the first, and why.
    pub died: Option<(u32, String)>,
    /// Growth per cycle in bytes; `None` if it is not known.
    pub bytes_per_cycle: Option<f64>,
    /// Highest live bytes within a cycle.
    pub peak_live_bytes: u64,
    /// Highest resident memory.
    pub peak_resident_bytes: Option<u64>,
    /// Resident memory after the last cycle.
    pub end_resident_bytes: Option<u64>,
    /// Seconds of a cycle, the median.
    pub seconds_per_cycle: f64,
    /// Blocks allocated in a cycle, the median.
    pub allocations_per_cycle: u64,
    /// Live bytes that loading the model adds, the median.
    pub loaded_bytes: u64,
    /// Highest live bytes while the model is loaded, less those before: the median.
    pub load_peak_bytes: u64,
    /// What is known of the model's file.
    pub model: Option<ModelFile>,
}

fields! {
    Row {
        strategy, size, precision, verdict, complete, died: default, bytes_per_cycle: default,
        peak_live_bytes, peak_resident_bytes: default, end_resident_bytes: default,
        seconds_per_cycle, allocations_per_cycle, loaded_bytes, load_peak_bytes, model: default,
    }
}

#[cfg(feature = "cli")]
impl Row {
    /// The row of a run.
    pub(crate) fn of(
        report: &Report,
        size: u32,
        precision: &str,
        model: Option<ModelFile>,
    ) -> Self {
        let boundaries = &report.boundaries;
        let median = |value: fn(&Boundary) -> f64| report.median(value).unwrap_or(0.0);
        let complete = report.ended.is_complete();
        Self {
            strategy: report.strategy,
            size,
            precision: precision.into(),
            verdict: report.verdict,
            complete,
            died: (!complete).then(|| {
                let why = one_line(&report.ended.to_string());
                (report.cycles_run() + 1, why)
            }),
            bytes_per_cycle: report.bytes_per_cycle,
            peak_live_bytes: boundaries.iter().map(|b| b.peak_bytes).max().unwrap_or(0),
            peak_resident_bytes: boundaries
                .iter()
                .filter_map(|b| b.peak_resident_bytes)
                .max(),
            end_resident_bytes: boundaries.last().and_then(|b| b.resident_bytes),
            seconds_per_cycle: median(|b| b.seconds),
            allocations_per_cycle: median(|b| b.allocations as f64) as u64,
            loaded_bytes: median(|b| b.loaded_bytes as f64) as u64,
            load_peak_bytes: median(|b| b.load_peak_bytes as f64) as u64,
            model,
        }
    }

    /// The row of a run that ended before its first boundary, because of the memory limit.
    pub(crate) fn not_begun(strategy: Strategy, size: u32, precision: &str, why: &str) -> Self {
        Self {
            strategy,
            size,
            precision: precision.into(),
            verdict: RunVerdict::Undecided,
            complete: false,
            died: Some((0, one_line(why))),
            bytes_per_cycle: None,
            peak_live_bytes: 0,
            peak_resident_bytes: None,
            end_resident_bytes: None,
            seconds_per_cycle: 0.0,
            allocations_per_cycle: 0,
            loaded_bytes: 0,
            load_peak_bytes: 0,
            model: None,
        }
    }
}
