//! The report of a run that has none, because the parent ended before it wrote one: made from the
//! journal.

use std::path::Path;
#[cfg(feature = "cli")]
use std::path::PathBuf;

use super::observer;
use crate::analysis::config;
use crate::analysis::journal::Reader;
use crate::analysis::{self, Folding, RunContext};
use crate::base::error::Error;
use crate::model::end::{Ended, How};
use crate::model::journal;
use crate::model::report::Report;

/// Makes the report of the journal in the folder of a run. Holders are in it only if the run got as
/// far as its last search.
///
/// # Errors
/// If there is no journal, or it has no readable start.
pub(crate) fn report_of(folder: &Path) -> Result<Report, Error> {
    let journal = Reader::new(folder.join(journal::FILE)).finish()?;
    let unknown = "its end was not seen: it was killed together with the process that watched it, \
                   or it still runs";
    let with = RunContext {
        ended: Ended::new(How::Failed, unknown.to_owned()),
        horizon: journal.start.horizon,
        options: Vec::new(),
        witness: None,
        holder_search: observer::read_found(&journal, folder),
        all_holders: true,
        config: config::load(&journal.start.workload)?,
    };
    let mut report = analysis::report(&journal, Folding::default(), with).without_home();
    let warning = "this report was made from the journal, because the run has no report.json: \
                   settings of the workload are not known";
    report.warnings.insert(0, warning.into());
    Ok(report)
}

/// The folder with the journal of a run: its own, or that of the process with the longest one, if the command
/// that ran a program as it is was killed; `None` if there is none.
#[cfg(feature = "cli")]
pub(crate) fn folder_with_journal(run: &Path) -> Option<PathBuf> {
    let length = |folder: &PathBuf| {
        let file = std::fs::metadata(folder.join(journal::FILE));
        file.map_or(0, |file| file.len())
    };
    if run.join(journal::FILE).exists() {
        return Some(run.into());
    }
    let processes = std::fs::read_dir(run.join(journal::PROCESSES)).ok()?;
    let folders = processes.flatten().map(|entry| entry.path());
    folders.filter(|f| length(f) > 0).max_by_key(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::private_folder;
    use crate::model::verdict::Verdict;

    /// The journal of a run of `planted:registry` over the system's allocator: 12 cycles.
    const STORED: &str = include_str!("../../fixtures/journal.jsonl");

    /// The report of a folder with this journal.
    fn report(text: &[u8]) -> Result<Report, Error> {
        let folder = private_folder::unpredictable_path();
        private_folder::create(&folder).unwrap();
        std::fs::write(folder.join(journal::FILE), text).unwrap();
        let report = report_of(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        report
    }

    /// The length of the start record.
    fn start() -> usize {
        STORED.find('\n').unwrap() + 1
    }

    #[test]
    fn a_folder_with_a_journal_only_is_reported() {
        let whole = report(STORED.as_bytes()).unwrap();
        assert!(whole.ended.is_complete(), "{}", whole.ended);
        assert_eq!(whole.cycles_run(), 12);
        assert!(
            whole
                .call_sites
                .iter()
                .any(|s| s.verdict == Verdict::Growing)
        );
        assert!(whole.warnings[0].contains("no report.json"));
    }

    #[test]
    fn a_journal_that_was_cut_anywhere_is_reported_up_to_its_last_boundary() {
        // That every length is read is a test of the reader. A report takes milliseconds.
        let ends = STORED
            .match_indices('\n')
            .flat_map(|(at, _)| at - 1..at + 3);
        let cuts = ends.chain((0..STORED.len()).step_by(97));
        for cut in cuts.filter(|&cut| cut < STORED.len()) {
            let text = &STORED.as_bytes()[..cut];
            match report(text) {
                Err(error) => {
                    assert!(cut < start(), "{cut}: {error}");
                    assert!(error.to_string().contains("journal"), "{error}");
                }
                Ok(report) => {
                    let complete = text.split_inclusive(|&b| b == b'\n');
                    let complete = complete.filter(|line| line.ends_with(b"\n"));
                    let boundaries = complete.filter(|line| line.starts_with(b"{\"boundary\""));
                    assert_eq!(report.cycles_run() as usize, boundaries.count(), "{cut}");
                    assert!(!report.ended.is_complete(), "{cut}");
                }
            }
        }
    }

    #[test]
    fn a_line_that_is_no_record_costs_that_line() {
        let lines: Vec<&str> = STORED.lines().collect();
        for garbled in 0..lines.len() {
            let mut lines: Vec<String> = lines.iter().map(|&l| l.to_owned()).collect();
            let middle = lines[garbled].len() / 2;
            lines[garbled].replace_range(middle..middle + 1, "\u{0}#");
            let found = report((lines.join("\n") + "\n").as_bytes());
            match garbled {
                0 => assert!(found.is_err()),
                _ => {
                    let found = found.unwrap();
                    let says = found
                        .warnings
                        .iter()
                        .any(|w| w.contains("1 line of the journal"));
                    assert!(says, "{garbled}: {:?}", found.warnings);
                    // A census has only what has changed, so that later ones cannot be read without it.
                    if lines[garbled].contains("boundary") {
                        assert_eq!(found.ended.how, How::Failed, "{garbled}");
                        let why = found.ended.detail.unwrap();
                        assert!(why.contains("no readable boundary after cycle"), "{why}");
                    }
                }
            }
        }
    }
}
