//! The journal of a service on one scale: the same records as those of a run, from which the same analysis makes a report.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use super::history::Scale;
use super::settings::Settings;
use crate::model::block::{CensusEntry, NO_STACK, StackId};
use crate::model::journal::{
    self, Boundary, Counts, End, Record, RecordRef, RecordedPath, Stack, Start, VERSION,
};
use crate::model::run::{HeapKind, Phase, Strategy};
use crate::recorder::heap::{self, Unwinder};
use crate::recorder::live::{Code, Stacks};

/// Writes the journal of a scale.
///
/// # Errors
/// If `to` fails.
pub(super) fn write(
    scale: &Scale,
    unwinder: Unwinder,
    settings: &Settings,
    to: &mut impl Write,
) -> io::Result<()> {
    let mut journal = Journal::begin(scale.len() as u32 + 1, unwinder, settings, to)?;
    scale.for_each_boundary(|counts, entries| journal.boundary(counts, entries))?;
    journal.end()
}

/// Writes a journal with one boundary: what is live now.
///
/// # Errors
/// If `to` fails.
pub(super) fn write_now(
    unwinder: Unwinder,
    settings: &Settings,
    to: &mut impl Write,
) -> io::Result<()> {
    let mut live: HashMap<StackId, CensusEntry> = HashMap::new();
    heap::for_each_live(|entry| {
        let new = CensusEntry {
            birth: 1,
            phase: Phase::Cycle as u8,
            bytes: 0,
            blocks: 0,
            ..entry
        };
        let sum = live.entry(entry.stack_id).or_insert(new);
        sum.bytes += entry.bytes;
        sum.blocks += entry.blocks;
    });
    let entries: Vec<CensusEntry> = live.into_values().collect();
    let totals = heap::totals();
    let counts = Counts {
        cycle: 1,
        live_bytes: totals.live_bytes,
        live_blocks: totals.live_blocks,
        ..Counts::default()
    };
    let mut journal = Journal::begin(1, unwinder, settings, to)?;
    journal.boundary(counts, &entries)?;
    journal.end()
}

/// The first record of a journal with so many boundaries, of which the first is the warm-up.
pub(super) fn start<S>(service: S, cycles: u32, horizon: u32) -> Start<S> {
    Start {
        version: VERSION,
        workload: service,
        heap: heap_kind(),
        strategy: Strategy::Fresh,
        cycles,
        warmup: 1,
        horizon,
        auto: false,
        pid: std::process::id(),
        by_cfi: false,
        sampled_every: heap::sampled_every(),
        exec: false,
        live: true,
    }
}

/// A journal that is being written.
struct Journal<'a, W> {
    cycles: u32,
    stacks: Stacks,
    /// The stacks that it has.
    written: HashSet<StackId>,
    to: &'a mut W,
}

impl<'a, W: Write> Journal<'a, W> {
    fn begin(
        cycles: u32,
        unwinder: Unwinder,
        settings: &Settings,
        to: &'a mut W,
    ) -> io::Result<Self> {
        let by_cfi = unwinder == Unwinder::Cfi;
        let start = start(settings.service.as_str(), cycles, settings.horizon);
        line(to, &Record::Start(Start { by_cfi, ..start }))?;
        let stacks = Stacks::new();
        for code in stacks.code(&heap::pause()) {
            line(to, &Record::Code(recorded(&code)))?;
        }
        Ok(Self {
            cycles,
            stacks,
            written: HashSet::new(),
            to,
        })
    }

    /// Writes a boundary, after the stacks that are new in it.
    fn boundary(&mut self, counts: Counts, census: &[CensusEntry]) -> io::Result<()> {
        for entry in census {
            let id = entry.stack_id;
            if id != NO_STACK && self.written.insert(id) {
                let (stack, cut) = self.stacks.stack(id);
                line(self.to, &Record::Stack(Stack { id, cut, stack }))?;
            }
        }
        line(self.to, &Record::Boundary(Boundary { counts, census }))
    }

    fn end(self) -> io::Result<()> {
        line(
            self.to,
            &Record::End(End {
                failure: None,
                early: None,
                cycle: Some(self.cycles),
            }),
        )
    }
}

fn recorded(code: &Code) -> journal::Code<RecordedPath<&str, &[u8]>> {
    journal::Code {
        start: code.start,
        end: code.end,
        offset: code.offset,
        path: code.path.as_path().as_os_str().as_bytes().into(),
    }
}

fn line(to: &mut impl Write, record: &RecordRef<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *to, record)?;
    to.write_all(b"\n")
}

/// The allocator of a service, as reports name it.
pub(super) fn heap_kind() -> HeapKind {
    match heap::backend() {
        Some(heap::Backend::Jemalloc) => HeapKind::Jemalloc,
        _ => HeapKind::System,
    }
}
