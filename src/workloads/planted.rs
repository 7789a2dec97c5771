//! The planted cases of `fixtures/leaks/`: small programs whose truth is known to the byte.
//!
//! Each case is one file, with its truth beside the fault. The line is found by its marker, so
//! that it cannot go stale.

use super::{Entry, HolderTruth, Truth};
use crate::model::holders::HolderKind;
use crate::model::process::Grows;
use crate::model::run::Phase;
use crate::model::verdict::Verdict;
use crate::recorder::cycle::{Failure, Model, Prediction, Workload};

/// The comment that marks the line to be blamed.
const MARKER: &str = "// PLANTED";
/// The comment that marks where the holder is declared, or was allocated.
const HOLDER: &str = "// HOLDER";

/// Who holds what a case leaves behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Held {
    /// It is not stated.
    Untold,
    /// A holder of this kind, whose name ends like this; at the line of the marker, if there is one.
    By(HolderKind, &'static str),
    /// Nothing points at it.
    Lost,
    /// So many blocks that only point at each other.
    Cycle(u32),
}

/// One planted case: what its file states.
pub(crate) struct Case {
    /// What it is, in a line.
    pub(crate) about: &'static str,
    /// The verdict on the marked line, or on what grows in the process.
    pub(crate) verdict: Verdict,
    /// The phase of the marked allocation.
    pub(crate) phase: Phase,
    /// Bytes and blocks that a cycle leaves at the marked line, on average; or by how much a cycle
    /// lets grow what grows in the process.
    pub(crate) bytes_per_cycle: f64,
    pub(crate) blocks_per_cycle: f64,
    /// So little of it can be seen in a run that the rates are only near.
    pub(crate) roughly: bool,
    /// What grows besides, where the ledger does not see it; the marked line is then not reported.
    pub(crate) grows: Grows,
    /// Who holds what is left at the marked line.
    pub(crate) held: Held,
    /// The horizon that is right for it, and cycles enough for the verdict.
    pub(crate) horizon: u32,
    pub(crate) cycles: u32,
    /// It shows itself only after a run that ends by itself has ended.
    pub(crate) shows_late: bool,
    /// Bytes that the model has besides its weights.
    pub(crate) ballast: usize,
    /// What happens in each phase besides the ordinary work; the cycle counts from 1.
    pub(crate) load: fn(cycle: u64),
    pub(crate) infer: fn(cycle: u64),
    pub(crate) drop: fn(cycle: u64),
}

impl Case {
    /// A case that does nothing: what a file does not state.
    pub(crate) const DEFAULT: Self = Self {
        about: "",
        verdict: Verdict::WarmUp,
        phase: Phase::Outside,
        bytes_per_cycle: 0.0,
        blocks_per_cycle: 0.0,
        roughly: false,
        grows: Grows::None,
        held: Held::Untold,
        horizon: crate::model::verdict::DEFAULT_HORIZON,
        cycles: 83,
        shows_late: false,
        ballast: 0,
        load: |_| {},
        infer: |_| {},
        drop: |_| {},
    };
}

