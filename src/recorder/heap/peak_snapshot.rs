//! What is live at the peak: the counter rows, copied when the live bytes have grown since the last copy.
//!
//! Copies are taken from the first cycle on. One is due when the live bytes that the cycles have added
//! are a tenth more than at the last copy, so that a run takes few, and the last one has ten elevenths
//! of what is live at the peak. Valgrind's Massif and heaptrack do the same.

use super::ledger::LEDGER;
use super::mapped_vec::MappedVec;
use super::mapping::NoMemory;
use super::spin_lock::SpinLock;
use super::state;
use crate::model::block::{Birth, CensusEntry};
use crate::recorder::primitive::{AtomicI64, Ordering::Relaxed};

/// Fewest bytes by which the live bytes grow between two copies.
const STEP: i64 = 4096;

/// Live bytes from which a copy is due. None is before the first cycle.
static DUE: AtomicI64 = AtomicI64::new(i64::MAX);

/// Live bytes when the first cycle began.
static BASE: AtomicI64 = AtomicI64::new(0);

static LAST: SpinLock<PeakSnapshot> = SpinLock::new(PeakSnapshot {
    now: Birth { cycle: 0, phase: 0 },
    setup: 0,
    entries: MappedVec::new(),
    is_new: false,
});

/// What was live at one time in a cycle.
pub(crate) struct PeakSnapshot {
    /// The cycle and phase at that time.
    pub(crate) now: Birth,
    /// Bytes born before the first cycle, which are in no entry.
    pub(crate) setup: u64,
    /// Live blocks by stack and birth, in parts that add up.
    pub(crate) entries: MappedVec<CensusEntry>,
    is_new: bool,
}

/// Begins with the snapshots: the first cycle begins, with these live bytes.
pub(super) fn begin(live_bytes: u64) {
    if let Some(mut last) = LAST.try_lock() {
        // That of the process that this one is a copy of.
        last.is_new = false;
    }
    BASE.store(live_bytes as i64, Relaxed);
    DUE.store(live_bytes as i64 + STEP, Relaxed);
}

/// Whether a copy is due at these live bytes.
#[inline]
pub(super) fn is_due(live_bytes: i64) -> bool {
    live_bytes >= DUE.load(Relaxed)
}

/// Copies what is live, unless another thread does so.
#[cold]
pub(super) fn take(live_bytes: i64) {
    let Some(mut last) = LAST.try_lock() else {
        return;
    };
    if !is_due(live_bytes) {
        return;
    }
    let added = live_bytes - BASE.load(Relaxed);
    DUE.store(live_bytes + STEP.max(added / 10), Relaxed);
    if last.copy().is_err() {
        // A part would be taken for the whole.
        last.is_new = false;
    }
}

/// Whether no thread copies or reads.
#[cfg(feature = "preload")]
pub(super) fn is_unlocked() -> bool {
    LAST.is_unlocked()
}

/// Calls `read` with the last snapshot, if there is one that it was not called with yet.
pub(crate) fn read_new<R>(read: impl FnOnce(&PeakSnapshot) -> R) -> Option<R> {
    let mut last = LAST.try_lock()?;
    let is_new = core::mem::take(&mut last.is_new);
    is_new.then(|| read(&last))
}

impl PeakSnapshot {
    fn copy(&mut self) -> Result<(), NoMemory> {
        self.now = state::now();
        self.setup = 0;
        self.entries.clear();
        let mut result = Ok(());
        LEDGER.for_each(|entry| {
            if entry.birth == 0 {
                self.setup += entry.bytes;
            } else if result.is_ok() {
                result = self.entries.push(entry);
            }
        });
        self.is_new = result.is_ok();
        result
    }
}

#[cfg(test)]
impl PeakSnapshot {
    pub(crate) fn of(now: Birth, setup: u64, parts: &[CensusEntry]) -> Self {
        let mut entries = MappedVec::new();
        entries.extend_from_slice(parts).unwrap();
        Self {
            now,
            setup,
            entries,
            is_new: true,
        }
    }
}
