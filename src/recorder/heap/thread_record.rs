//! What is kept for a running thread outside of its thread-local storage: its counters, and the
//! caches that lead from its stack to a counter row.
//!
//! A record outlives its thread. A thread takes one when it first allocates and gives it back when
//! it ends, and the next new thread takes it over with all counts. So the counts are never lost, and
//! a program that starts many threads one after another does not map a record for each.
//!
//! Invariants:
//! 1. A record is used by one thread at a time, and its caches by one hook of that thread at a time
//!    (`thread.rs`).
//! 2. A record is never unmapped.
//!
//! Memory ordering: a record that is new or handed over passes through the lock, and so does the
//! number of records. So relaxed loads and stores of their addresses are enough.

use super::last_stack::LastStack;
use super::layout_cache::LayoutCache;
use super::mapping::map;
use super::spin_lock::SpinLock;
use super::stack_cache::StackCache;
use super::thread_counters::ThreadCounters;
use crate::recorder::primitive::{AtomicPtr, AtomicU32, IS_MODEL, Ordering::Relaxed, UnsafeCell};

/// Records at most: threads that run at the same time.
const MAX_RECORDS: usize = if IS_MODEL { 4 } else { 1 << 13 };

/// Valid if all its bytes are zero.
#[repr(C, align(128))]
pub(super) struct ThreadRecord {
    /// Reached only by the thread that has the record, inside a hook.
    pub(super) caches: UnsafeCell<Caches>,
    /// The next free record, while this one is free.
    next_free: AtomicU32,
    pub(super) counters: ThreadCounters,
}

/// The caches of a thread. Valid if all its bytes are zero: then they are empty.
#[repr(C)]
pub(super) struct Caches {
    pub(super) layouts: LayoutCache,
    pub(super) stacks: StackCache,
    pub(super) last: LastStack,
}

impl Caches {
    /// Forgets all addresses on the thread's stack, because the next thread has another stack.
    pub(super) fn clear_addresses(&mut self) {
        self.layouts.clear();
        self.last.clear();
    }
}

pub(super) struct ThreadRecords {
    /// By number; number 0 is none.
    records: [AtomicPtr<ThreadRecord>; MAX_RECORDS],
    free: SpinLock<FreeList>,
}

struct FreeList {
    /// Records that exist: their numbers are `1..=count`.
    count: u32,
    /// The first free record; 0 if there is none.
    first: u32,
}

impl ThreadRecords {
    pub(super) const fn new() -> Self {
        Self {
            records: [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_RECORDS],
            free: SpinLock::new(FreeList { count: 0, first: 0 }),
        }
    }

    /// A record for the running thread; `None` if too many threads run, or there is no memory.
    #[cold]
    pub(super) fn take(&self) -> Option<&ThreadRecord> {
        let mut free = self.free.lock();
        if free.first != 0 {
            let record = self.get(free.first)?;
            free.first = record.next_free.load(Relaxed);
            return Some(record);
        }
        let number = free.count + 1;
        let slot = self.records.get(number as usize)?;
        let at: *mut ThreadRecord = map(size_of::<ThreadRecord>()).cast();
        // SAFETY: a new mapping of zeroed bytes, which are a valid record; null gives `None`.
        let record = unsafe { at.as_ref()? };
        record.counters.segments.owner.store(number, Relaxed);
        slot.store(at, Relaxed);
        free.count = number;
        Some(record)
    }

    /// Gives back the record of a thread that ends.
    pub(super) fn give_back(&self, record: &ThreadRecord) {
        let mut free = self.free.lock();
        record.next_free.store(free.first, Relaxed);
        free.first = record.counters.segments.owner.load(Relaxed);
    }

    /// Whether no thread holds its lock.
    #[cfg(feature = "preload")]
    pub(super) fn is_unlocked(&self) -> bool {
        self.free.is_unlocked()
    }

    fn get(&self, number: u32) -> Option<&ThreadRecord> {
        let at = self.records[number as usize].load(Relaxed);
        // SAFETY: a published record is complete and is never unmapped (ledger.rs, tests:
        // `a_record_passes_to_the_next_thread_with_its_counts`).
        unsafe { at.as_ref() }
    }

    /// The counters of all records.
    pub(super) fn counters(&self) -> impl Iterator<Item = &ThreadCounters> {
        let count = self.free.lock().count;
        (1..=count).filter_map(|number| Some(&self.get(number)?.counters))
    }
}