#[path = "../../fixtures/leaks/arc_to_itself.rs"]
mod arc_to_itself;
#[path = "../../fixtures/leaks/backlog.rs"]
mod backlog;
#[path = "../../fixtures/leaks/box_leak.rs"]
mod box_leak;
#[path = "../../fixtures/leaks/burst_lru.rs"]
mod burst_lru;
#[path = "../../fixtures/leaks/c_malloc.rs"]
mod c_malloc;
#[path = "../../fixtures/leaks/cache_of_forty.rs"]
mod cache_of_forty;
#[path = "../../fixtures/leaks/connection_pool.rs"]
mod connection_pool;
#[path = "../../fixtures/leaks/descriptor_leak.rs"]
mod descriptor_leak;
#[path = "../../fixtures/leaks/drip_under_churn.rs"]
mod drip_under_churn;
#[path = "../../fixtures/leaks/drop_hook.rs"]
mod drop_hook;
#[path = "../../fixtures/leaks/error_path.rs"]
mod error_path;
#[path = "../../fixtures/leaks/every_tenth.rs"]
mod every_tenth;
#[path = "../../fixtures/leaks/every_third.rs"]
mod every_third;
#[path = "../../fixtures/leaks/fifty_stacks.rs"]
mod fifty_stacks;
#[path = "../../fixtures/leaks/forget.rs"]
mod forget;
#[path = "../../fixtures/leaks/fragmentation.rs"]
mod fragmentation;
#[path = "../../fixtures/leaks/hash_map.rs"]
mod hash_map;
#[path = "../../fixtures/leaks/hidden_by_shrinking.rs"]
mod hidden_by_shrinking;
#[path = "../../fixtures/leaks/hungry.rs"]
mod hungry;
#[path = "../../fixtures/leaks/interner.rs"]
mod interner;
#[path = "../../fixtures/leaks/late_frees.rs"]
mod late_frees;
#[path = "../../fixtures/leaks/lazy_cache.rs"]
mod lazy_cache;
#[path = "../../fixtures/leaks/lazy_pool.rs"]
mod lazy_pool;
#[path = "../../fixtures/leaks/lru.rs"]
mod lru;
#[path = "../../fixtures/leaks/metrics_closure.rs"]
mod metrics_closure;
#[path = "../../fixtures/leaks/mmap_leak.rs"]
mod mmap_leak;
#[path = "../../fixtures/leaks/one_time.rs"]
mod one_time;
#[path = "../../fixtures/leaks/prediction_log.rs"]
mod prediction_log;
#[path = "../../fixtures/leaks/program_break.rs"]
mod program_break;
#[path = "../../fixtures/leaks/random_keys.rs"]
mod random_keys;
#[path = "../../fixtures/leaks/random_noise.rs"]
mod random_noise;
#[path = "../../fixtures/leaks/rayon_worker.rs"]
mod rayon_worker;
#[path = "../../fixtures/leaks/rc_cycle.rs"]
mod rc_cycle;
#[path = "../../fixtures/leaks/realloc_growth.rs"]
mod realloc_growth;
#[path = "../../fixtures/leaks/registry.rs"]
mod registry;
#[path = "../../fixtures/leaks/replaced_buffer.rs"]
mod replaced_buffer;
#[path = "../../fixtures/leaks/results_lru.rs"]
mod results_lru;
#[path = "../../fixtures/leaks/sawtooth.rs"]
mod sawtooth;
#[path = "../../fixtures/leaks/shared_map.rs"]
mod shared_map;
#[path = "../../fixtures/leaks/starts_late.rs"]
mod starts_late;
#[path = "../../fixtures/leaks/stops.rs"]
mod stops;
#[path = "../../fixtures/leaks/sweep.rs"]
mod sweep;
#[path = "../../fixtures/leaks/sweep_hundredth.rs"]
mod sweep_hundredth;
#[path = "../../fixtures/leaks/thread_leak.rs"]
mod thread_leak;
#[path = "../../fixtures/leaks/thread_scratch.rs"]
mod thread_scratch;
#[path = "../../fixtures/leaks/two_at_one_site.rs"]
mod two_at_one_site;
#[path = "../../fixtures/leaks/vec_bounded.rs"]
mod vec_bounded;
#[path = "../../fixtures/leaks/vec_doubling.rs"]
mod vec_doubling;

