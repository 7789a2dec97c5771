//! The running cycle and phase of the measured process.

use crate::model::block::Birth;
use crate::model::run::Phase;
use crate::recorder::heap;

/// Sets the cycle and the phase that the recorder writes into every new block, and measures how much
/// memory the load phase adds.
#[derive(Debug)]
pub(crate) struct PhaseTracker {
    /// From 1; 0 outside of all cycles.
    cycle: u32,
    phase: Phase,
    loaded_bytes: u64,
    load_peak_bytes: u64,
}

impl PhaseTracker {
    pub(super) fn new() -> Self {
        Self {
            cycle: 0,
            phase: Phase::Outside,
            loaded_bytes: 0,
            load_peak_bytes: 0,
        }
    }

    /// Begins a cycle in the phase [`Phase::Cycle`], or ends the last cycle if `cycle` is 0.
    pub(super) fn begin(&mut self, cycle: u32) {
        self.cycle = cycle;
        self.loaded_bytes = 0;
        self.load_peak_bytes = 0;
        self.enter(if cycle == 0 {
            Phase::Outside
        } else {
            Phase::Cycle
        });
    }

    /// Begins a phase. Blocks that any thread allocates from now on belong to it.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        heap::set_now(Birth {
            cycle: self.cycle,
            phase: phase as u8,
        });
    }

    /// Calls `load` in the load phase, and adds the growth of the live bytes to
    /// [`loaded_bytes`](Self::loaded_bytes).
    pub(crate) fn load<R>(&mut self, load: impl FnOnce() -> R) -> R {
        let live_before = self.begin_load();
        let loaded = load();
        self.end_load(live_before);
        loaded
    }

    /// Begins the load phase, and returns the live bytes, which [`end_load`](Self::end_load) needs.
    pub(crate) fn begin_load(&mut self) -> u64 {
        self.enter(Phase::Load);
        heap::totals().live_bytes
    }

    /// Adds what a load has allocated and not freed. The phase stays the load phase.
    pub(crate) fn end_load(&mut self, live_before: u64) {
        self.loaded_bytes += heap::totals().live_bytes.saturating_sub(live_before);
        // The recorder keeps one peak for each cycle. If a cycle loads several times, it is taken
        // after the first load, because later it may be that of another phase.
        if self.load_peak_bytes == 0 {
            self.load_peak_bytes = heap::peak_bytes().saturating_sub(live_before);
        }
    }

    pub(crate) fn cycle(&self) -> u32 {
        self.cycle
    }

    /// Bytes by which the loads of this cycle have increased the live bytes.
    pub(super) fn loaded_bytes(&self) -> u64 {
        self.loaded_bytes
    }

    /// The most bytes that the first load of this cycle held at once. At least
    /// [`loaded_bytes`](Self::loaded_bytes), because the recorder rounds the peak to 4 KiB.
    pub(super) fn load_peak_bytes(&self) -> u64 {
        self.load_peak_bytes.max(self.loaded_bytes)
    }

    /// The message of a failure after the cycle and the phase in which it happened.
    pub(super) fn locate(&self, failure: &str) -> String {
        match self.phase {
            Phase::Outside if self.cycle == 0 => failure.into(),
            Phase::Cycle => format!("cycle {}: {failure}", self.cycle),
            phase => format!("cycle {}, {phase}: {failure}", self.cycle),
        }
    }
}
