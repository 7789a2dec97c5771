//! A planted case: a small program with a known leak, or with something that looks like a leak.
//!
//! Each case is one file in `fixtures/`, which states the correct result beside the code. A comment
//! marks the planted line, so that the line number is never written down.

use super::entry::Entry;
use super::truth::{HolderTruth, Truth};
pub(crate) use crate::model::holders::Kind;
pub(crate) use crate::model::process::Grows;
pub(crate) use crate::model::run::Phase;
pub(crate) use crate::model::verdict::Verdict;
use crate::recorder::cycle::{Failure, Model, Prediction, Workload};

/// The comment that marks the planted line.
pub(super) const MARKER: &str = "// PLANTED";
/// The comment that marks the line that declares or allocates the holder.
const HOLDER: &str = "// HOLDER";

/// What holds the blocks that a case retains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Held {
    /// The case does not state it.
    Unstated,
    /// A holder of this kind, whose name contains this.
    By(Kind, &'static str),
    /// Nothing points at them.
    Lost,
    /// A reference cycle of this many blocks, at which nothing else points.
    Cycle(u32),
}

/// What the file of a case states.
pub(crate) struct Case {
    /// What it is, in one line.
    pub(crate) about: &'static str,
    /// The verdict on the planted line, or on the part of the process that grows.
    pub(crate) verdict: Verdict,
    /// The phase in which the planted line allocates.
    pub(crate) phase: Phase,
    /// Bytes that a cycle retains at the planted line on average. If [`Case::grows`] is set: by how
    /// much that grows per cycle.
    pub(crate) bytes_per_cycle: f64,
    /// Blocks that a cycle retains at the planted line on average.
    pub(crate) blocks_per_cycle: f64,
    /// A run shows the two rates only approximately.
    pub(crate) approximate: bool,
    /// What grows apart from the Rust heap. The report then does not name the planted line.
    pub(crate) grows: Grows,
    /// What holds the blocks that the planted line allocated.
    pub(crate) held: Held,
    /// The horizon with which the verdict is correct.
    pub(crate) horizon: u32,
    /// Enough cycles for the verdict.
    pub(crate) cycles: u32,
    /// A run with `--cycles auto` ends before the case shows its behaviour.
    pub(crate) missed_by_auto: bool,
    /// Bytes that the model has in addition to its weights.
    pub(crate) extra_bytes: usize,
    /// What happens in the load phase, in addition to the ordinary work. The first cycle is 1.
    pub(crate) load: fn(cycle: u64),
    /// The same in the infer phase.
    pub(crate) infer: fn(cycle: u64),
    /// The same in the drop phase.
    pub(crate) drop: fn(cycle: u64),
}

impl Case {
    /// A case that does nothing. A file states how its case differs from this one.
    pub(crate) const DEFAULT: Self = Self {
        about: "",
        verdict: Verdict::WarmUp,
        phase: Phase::Outside,
        bytes_per_cycle: 0.0,
        blocks_per_cycle: 0.0,
        approximate: false,
        grows: Grows::None,
        held: Held::Unstated,
        horizon: crate::model::verdict::DEFAULT_HORIZON,
        cycles: 83,
        missed_by_auto: false,
        extra_bytes: 0,
        load: |_| {},
        infer: |_| {},
        drop: |_| {},
    };
}

/// A case with its name and the text of its file.
pub(super) struct Planted {
    pub(super) name: &'static str,
    pub(super) case: &'static Case,
    pub(super) text: &'static str,
}

impl Planted {
    /// The entry of the case, under `family:name`. Its file is in `fixtures/folder`.
    pub(super) fn entry(&self, family: &str, folder: &str) -> Entry {
        let &Self { name, case, text } = self;
        let mut entry = Entry::new(format!("{family}:{name}"), case.about, move |_| {
            Ok(Box::new(Running { case, cycle: 0 }))
        });
        let (kind, holder, cycle) = match case.held {
            Held::Unstated => (None, "", None),
            Held::By(kind, name) => (Some(kind), name, None),
            Held::Lost => (Some(Kind::Lost), "", None),
            Held::Cycle(blocks) => (Some(Kind::Cycle), "", Some(blocks)),
        };
        entry.truth = Some(Truth {
            verdict: case.verdict,
            file: format!("fixtures/{folder}/{name}.rs"),
            line: marked_line(text, MARKER).unwrap_or_default(),
            phase: case.phase,
            bytes_per_cycle: case.bytes_per_cycle,
            blocks_per_cycle: case.blocks_per_cycle,
            approximate: case.approximate,
            grows: case.grows,
            holder: kind.map(|kind| HolderTruth {
                kind,
                name: holder.into(),
                line: marked_line(text, HOLDER),
                cycle_blocks: cycle,
            }),
            horizon: case.horizon,
            cycles: case.cycles,
            missed_by_auto: case.missed_by_auto,
        });
        entry
    }
}

/// The line that ends in this marker, from 1; `None` if there is no such line or more than one.
pub(super) fn marked_line(text: &str, marker: &str) -> Option<u32> {
    let mut marked = (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.trim_end().ends_with(marker));
    match (marked.next(), marked.next()) {
        (Some((line, _)), None) => Some(line),
        _ => None,
    }
}

struct Running {
    case: &'static Case,
    cycle: u64,
}

/// The ordinary part of every case: a small model that is loaded, used and dropped without a leak.
struct Weights {
    values: Vec<f32>,
    _extra: Vec<u8>,
    case: &'static Case,
    cycle: u64,
}

impl Workload for Running {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        self.cycle += 1;
        (self.case.load)(self.cycle);
        Ok(Box::new(Weights {
            values: (0..1024_u16).map(f32::from).collect(),
            _extra: vec![1; self.case.extra_bytes],
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
