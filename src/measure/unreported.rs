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
#[cfg(all(feature = "exec", feature = "formats"))]
use crate::model::exec::{PROCESS_FILE, ProcessRecord};
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
    let ended = match folder.join(journal::EXITED).exists() {
        true => Ended::new(How::Completed, None),
        false => Ended::new(How::Failed, unknown.to_owned()),
    };
    let with = RunContext {
        ended,
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
    if run.join(journal::FILE).exists() {
        return Some(run.into());
    }
    let processes = std::fs::read_dir(run.join(journal::PROCESSES)).ok()?;
    let folders = processes.flatten().map(|entry| entry.path());
    folders.filter(|f| length(f) > 0).max_by_key(|f| length(f))
}

/// Bytes of the journal in a folder.
#[cfg(feature = "cli")]
fn length(folder: &Path) -> u64 {
    let file = std::fs::metadata(folder.join(journal::FILE));
    file.map_or(0, |file| file.len())
}

/// The folder of a process in that of a run of a program as it is: of that with this number, or of the one with the
/// longest journal of those whose command lines have this part.
///
/// # Errors
/// If there is none. The message names those that there are.
#[cfg(all(feature = "exec", feature = "formats"))]
pub(crate) fn folder_of_process(run: &Path, wanted: &str) -> Result<PathBuf, Error> {
    let processes = std::fs::read_dir(run.join(journal::PROCESSES));
    let folders = processes.into_iter().flatten().flatten().map(|e| e.path());
    let mut all: Vec<(PathBuf, ProcessRecord)> = folders
        .filter_map(|folder| {
            let record = std::fs::read(folder.join(PROCESS_FILE)).ok()?;
            Some((folder, serde_json::from_slice(&record).ok()?))
        })
        .collect();
    all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let is_wanted = |(_, record): &&(PathBuf, ProcessRecord)| {
        record.pid.to_string() == wanted || record.arguments.join(" ").contains(wanted)
    };
    let found = all
        .iter()
        .filter(is_wanted)
        .max_by_key(|(folder, _)| length(folder));
    if let Some((folder, _)) = found {
        return Ok(folder.clone());
    }
    let name = |(_, record): &(PathBuf, ProcessRecord)| {
        format!("{} (process {})", record.arguments.join(" "), record.pid)
    };
    let names: Vec<String> = all.iter().map(name).collect();
    let there_are = match names[..] {
        [] => "it has no journals of other processes than the reported one".to_owned(),
        _ => format!("there are: {}", names.join(", ")),
    };
    Err(Error::usage(format!(
        "no process in {} is `{wanted}` by its number or a part of its command line; {there_are}",
        run.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::limits::Limits;
    use crate::base::private_folder;
    use crate::model::report::RunVerdict;
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
        // Without the last one, nobody knows how the run ended.
        for garbled in 0..lines.len() - 1 {
            let mut lines: Vec<String> = lines.iter().map(|&l| l.to_owned()).collect();
            let middle = lines[garbled].len() / 2;
            lines[garbled].replace_range(middle..middle + 1, "\u{0}#");
            let found = report((lines.join("\n") + "\n").as_bytes()).unwrap();
            assert!(says(&found, "1 line of the journal"), "{garbled}");
            assert!(found.ended.is_complete(), "{garbled}: {}", found.ended);
        }
    }

    fn says(report: &Report, what: &str) -> bool {
        report.warnings.iter().any(|warning| warning.contains(what))
    }

    /// The lines of the stored journal, each with its number and its checksum.
    fn sealed() -> Vec<String> {
        let lines = (1..).zip(STORED.lines());
        lines.map(|(n, line)| seal(line, n)).collect()
    }

    fn seal(line: &str, number: usize) -> String {
        let begin = std::str::from_utf8(journal::NUMBER_START).unwrap();
        let record = format!("{}{begin}{number}", &line[..line.len() - 1]);
        let sum = journal::sum_of(record.as_bytes());
        record.clone() + std::str::from_utf8(&sum).unwrap()
    }

    /// Checks that a report of changed lines has the figures of the whole one, up to where it ends.
    fn check_prefix(lines: &[String], change: &str) -> Report {
        let whole = report(STORED.as_bytes()).unwrap();
        let found = report((lines.join("\n") + "\n").as_bytes()).unwrap();
        let n = found.boundaries.len();
        assert_eq!(found.boundaries, whole.boundaries[..n], "{change}");
        if n == whole.boundaries.len() {
            assert_eq!(found.verdict, whole.verdict, "{change}");
        } else {
            assert!(
                says(&found, "no readable boundary after that of"),
                "{change}"
            );
            // A check that allows some growth does not pass because of what it did not see.
            let generous = Limits {
                leak_bytes_per_cycle: Some(1 << 30),
                ..Limits::default()
            };
            let broken = generous.broken_by(&found);
            assert!(broken.iter().any(|b| b.contains("undecided")), "{broken:?}");
            let beyond = found.peak.as_ref().is_some_and(|p| p.cycle as usize > n);
            assert!(
                !beyond,
                "{change}: the peak is of a cycle that was not read"
            );
        }
        // Each call site retains what it did at that boundary: nothing of a later one, and nothing twice.
        let last = found.boundaries.last().map_or(0, |b| b.live_bytes);
        let of_sites: u64 = found.call_sites.iter().map(|s| s.retained_bytes).sum();
        assert_eq!(of_sites + found.attribution.setup_bytes, last, "{change}");
        let has_end = lines.last() == sealed().last();
        assert!(
            !has_end || found.ended.is_complete(),
            "{change}: {}",
            found.ended
        );
        found
    }

    #[test]
    fn a_mapping_of_code_that_cannot_be_read_is_the_reason_for_no_names() {
        let mut lines = sealed();
        let missing = "so call sites there have neither functions nor lines";
        let whole = check_prefix(&lines, "none");
        assert!(!says(&whole, missing) && says(&whole, "no line tables"));
        let code = lines
            .iter_mut()
            .find(|line| line.starts_with("{\"code\""))
            .unwrap();
        code.replace_range(10..11, "?");
        let found = check_prefix(&lines, "no code");
        assert!(says(&found, missing), "{:?}", found.warnings);
        assert!(!says(&found, "no line tables"), "{:?}", found.warnings);
    }

    #[test]
    fn checksums_do_not_change_what_is_read() {
        let whole = check_prefix(&sealed(), "none");
        assert!(!says(&whole, "of the journal"), "{:?}", whole.warnings);
    }

    #[test]
    fn a_line_that_is_missing_ends_the_series_at_most() {
        let lines = sealed();
        for missing in 0..lines.len() - 1 {
            let mut fewer = lines.clone();
            let boundary = fewer.remove(missing).contains("{\"boundary\"");
            let found = check_prefix(&fewer, &format!("line {missing} is missing"));
            assert!(
                says(&found, "line before it is missing"),
                "{missing}: {:?}",
                found.warnings
            );
            assert_eq!(found.boundaries.len() < 12, boundary, "line {missing}");
            assert!(!boundary || found.verdict != RunVerdict::Clean);
        }
    }

    #[test]
    fn a_byte_order_mark_costs_nothing() {
        for text in [STORED.to_owned(), sealed().join("\n") + "\n"] {
            let marked = report(format!("\u{feff}{text}").as_bytes()).unwrap();
            assert_eq!(marked, report(text.as_bytes()).unwrap());
        }
    }

    #[test]
    fn a_stack_that_is_there_already_is_not_replaced() {
        let mut lines: Vec<&str> = STORED.lines().collect();
        let is_stack = |line: &&str| line.starts_with("{\"stack\"");
        let last = lines.iter().rposition(is_stack).unwrap();
        let (id, _) = lines[last].split_once(",\"cut\"").unwrap();
        let other = format!("{id},\"cut\":true,\"stack\":[1]}}}}");
        lines.insert(lines.len() - 1, &other);
        let found = report((lines.join("\n") + "\n").as_bytes()).unwrap();
        assert!(says(&found, "already"), "{:?}", found.warnings);
        let whole = report(STORED.as_bytes()).unwrap();
        assert_eq!(found.call_sites, whole.call_sites);
    }

    #[test]
    fn a_stack_without_a_line_is_noticed() {
        let lines: Vec<&str> = STORED.lines().collect();
        let stacks = (0..lines.len()).filter(|&i| lines[i].starts_with("{\"stack\""));
        for missing in stacks {
            let mut fewer = lines.clone();
            fewer.remove(missing);
            let found = report((fewer.join("\n") + "\n").as_bytes()).unwrap();
            assert!(says(&found, "lacks 1 stack"), "{:?}", found.warnings);
        }
    }

    #[test]
    fn a_line_that_is_there_twice_costs_nothing() {
        let lines = sealed();
        for from in 1..lines.len() {
            for to in [from + 1, lines.len() - 1] {
                let mut more = lines.clone();
                more.insert(to, lines[from].clone());
                let found = check_prefix(&more, &format!("line {from} is again at {to}"));
                assert_eq!(found.boundaries.len(), 12);
            }
        }
    }

    #[test]
    fn what_is_behind_the_end_is_of_another_run() {
        let mut lines = sealed();
        let is_first = |line: &&String| line.starts_with("{\"boundary\":{\"counts\":{\"cycle\":1,");
        let first = lines.iter().find(is_first).unwrap();
        // A boundary of the same cycle that differs.
        let (record, _) = first.split_at(first.len() - journal::SUM_LENGTH);
        lines.push(record.replacen("\"allocations\":", "\"allocations\":1", 1) + "}");
        let found = check_prefix(&lines, "a boundary behind the end");
        assert_eq!(found.boundaries.len(), 12);
    }

    #[test]
    fn a_horizon_that_no_command_takes_is_refused() {
        let (before, horizon) = STORED.split_once("\"horizon\":").unwrap();
        let behind = horizon.trim_start_matches(|c: char| c.is_ascii_digit());
        let other = format!("{before}\"horizon\":{}{behind}", u32::MAX);
        let error = report(other.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("larger than any run has"), "{error}");
    }

    #[test]
    fn a_second_boundary_of_a_cycle_that_differs_from_the_first_ends_the_series_before_both() {
        let mut lines = sealed();
        let is_boundary =
            |line: &&String| line.starts_with("{\"boundary\":{\"counts\":{\"cycle\":5,");
        let fifth = lines.iter().find(is_boundary).unwrap().clone();
        let at = lines.iter().position(|line| *line == fifth).unwrap();
        let (record, _) = fifth.split_at(fifth.len() - journal::SUM_LENGTH);
        let other = record.replacen("\"allocations\":", "\"allocations\":1", 1);
        lines.insert(at + 3, other + "}");
        let found = check_prefix(&lines, "two boundaries of cycle 5");
        assert_eq!(found.boundaries.len(), 4);
    }

    #[test]
    fn a_digit_that_has_changed_is_never_a_figure() {
        let lines = sealed();
        for changed in 1..lines.len() {
            let digits = lines[changed].bytes().enumerate();
            let digits: Vec<usize> = digits
                .filter(|(_, b)| b.is_ascii_digit())
                .map(|(i, _)| i)
                .collect();
            for at in digits.iter().step_by(digits.len() / 3 + 1) {
                let mut bytes = lines[changed].clone().into_bytes();
                bytes[*at] = b'0' + (bytes[*at] - b'0' + 1) % 10;
                let mut lines = lines.clone();
                lines[changed] = String::from_utf8(bytes).unwrap();
                let found = check_prefix(&lines, &format!("byte {at} of line {changed}"));
                assert!(says(&found, "checksum"), "{:?}", found.warnings);
            }
        }
    }
}
