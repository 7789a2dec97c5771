//! Memory for counter rows: segments of 128, each owned by one thread.

use super::amount::add_unshared;
use super::counter_row::{ROW_BITS, RowCounters, RowId, RowInfo};
use super::mapping::{map, unmap};
use crate::recorder::primitive::{AtomicPtr, AtomicU32, IS_MODEL, Ordering::Relaxed};

/// Low bits of a row's number: its index in its segment. The high bits are the segment's number.
pub(super) const INDEX_BITS: u32 = if IS_MODEL { 0 } else { 7 };
pub(super) const SEGMENT_ROWS: u32 = 1 << INDEX_BITS;

/// Segments at most.
pub(super) const SEGMENTS: usize = 1 << (ROW_BITS - INDEX_BITS);

/// Segments in the first mapping of a thread; each further mapping has twice as many.
const FIRST_MAPPED: u32 = 2;
const MAX_MAPPED: u32 = 64;

/// A segment of rows. Segment 0 is not used, so that no row has the number 0.
pub(super) struct Segment {
    pub(super) counters: AtomicPtr<RowCounters>,
    pub(super) infos: AtomicPtr<RowInfo>,
    /// Number of the thread record that owns the rows.
    pub(super) owner: AtomicU32,
    /// The owner's segment before this one; 0 for its first.
    pub(super) previous: AtomicU32,
}

impl Segment {
    pub(super) const fn unused() -> Self {
        Self {
            counters: AtomicPtr::new(core::ptr::null_mut()),
            infos: AtomicPtr::new(core::ptr::null_mut()),
            owner: AtomicU32::new(0),
            previous: AtomicU32::new(0),
        }
    }
}

/// The number of the segment that a row is in.
#[inline(always)]
pub(super) fn segment_of(id: RowId) -> u32 {
    id >> INDEX_BITS
}

/// A row's index in its segment.
#[inline(always)]
pub(super) fn index_of(id: RowId) -> u32 {
    id & (SEGMENT_ROWS - 1)
}

/// The segments that a thread owns, and the memory that it has mapped for more. Valid if all its
/// bytes are zero. Only the thread changes it.
#[repr(C)]
pub(super) struct OwnSegments {
    /// Number of the thread record.
    pub(super) owner: AtomicU32,
    /// The newest segment, and how many of its rows are in use.
    pub(super) newest: AtomicU32,
    pub(super) used: AtomicU32,
    /// The row where the next search for an empty one starts.
    pub(super) hand: AtomicU32,
    /// The unused rest of the last mapping: its address, how many segments it has, and how many the
    /// mapping had.
    spare_counters: AtomicPtr<RowCounters>,
    spare_infos: AtomicPtr<RowInfo>,
    spare: AtomicU32,
    mapped: AtomicU32,
}

impl OwnSegments {
    /// Memory for a segment; `None` if the system refuses it.
    pub(super) fn memory(&self) -> Option<(*mut RowCounters, *mut RowInfo)> {
        const ROWS: usize = SEGMENT_ROWS as usize;
        if self.spare.load(Relaxed) == 0 {
            let count = (2 * self.mapped.load(Relaxed)).clamp(FIRST_MAPPED, MAX_MAPPED);
            let rows = count as usize * ROWS;
            let counters: *mut RowCounters = map(rows * size_of::<RowCounters>()).cast();
            if counters.is_null() {
                return None;
            }
            let infos: *mut RowInfo = map(rows * size_of::<RowInfo>()).cast();
            if infos.is_null() {
                // SAFETY: mapped above with the same size, and not yet used.
                unsafe { unmap(counters.cast(), rows * size_of::<RowCounters>()) };
                return None;
            }
            self.spare_counters.store(counters, Relaxed);
            self.spare_infos.store(infos, Relaxed);
            self.spare.store(count, Relaxed);
            self.mapped.store(count, Relaxed);
        }
        add_unshared!(self.spare, 1_u32.wrapping_neg());
        let counters = self.spare_counters.load(Relaxed);
        let infos = self.spare_infos.load(Relaxed);
        // SAFETY: both mappings have at least one unused segment, so that the results point to the
        // next one or to one past the end (counter_rows.rs, tests:
        // `rows_equal_plain_sums_after_any_sequence`).
        let (next_counters, next_infos) = unsafe { (counters.add(ROWS), infos.add(ROWS)) };
        self.spare_counters.store(next_counters, Relaxed);
        self.spare_infos.store(next_infos, Relaxed);
        Some((counters, infos))
    }
}
