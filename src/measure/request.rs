//! What to measure, and how to judge it.

use std::time::Duration;

use super::child;
use crate::analysis::config::Config;
use crate::analysis::verdict;
use crate::base::error::Error;
use crate::model::block::MAX_CYCLE;
use crate::model::plan::Auto;
use crate::model::verdict::FEWEST_CYCLES;

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

/// The numbers of cycles of a run, and what its user calls them.
pub(crate) struct Lengths<'a> {
    pub(crate) cycles: u32,
    /// What has set the number of cycles.
    pub(crate) set_by: &'a str,
    pub(crate) warmup: u32,
    pub(crate) horizon: u32,
    /// What the names of the settings begin with.
    pub(crate) prefix: &'a str,
}

impl Lengths<'_> {
    /// Checks that such a run can have a verdict.
    ///
    /// # Errors
    /// If there are too few cycles or too many.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self { prefix, .. } = self;
        let fewest = self.warmup.saturating_add(FEWEST_CYCLES);
        let wrong = |what: &str, limit: String, got: u32| {
            Err(Error::usage(format!("{what} must be {limit}, got {got}")))
        };
        for (setting, value) in [("warmup", self.warmup), ("horizon", self.horizon)] {
            if value > MAX_CYCLE {
                let limit = format!("at most {MAX_CYCLE} cycles");
                return wrong(&format!("{prefix}{setting}"), limit, value);
            }
        }
        if self.horizon == 0 {
            let limit = "at least 1 cycle".into();
            return wrong(&format!("{prefix}horizon"), limit, 0);
        }
        if self.cycles < fewest {
            let limit = format!("at least {fewest} with {prefix}warmup {}", self.warmup);
            return wrong(self.set_by, limit, self.cycles);
        }
        if self.cycles > MAX_CYCLE {
            return wrong(self.set_by, format!("at most {MAX_CYCLE}"), self.cycles);
        }
        Ok(())
    }
}

/// The plan of a run that ends when every verdict is settled, and begins no cycle after `time`.
pub(crate) fn auto(warmup: u32, horizon: u32, time: Duration) -> Auto {
    Auto {
        first_analysis: warmup.saturating_add(verdict::next_interim(0, horizon)),
        time,
    }
}
