//! Where in which cycle the measured process is.

use crate::model::block::Birth;
use crate::model::run::Phase;
use crate::recorder::heap::{self};

/// The running cycle and phase, which every new block is born in.
#[derive(Debug)]
pub(crate) struct Marks {
    /// From 1; 0 outside all cycles.
    cycle: u32,
    phase: Phase,
    loaded_bytes: u64,
    load_peak_bytes: u64,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self {
            cycle: 0,
            phase: Phase::Outside,
            loaded_bytes: 0,
            load_peak_bytes: 0,
        }
    }

    /// Begins a cycle, in the phase of one that marks none.
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

    /// Everything from here on, in any thread, is born in `phase`.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        heap::set_now(Birth {
            cycle: self.cycle,
            phase: phase as u8,
        });
    }

    /// Runs `load` in its phase, and keeps in mind by how many live bytes it added.
    pub(crate) fn load<R>(&mut self, load: impl FnOnce() -> R) -> R {
        let before = self.begin_load();
        let loaded = load();
        self.end_load(before);
        loaded
    }

    /// The first half of [`Marks::load`]; gives what the second half takes.
    pub(crate) fn begin_load(&mut self) -> u64 {
        self.enter(Phase::Load);
        heap::totals().live_bytes
    }

    pub(crate) fn end_load(&mut self, before: u64) {
        self.loaded_bytes += heap::totals().live_bytes.saturating_sub(before);
        // The peak is of the cycle so far: of its first load, if there are several.
        if self.load_peak_bytes == 0 {
            self.load_peak_bytes = heap::peak_bytes().saturating_sub(before);
        }
    }

    pub(crate) fn cycle(&self) -> u32 {
        self.cycle
    }

    pub(super) fn loaded_bytes(&self) -> u64 {
        self.loaded_bytes
    }

    /// Never less than what was live when the load was done: the peak is known to 4 KiB.
    pub(super) fn load_peak_bytes(&self) -> u64 {
        self.load_peak_bytes.max(self.loaded_bytes)
    }

    /// A failure with the cycle and phase in which it happened.
    pub(super) fn place(&self, what: &str) -> String {
        match self.phase {
            Phase::Outside if self.cycle == 0 => what.into(),
            Phase::Cycle => format!("cycle {}: {what}", self.cycle),
            phase => format!("cycle {}, {phase}: {what}", self.cycle),
        }
    }
}
