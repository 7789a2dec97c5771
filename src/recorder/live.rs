//! The windows of a service that is judged while it runs. A window takes the place of a cycle.

use super::census::Census;
use super::counters::Before;
pub(crate) use super::cycle::jemalloc_bytes;
use super::heap::{self, MappedVec, NoMemory, Paused, Unwinder};
use super::proc;
use crate::model::block::{Birth, CensusEntry, MAX_CYCLE, StackId};
use crate::model::journal::{self, Counts, RecordedPath};
use crate::model::run::Phase;

/// Takes a census at the end of each window.
pub(crate) struct Windows {
    unwinder: Unwinder,
    census: Census,
    /// The running window, from 1. It goes on where a service that was judged before has stopped.
    number: u32,
    before: Before,
}

impl Windows {
    /// Goes on with the window that is running, and walks the stacks of further samples as this build needs it.
    pub(crate) fn begin(_: &Paused) -> Self {
        Self {
            unwinder: heap::choose_unwinder(),
            census: Census::new(),
            number: heap::now().cycle,
            before: Before::now(),
        }
    }

    /// How stacks are walked.
    pub(crate) fn unwinder(&self) -> Unwinder {
        self.unwinder
    }

    /// Bytes that were allocated in the running window, as far as samples tell.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        let now = heap::totals().allocated_bytes;
        now.saturating_sub(self.before.totals.allocated_bytes)
    }

    /// Ends the running window, which took this long, and begins the next one. Returns the counters.
    ///
    /// # Errors
    /// If the system refuses memory for the census.
    pub(crate) fn end(&mut self, nanos: u64) -> Result<Counts, NoMemory> {
        let totals = heap::totals();
        let peak_bytes = heap::peak_bytes().max(totals.live_bytes);
        self.census.take()?;
        let counts = Counts {
            cycle: self.number,
            resident_bytes: proc::resident_bytes(),
            peak_resident_bytes: proc::peak_resident_bytes(),
            jemalloc: jemalloc_bytes(),
            threads: proc::threads(),
            // A service never rests, and is not waited for.
            quiet: true,
            cycle_nanos: nanos,
            ..self.before.counts(&totals, peak_bytes)
        };
        self.before.totals = totals;
        heap::restart_peak();
        // Births have only so many bits. The last window then never ends for the recorder.
        if self.number < MAX_CYCLE {
            self.number += 1;
        }
        heap::set_now(Birth {
            cycle: self.number,
            phase: Phase::Cycle as u8,
        });
        Ok(counts)
    }

    /// The entries that have changed in the window that [`Windows::end`] has ended, and the bytes and blocks that were
    /// live of each before.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&CensusEntry, (u64, u64))> {
        let changes = self.census.changes().iter();
        changes.map(|entry| {
            let before = self.census.before(entry);
            (entry, before.map_or((0, 0), |b| (b.bytes, b.blocks)))
        })
    }
}

/// Reads stacks, and the code that they go through.
pub(crate) struct Stacks {
    frames: MappedVec<usize>,
}

/// An executable mapping of a file.
pub(crate) type Code = journal::Code;

impl Stacks {
    pub(crate) fn new() -> Self {
        Self {
            frames: MappedVec::new(),
        }
    }

    /// The return addresses of a stack, innermost first, and whether it was cut off at its outer end.
    pub(crate) fn stack(&mut self, stack_id: StackId) -> (&[usize], bool) {
        let cut = heap::stack_frames(stack_id, &mut self.frames);
        (self.frames.as_slice(), cut)
    }

    /// The executable mappings of files.
    pub(crate) fn code(&self, _: &Paused) -> Vec<Code> {
        let mut code = Vec::new();
        proc::for_each_code_mapping(&mut MappedVec::new(), |m| {
            code.push(Code {
                start: m.start,
                end: m.end,
                offset: m.offset,
                path: RecordedPath::Bytes(m.path.to_owned()),
            });
        });
        code
    }
}