/// Name, what the file states, and its text.
pub(super) type Planted = (&'static str, &'static Case, &'static str);

macro_rules! case {
    ($name:ident) => {
        (
            stringify!($name),
            &$name::CASE,
            include_str!(concat!("../../fixtures/leaks/", stringify!($name), ".rs")),
        )
    };
}

/// All cases, leaks first.
const CASES: &[Planted] = &[
    case!(registry),
    case!(forget),
    case!(rc_cycle),
    case!(arc_to_itself),
    case!(box_leak),
    case!(prediction_log),
    case!(thread_scratch),
    case!(interner),
    case!(error_path),
    case!(every_third),
    case!(realloc_growth),
    case!(rayon_worker),
    case!(metrics_closure),
    case!(drop_hook),
    case!(every_tenth),
    case!(drip_under_churn),
    case!(starts_late),
    case!(two_at_one_site),
    case!(fifty_stacks),
    case!(hidden_by_shrinking),
    case!(vec_doubling),
    case!(c_malloc),
    case!(mmap_leak),
    case!(shared_map),
    case!(program_break),
    case!(thread_leak),
    case!(descriptor_leak),
    case!(lru),
    case!(lazy_cache),
    case!(replaced_buffer),
    case!(one_time),
    case!(sweep),
    case!(cache_of_forty),
    case!(burst_lru),
    case!(random_keys),
    case!(results_lru),
    case!(vec_bounded),
    case!(hash_map),
    case!(stops),
    case!(lazy_pool),
    case!(connection_pool),
    case!(sweep_hundredth),
    case!(sawtooth),
    case!(backlog),
    case!(late_frees),
    case!(random_noise),
    case!(fragmentation),
    case!(hungry),
];

pub(super) fn entries() -> Vec<Entry> {
    let entries = CASES.iter().map(|case| entry("planted", "leaks", case));
    entries.collect()
}

/// The entry of a case of a family, whose files are in a folder of the fixtures.
pub(super) fn entry(family: &str, folder: &str, &(name, case, text): &Planted) -> Entry {
    let mut entry = Entry::new(format!("{family}:{name}"), case.about, move |_| {
        Ok(Box::new(Running { case, cycle: 0 }))
    });
    let (kind, holder, cycle) = match case.held {
        Held::Untold => (None, "", None),
        Held::By(kind, name) => (Some(kind), name, None),
        Held::Lost => (Some(HolderKind::Lost), "", None),
        Held::Cycle(blocks) => (Some(HolderKind::Cycle), "", Some(blocks)),
    };
    entry.truth = Some(Truth {
        verdict: case.verdict,
        file: format!("fixtures/{folder}/{name}.rs"),
        line: marked_line(text, MARKER),
        holder: kind.map(|kind| HolderTruth {
            kind,
            name: holder.into(),
            line: Some(marked_line(text, HOLDER)).filter(|&line| line > 0),
            cycle_blocks: cycle,
        }),
        phase: case.phase,
        bytes_per_cycle: case.bytes_per_cycle,
        blocks_per_cycle: case.blocks_per_cycle,
        roughly: case.roughly,
        grows: case.grows,
        horizon: case.horizon,
        cycles: case.cycles,
        shows_late: case.shows_late,
    });
    entry
}

/// The line of a marker, from 1; 0 if there is none or more than one.
pub(super) fn marked_line(text: &str, marker: &str) -> u32 {
    let mut marked = (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.trim_end().ends_with(marker));
    match (marked.next(), marked.next()) {
        (Some((line, _)), None) => line,
        _ => 0,
    }
}

struct Running {
    case: &'static Case,
    cycle: u64,
}

/// The ordinary part of every case: a small model that is loaded, used and dropped properly.
struct Weights {
    values: Vec<f32>,
    _ballast: Vec<u8>,
    case: &'static Case,
    cycle: u64,
}

impl Workload for Running {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        self.cycle += 1;
        (self.case.load)(self.cycle);
        Ok(Box::new(Weights {
            values: (0..1024_u16).map(f32::from).collect(),
            _ballast: vec![1; self.case.ballast],
            case: self.case,
            cycle: self.cycle,
        }))
    }
}

impl Model for Weights {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        (self.case.infer)(self.cycle);
        Ok(vec![self.values.iter().sum()])
    }
}

impl Drop for Weights {
    fn drop(&mut self) {
        (self.case.drop)(self.cycle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_marks_one_line_and_says_what_it_is() {
        for (name, case, text) in CASES {
            let marks = usize::from(marked_line(text, MARKER) != 0);
            assert_eq!(
                marks,
                usize::from(case.verdict != Verdict::WarmUp || text.contains(MARKER)),
                "{name}"
            );
            assert!(!case.about.is_empty(), "{name}");
            let leaks = case.verdict.is_growth();
            assert_eq!(case.bytes_per_cycle > 0.0, leaks, "{name}");
        }
    }

    #[test]
    fn every_file_in_the_folder_is_a_case() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/leaks");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().to_string_lossy().replace(".rs", ""))
            .collect();
        let mut names: Vec<&str> = CASES.iter().map(|c| c.0).collect();
        files.sort_unstable();
        names.sort_unstable();
        assert_eq!(files, names);
    }
}
