//! How blocks were sampled, where not all were recorded.

use crate::base::json::fields;

/// The default of `--sample`, which is jemalloc's own, `lg_prof_sample:19`.
#[cfg(feature = "cli")]
pub(crate) const DEFAULT_EVERY: &str = "512KiB";

/// How blocks were sampled. With sampling all bytes and blocks of a report are unbiased estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Sampling {
    /// Mean distance of two samples, in allocated bytes. The block that a sample falls into is
    /// recorded.
    pub every_bytes: u64,
    /// Confidence interval of the live bytes at the last boundary, at 95 % or more.
    pub live_bytes_interval: (u64, u64),
    /// Size of a leak, in bytes per cycle, that is missed in 5 % of runs because none of its blocks
    /// is sampled. A smaller leak is missed more often.
    pub missed_below: f64,
}

fields! { Sampling { every_bytes, live_bytes_interval, missed_below } }
