//! What it means that not every block was recorded.

use serde::{Deserialize, Serialize};

/// jemalloc's own default, `lg_prof_sample:19`.
#[cfg(feature = "cli")]
pub(crate) const DEFAULT_EVERY: &str = "512KiB";

/// What it means that not every block was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Sampling {
    /// Of so many allocated bytes one was drawn, and the block that it lay in recorded. All bytes and
    /// blocks of the report are estimates, which are right in the mean.
    pub every_bytes: u64,
    /// Interval of the live bytes at the last boundary, which holds the truth in 95 % or more of runs.
    pub live_bytes_interval: (u64, u64),
    /// Bytes per cycle of a leak of which no block is drawn in one of twenty runs; of a smaller one
    /// none is more often.
    pub missed_below: f64,
}
