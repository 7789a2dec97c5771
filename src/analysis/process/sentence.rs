//! The growth of a part of the process, in words.

use crate::analysis::verdict::{Criteria, Judgement};
use crate::base::text::count;
use crate::base::units::{bytes, exact};
use crate::model::process::{Grows, Part};
use crate::model::verdict::{Rule, Verdict};

/// The maximum number of further cycles that are advised.
const MOST_CYCLES: u32 = 1000;

/// The maximum number of threads, files or mappings that are named.
const MAX_NAMES: usize = 3;

/// Why a part has its verdict, in words that fit any unit.
pub(super) fn reason(judgement: &Judgement, criteria: Criteria) -> String {
    let evidence = &judgement.evidence;
    let Some(last) = evidence.rises.last() else {
        return "it does not rise".into();
    };
    let history = match evidence.rises.len() {
        1 => format!("it rose once, in cycle {last} after the warm-up"),
        n => format!("it rose {n} times, most recently in cycle {last} after the warm-up"),
    };
    let more_cycles = evidence.more_cycles.filter(|&n| n <= MOST_CYCLES);
    let more_cycles = more_cycles.map(|n| count(n, "more cycle"));
    match (judgement.verdict, more_cycles) {
        (_, Some(more)) if evidence.rule == Rule::TooLittle => format!(
            "{history}, but by no more so far than the system itself may retain; {more} would tell"
        ),
        (Verdict::Leak, _) => format!(
            "{history}; this is beyond the horizon of {}",
            count(criteria.horizon, "cycle")
        ),
        (Verdict::Growing | Verdict::Undecided, Some(more)) => {
            format!("{history}; {more} would tell whether this continues")
        }
        (Verdict::Undecided, None) => {
            format!("{history}, by less than the system itself may retain")
        }
        _ => format!("{history}, and not since then"),
    }
}

/// What grows, how fast, and why that is known. `names` says which threads, files or mappings, or is
/// empty.
pub(super) fn sentence(part: &Part, names: &str) -> String {
    let amount = amount(part);
    let origin = origin(part.what);
    let what = part.what.name();
    format!("{what}: {amount}{origin}{names}; {}", part.reason)
}

/// The growth per cycle, with its unit.
fn amount(part: &Part) -> String {
    let Some(rate) = part.per_cycle else {
        return "at an unknown rate".into();
    };
    match part.what {
        Grows::Threads => format!("{rate:.2} threads per cycle do not exit"),
        Grows::FileDescriptors => format!("{rate:.2} file descriptors per cycle stay open"),
        _ if rate < 1000.0 => format!("{} B per cycle", exact(rate.max(0.0) as u64)),
        _ => format!(
            "{} per cycle ({} B)",
            bytes(rate),
            exact(rate.max(0.0) as u64)
        ),
    }
}

/// Who allocates what grows.
fn origin(what: Grows) -> &'static str {
    match what {
        Grows::CHeap => ", allocated by C code and not freed; no Rust allocator sees it",
        Grows::MappedMemory => ", mapped by C code or directly, and not unmapped",
        Grows::ResidentMemory => {
            ", in pages that belong to no allocator and to no new mapping: touched for the first \
             time in an old mapping, or taken by `sbrk`"
        }
        _ => "",
    }
}

/// `: 80 of `/proc/N/stat``, or nothing.
pub(super) fn of_files(files: &[(String, u64)]) -> String {
    let of_file = |(file, count): &(String, u64)| format!("{} of `{file}`", exact(*count));
    list(files.iter().map(of_file))
}

/// `: 1.23 MB anonymous, 64.0 kB of `/dev/shm/N``, or nothing.
pub(super) fn of_mappings(mappings: &[(String, u64)]) -> String {
    let of_mapping = |(name, amount): &(String, u64)| {
        let amount = bytes(*amount as f64);
        match &name[..] {
            "" => format!("{amount} anonymous"),
            name => format!("{amount} of `{name}`"),
        }
    };
    list(mappings.iter().map(of_mapping))
}

fn list(names: impl Iterator<Item = String>) -> String {
    let shown: Vec<String> = names.take(MAX_NAMES).collect();
    match shown.is_empty() {
        true => String::new(),
        false => format!(": {}", shown.join(", ")),
    }
}

/// `, named `worker``, or nothing.
pub(super) fn named(threads: &[String]) -> String {
    let mut names: Vec<&String> = threads.iter().collect();
    names.dedup();
    if names.is_empty() {
        return String::new();
    }
    let shown = names.iter().take(MAX_NAMES).map(|n| format!("`{n}`"));
    format!(", named {}", shown.collect::<Vec<_>>().join(", "))
}
