//! The reports of a service: one for each scale.

use crate::analysis::config::Config;
use crate::analysis::journal::Journal;
use crate::analysis::{self, Folding, RunContext};
use crate::model::end::{Ended, How};
use crate::model::report::Report;

/// The report of a journal.
pub(super) fn report(journal: &Journal, config: Config) -> Report {
    let with = RunContext {
        ended: Ended::new(How::Completed, None),
        horizon: journal.start.horizon,
        options: Vec::new(),
        witness: None,
        holder_search: None,
        all_holders: false,
        config,
    };
    analysis::report(journal, Folding::default(), with)
}

/// The report with the worst verdict; of several, that of the finest scale, which has seen it first.
pub(super) fn worst(reports: &[Report]) -> Option<&Report> {
    reports
        .iter()
        .reduce(|worst, next| match next.verdict > worst.verdict {
            true => next,
            false => worst,
        })
}
