//! The planted cases of `fixtures/leaks/`: small programs whose truth is known to the byte.
//!
//! Each case is one file, with its truth beside the fault. The line is found by its marker, so
//! that it cannot go stale.

use super::{Entry, Truth};
use crate::cycle::{Failure, Model, Phase, Prediction, Workload};
use crate::verdict::Verdict;

/// The comment that marks the line to be blamed.
const MARKER: &str = "// PLANTED";

/// One planted case: what its file states.
pub(crate) struct Case {
    /// What it is, in a line.
    pub(crate) about: &'static str,
    /// The verdict on the marked line.
    pub(crate) verdict: Verdict,
    /// The phase of the marked allocation.
    pub(crate) phase: Phase,
    /// Bytes and blocks that a cycle leaves at the marked line, on average.
    pub(crate) bytes_per_cycle: f64,
    pub(crate) blocks_per_cycle: f64,
    /// What happens in each phase besides the ordinary work; the cycle counts from 1.
    pub(crate) load: fn(cycle: u64),
    pub(crate) infer: fn(cycle: u64),
    pub(crate) drop: fn(cycle: u64),
}

impl Case {
    /// For a phase in which nothing happens besides the ordinary work.
    pub(crate) const IDLE: fn(u64) = |_| {};
}

#[path = "../../fixtures/leaks/arc_to_itself.rs"]
mod arc_to_itself;
#[path = "../../fixtures/leaks/box_leak.rs"]
mod box_leak;
#[path = "../../fixtures/leaks/drop_hook.rs"]
mod drop_hook;
#[path = "../../fixtures/leaks/error_path.rs"]
mod error_path;
#[path = "../../fixtures/leaks/every_third.rs"]
mod every_third;
#[path = "../../fixtures/leaks/forget.rs"]
mod forget;
#[path = "../../fixtures/leaks/interner.rs"]
mod interner;
#[path = "../../fixtures/leaks/lazy_cache.rs"]
mod lazy_cache;
#[path = "../../fixtures/leaks/lru.rs"]
mod lru;
#[path = "../../fixtures/leaks/metrics_closure.rs"]
mod metrics_closure;
#[path = "../../fixtures/leaks/one_time.rs"]
mod one_time;
#[path = "../../fixtures/leaks/prediction_log.rs"]
mod prediction_log;
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
#[path = "../../fixtures/leaks/sweep.rs"]
mod sweep;
#[path = "../../fixtures/leaks/thread_scratch.rs"]
mod thread_scratch;

/// Name, what the file states, and its text.
type Planted = (&'static str, &'static Case, &'static str);

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
    case!(lru),
    case!(lazy_cache),
    case!(replaced_buffer),
    case!(one_time),
    case!(sweep),
];

pub(super) fn entries() -> Vec<Entry> {
    CASES.iter().map(entry).collect()
}

fn entry(&(name, case, text): &Planted) -> Entry {
    let mut entry = Entry::new(format!("planted:{name}"), case.about, move |_| {
        Ok(Box::new(Running { case, cycle: 0 }))
    });
    entry.truth = Some(Truth {
        verdict: case.verdict,
        file: format!("fixtures/leaks/{name}.rs"),
        line: marked_line(text),
        phase: case.phase,
        bytes_per_cycle: case.bytes_per_cycle,
        blocks_per_cycle: case.blocks_per_cycle,
    });
    entry
}

/// The line of the marker, from 1; 0 if there is none or more than one.
fn marked_line(text: &str) -> u32 {
    let mut marked = (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.trim_end().ends_with(MARKER));
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
    case: &'static Case,
    cycle: u64,
}

impl Workload for Running {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        self.cycle += 1;
        (self.case.load)(self.cycle);
        Ok(Box::new(Weights {
            values: (0..1024_u16).map(f32::from).collect(),
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
            assert_ne!(marked_line(text), 0, "{name}");
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
