//! The verdict on the process: that on its worst part.

use std::cmp::Reverse;

use super::kept_pages::kept_pages;
use super::levels::growth;
use super::parts::{JudgedPart, judge};
use super::sentence::{named, of_files, of_mappings, reason, sentence};
use crate::analysis::journal::Journal;
use crate::analysis::verdict::Criteria;
use crate::base::order::{sort_by, sort_by_key};
use crate::base::vec_map::VecMap;
use crate::model::journal::Files;
use crate::model::process::{Grows, Part, Process};
use crate::model::verdict::{Rule, Verdict};

/// The number of rises from which a part that is known exactly keeps a run from being clean.
const MIN_SIGNS: usize = 5;

/// Bytes that the C library allocates for itself and for the recorder from time to time, and keeps
/// for reuse.
const OWN_BLOCKS: u64 = 32 << 10;

/// The verdict on the process, with its parts.
pub(crate) fn process(journal: &Journal, criteria: Criteria) -> Process {
    let new_threads = new_threads(journal);
    let judged = judge(journal, criteria);
    // Of two parts with the same verdict the first is closer to the cause.
    let decisive = (0..judged.len())
        .rev()
        .filter(|&i| is_decisive(&judged[i], journal));
    let worst = decisive.max_by_key(|&i| judged[i].judgement.verdict);
    let parts = judged.into_iter().map(|part| report_part(part, criteria));
    let parts: Vec<Part> = parts.collect();
    let worst = worst.map(|i| &parts[i]);
    let purged_bytes = journal.purge.map(|p| p.before.saturating_sub(p.after));
    let (grows, verdict, sentence) = match worst {
        Some(part) => {
            let what = match part.what {
                Grows::Threads => named(&new_threads),
                Grows::FileDescriptors => of_files(&new_files(journal)),
                Grows::MappedMemory => of_mappings(&new_mappings(journal)),
                _ => String::new(),
            };
            (part.what, part.verdict, sentence(part, &what))
        }
        None => match kept_pages(journal, purged_bytes) {
            Some(sentence) => (Grows::AllocatorKeepsPages, Verdict::Cache, sentence),
            None => (Grows::None, Verdict::WarmUp, "nothing else grows".into()),
        },
    };
    Process {
        grows,
        verdict,
        sentence,
        parts,
        purged_bytes,
        new_threads,
    }
}

/// Whether the verdict on this part keeps a run from being clean: it is growth, or undecided with
/// enough rises of something that is known exactly enough.
pub(crate) fn is_decisive(part: &JudgedPart, journal: &Journal) -> bool {
    let (verdict, evidence) = (part.judgement.verdict, &part.judgement.evidence);
    if verdict.is_growth() || evidence.rule == Rule::TooLittle {
        return true;
    }
    let mut boundaries = journal.boundaries.iter();
    let mut is_c_code_alone = || boundaries.any(|b| b.counts.jemalloc.is_some());
    let is_exact = match part.what {
        // With the system's allocator, what C code has is not known to the byte.
        Grows::CHeap => growth(&part.series) > OWN_BLOCKS && is_c_code_alone(),
        Grows::Threads | Grows::FileDescriptors | Grows::MappedMemory => true,
        _ => false,
    };
    is_exact && verdict == Verdict::Undecided && evidence.rises.len() >= MIN_SIGNS
}

fn report_part(part: JudgedPart, criteria: Criteria) -> Part {
    let judgement = part.judgement;
    Part {
        what: part.what,
        verdict: judgement.verdict,
        per_cycle: judgement.bytes_per_cycle.map(|s| s.value),
        reason: reason(&judgement, criteria),
        evidence: judgement.evidence,
        series: part.series,
    }
}

/// What the descriptors refer to that were opened after the baseline and are still open at the end:
/// paths with `N` for each number, and how many there are of each, the most frequent first.
fn new_files(journal: &Journal) -> Vec<(String, u64)> {
    new(journal, |files| {
        files.open.iter().map(|file| (file, 1)).collect()
    })
}

/// What was mapped after the baseline and is still mapped at the end: paths with `N` for each number,
/// and bytes, the largest first.
fn new_mappings(journal: &Journal) -> Vec<(String, u64)> {
    new(journal, |files| {
        files
            .mapped
            .iter()
            .map(|(name, bytes)| (name, *bytes))
            .collect()
    })
}

/// By how much the amounts of each path have risen from the baseline to the end.
fn new(journal: &Journal, amounts: fn(&Files) -> Vec<(&String, u64)>) -> Vec<(String, u64)> {
    let of = |at_end: bool| journal.files.iter().find(|f| f.at_end == at_end);
    let (Some(before), Some(after)) = (of(false), of(true)) else {
        return Vec::new();
    };
    let sums = |files: &Files| {
        let mut sums: VecMap<String, u64> = VecMap::new();
        for (file, amount) in amounts(files) {
            *sums.get_or_default(without_numbers(file)) += amount;
        }
        sums
    };
    let known = sums(before);
    let new = sums(after).into_iter().filter_map(|(file, amount)| {
        let before = known.get(&file).copied().unwrap_or(0);
        (amount > before).then(|| (file, amount - before))
    });
    let mut new: Vec<(String, u64)> = new.collect();
    sort_by_key(&mut new, |&(_, amount)| Reverse(amount));
    new
}

/// The text with `N` for each number in it, so that `/proc/17/stat` and `/proc/18/stat` are alike.
fn without_numbers(text: &str) -> String {
    let mut folded = String::new();
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if folded.ends_with('N') => {}
            true => folded.push('N'),
            false => folded.push(c),
        }
    }
    folded
}

/// The names of the threads that started after the baseline and still run at the end, sorted.
fn new_threads(journal: &Journal) -> Vec<String> {
    let of = |at_end: bool| journal.threads.iter().find(|t| t.at_end == at_end);
    let (Some(before), Some(after)) = (of(false), of(true)) else {
        return Vec::new();
    };
    let is_new = |id: &u32| before.threads.iter().all(|(known, _)| known != id);
    let new = after.threads.iter().filter(|(id, _)| is_new(id));
    let mut names: Vec<String> = new.map(|(_, name)| name.clone()).collect();
    sort_by(&mut names, Ord::cmp);
    names
}
