//! What to measure, and how to judge it.

use std::time::Duration;

use super::child;
use crate::analysis::config::Config;
use crate::analysis::verdict;
use crate::model::plan::Auto;

/// A measurement to make.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) start: child::Start,
    /// Whether to report the holders of all call sites. If not, only of those that leak, grow or are
    /// undecided.
    pub(crate) all_holders: bool,
    /// The settings of the workload as `name=value`, for the report.
    pub(crate) options: Vec<String>,
    /// The allowed leaks.
    pub(crate) config: Config,
}

/// The plan of a run that ends when every verdict is settled, and begins no cycle after `time`.
pub(crate) fn auto(warmup: u32, horizon: u32, time: Duration) -> Auto {
    Auto {
        first_analysis: warmup.saturating_add(verdict::next_interim(0, horizon)),
        time,
    }
}
