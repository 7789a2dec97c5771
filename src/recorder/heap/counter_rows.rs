//! All counter rows: live blocks and bytes of each stack and birth, counted without a lock.
//!
//! A row counts the blocks that one thread has allocated with one stack in one phase of a cycle
//! (`counter_row.rs`). Its owner counts with plain stores. Other threads that free such blocks count
//! in a second place, with atomic subtraction.
//!
//! Rows lie in segments, which belong to a thread record (`thread_record.rs`). When a thread ends,
//! the next new thread takes over its record and with it the rows, so that no count is lost.
//!
//! Memory ordering: a segment is published by release stores of its row pointers, for readers that
//! have not received a row's number from its thread: a census, and what lists the block table. They
//! load a pointer with acquire and test it. All others load it relaxed. A thread that frees a block
//! has received its address from the thread that allocated it, which orders everything that thread
//! did before; a thread that takes over a record has received it through a lock.

use core::mem::MaybeUninit;

use super::amount::Amount;
use super::counter_row::{
    CounterRow, KeyedStack, NO_ROW, OwnedRow, RowCounters, RowId, RowInfo, Timestamp,
};
use super::row_segments::{INDEX_BITS, SEGMENT_ROWS, SEGMENTS, Segment, index_of, segment_of};
use super::thread_counters::{StrayFrees, ThreadCounters};
use crate::model::block::StackId;
use crate::recorder::primitive::{
    AtomicI64, AtomicU32, IS_MODEL,
    Ordering::{Acquire, Relaxed, Release},
};

/// Rows that are tried in search of an empty one before a new one is taken.
const MAX_TRIED: u32 = 16;

/// How often a snapshot of a row is tried while its owner keeps restarting it.
const MAX_SNAPSHOTS: u32 = if IS_MODEL { 1 } else { 16 };

pub(super) struct CounterRows {
    /// Initialized. The compiler would check each of these atomics in the initial value of a static, which
    /// took it a fifth of a second.
    segments: MaybeUninit<[Segment; SEGMENTS]>,
    /// Segments taken: their numbers are `1..=taken`.
    taken: AtomicU32,
    /// Blocks freed inside a hook, by a signal handler: its thread's own sums may be half written.
    stray_blocks: AtomicI64,
    stray_bytes: AtomicI64,
    stray_chunks: AtomicI64,
    stray_c_bytes: AtomicI64,
}

impl CounterRows {
    pub(super) const fn new() -> Self {
        Self {
            segments: MaybeUninit::new([const { Segment::unused() }; SEGMENTS]),
            taken: AtomicU32::new(0),
            stray_blocks: AtomicI64::new(0),
            stray_bytes: AtomicI64::new(0),
            stray_chunks: AtomicI64::new(0),
            stray_c_bytes: AtomicI64::new(0),
        }
    }

    #[inline(always)]
    fn segments(&self) -> &[Segment; SEGMENTS] {
        // SAFETY: initialized in `new`, the only place that makes the structure
        // (tests: `rows_equal_plain_sums_after_any_sequence`).
        unsafe { self.segments.assume_init_ref() }
    }

    #[inline(always)]
    fn segment(&self, id: RowId) -> &Segment {
        debug_assert!((segment_of(id) as usize) < SEGMENTS);
        // SAFETY: a row's number is made from that of a segment in `take_new`, which is below
        // `SEGMENTS` (tests: `rows_equal_plain_sums_after_any_sequence`).
        unsafe { self.segments().get_unchecked(segment_of(id) as usize) }
    }

    #[inline(always)]
    fn counters(&self, id: RowId) -> &RowCounters {
        let counters = self.segment(id).counters.load(Relaxed);
        // SAFETY: row numbers are only given out of published segments, which have `SEGMENT_ROWS`
        // rows and are never unmapped (tests: `rows_equal_plain_sums_after_any_sequence`).
        unsafe { &*counters.add(index_of(id) as usize) }
    }

    #[inline]
    fn info(&self, id: RowId) -> &RowInfo {
        let infos = self.segment(id).infos.load(Relaxed);
        // SAFETY: row numbers are only given out of published segments, which have `SEGMENT_ROWS`
        // rows and are never unmapped (tests: `rows_equal_plain_sums_after_any_sequence`).
        unsafe { &*infos.add(index_of(id) as usize) }
    }

    fn row(&'static self, id: RowId) -> CounterRow {
        CounterRow {
            counters: self.counters(id),
            info: self.info(id),
        }
    }

    /// A row that [`CounterRows::start`] gave to the running thread.
    #[inline]
    pub(super) fn own(&'static self, id: RowId) -> OwnedRow {
        OwnedRow::new(id, self.counters(id))
    }

    /// The stack and birth of a row; `None` if another thread has just made it and its segment is
    /// not visible yet.
    pub(super) fn stack_and_birth(&self, id: RowId) -> Option<(StackId, u32)> {
        let is_visible = !self.segment(id).infos.load(Acquire).is_null();
        is_visible.then(|| self.info(id).stack_and_birth())
    }

    /// The stack of a row of the running thread.
    pub(super) fn stack(&self, id: RowId) -> KeyedStack {
        self.info(id).stack()
    }

    /// Gives up a row of the running thread, to which the stack cache no longer refers: once it is
    /// empty, it may be used for any stack.
    pub(super) fn release(&self, id: RowId, now: Timestamp) {
        self.info(id).release(now);
    }

    /// A row of the running thread for blocks of a stack that are born now: the `previous` row of
    /// the stack if that is empty, or else another; `None` if there is no room.
    pub(super) fn start(
        &'static self,
        thread: &ThreadCounters,
        stack: KeyedStack,
        now: Timestamp,
        previous: Option<RowId>,
    ) -> Option<OwnedRow> {
        let id = previous
            .filter(|&id| self.row(id).blocks() == 0)
            .or_else(|| self.find_empty(thread, now))
            .or_else(|| self.take_new(thread))?;
        self.row(id).restart(stack, now);
        Some(self.own(id))
    }

    /// An empty row of the thread that is not reserved for its stack, if a short search finds one.
    /// The search goes on where the last one ended, as the hand of a clock.
    fn find_empty(&'static self, thread: &ThreadCounters, now: Timestamp) -> Option<RowId> {
        let is_free = |id| {
            let row = self.row(id);
            !row.info.is_reserved(now) && row.blocks() == 0
        };
        let mut found = None;
        let mut hand = thread.segments.hand.load(Relaxed);
        for _ in 0..MAX_TRIED {
            if hand == NO_ROW {
                hand = self.next_row(thread, NO_ROW);
            }
            if hand == NO_ROW || is_free(hand) {
                found = Some(hand).filter(|&id| id != NO_ROW);
                break;
            }
            hand = self.next_row(thread, hand);
        }
        let next = found.map_or(hand, |id| self.next_row(thread, id));
        thread.segments.hand.store(next, Relaxed);
        found
    }

    /// The row in use after another one of the thread, in a ring over its segments; the first one
    /// after [`NO_ROW`].
    fn next_row(&self, thread: &ThreadCounters, id: RowId) -> RowId {
        let newest = thread.segments.newest.load(Relaxed);
        let segment = segment_of(id);
        let end = match segment == newest {
            true => thread.segments.used.load(Relaxed),
            false => SEGMENT_ROWS,
        };
        if id != NO_ROW && index_of(id) + 1 < end {
            return id + 1;
        }
        let previous = self.segments()[segment as usize].previous.load(Relaxed);
        match (id, previous) {
            (NO_ROW, _) | (_, 0) => newest << INDEX_BITS,
            (_, previous) => previous << INDEX_BITS,
        }
    }

    /// A row that was never used, in a new segment if the newest one is full.
    fn take_new(&self, thread: &ThreadCounters) -> Option<RowId> {
        let own = &thread.segments;
        let (newest, used) = (own.newest.load(Relaxed), own.used.load(Relaxed));
        if newest != 0 && used < SEGMENT_ROWS {
            own.used.store(used + 1, Relaxed);
            return Some(newest << INDEX_BITS | used);
        }
        let next = |taken: u32| Some(taken + 1).filter(|&number| (number as usize) < SEGMENTS);
        // Checked before memory is mapped, which would be lost.
        next(self.taken.load(Relaxed))?;
        let (counters, infos) = own.memory()?;
        let number = self.taken.fetch_update(Relaxed, Relaxed, next).ok()? + 1;
        let segment = &self.segments()[number as usize];
        segment.owner.store(own.owner.load(Relaxed), Relaxed);
        segment.previous.store(newest, Relaxed);
        segment.infos.store(infos, Release);
        segment.counters.store(counters, Release);
        own.newest.store(number, Relaxed);
        own.used.store(1, Relaxed);
        Some(number << INDEX_BITS)
    }

    /// Subtracts freed blocks from their row, which any thread may own, and counts them in the thread's sums.
    #[inline(always)]
    pub(super) fn subtract(&self, thread: &ThreadCounters, id: RowId, amount: Amount) {
        if self.segment(id).owner.load(Relaxed) == thread.segments.owner.load(Relaxed) {
            self.counters(id).subtract(amount);
        } else {
            self.info(id).subtract(amount);
        }
        thread.add_freed(amount);
    }

    /// Subtracts blocks that are freed in a signal handler, while the thread's own counters may be
    /// half written.
    #[inline(always)]
    pub(super) fn subtract_stray(&self, id: RowId, amount: Amount) {
        // By its fields: an amount passed by reference would be kept in memory on the fast path too.
        self.subtract_stray_fields(id, amount.blocks, amount.bytes, amount.chunk);
    }

    #[cold]
    #[inline(never)]
    fn subtract_stray_fields(&self, id: RowId, blocks: i32, bytes: i64, chunk: i64) {
        let amount = Amount {
            blocks,
            bytes,
            chunk,
        };
        self.info(id).subtract(amount);
        self.stray_blocks
            .fetch_add(i64::from(amount.blocks), Relaxed);
        self.stray_bytes.fetch_add(amount.bytes, Relaxed);
        if amount.chunk != 0 {
            self.stray_chunks.fetch_add(amount.chunk, Relaxed);
            self.stray_c_bytes.fetch_add(amount.bytes, Relaxed);
        }
    }

    /// Blocks freed in signal handlers so far.
    pub(super) fn stray_frees(&self) -> StrayFrees {
        StrayFrees {
            blocks: self.stray_blocks.load(Relaxed),
            bytes: self.stray_bytes.load(Relaxed),
            chunks: self.stray_chunks.load(Relaxed),
            c_bytes: self.stray_c_bytes.load(Relaxed),
        }
    }

    /// Mean size of the live blocks of a row: an estimate for a block whose free was not seen.
    #[cold]
    pub(super) fn mean_size(&'static self, id: RowId) -> i64 {
        let row = self.row(id);
        (row.bytes() / i64::from(row.blocks()).max(1)).max(0)
    }

    /// Calls `visit` with the stack, birth, bytes and blocks of every row that is not empty. Several
    /// rows may be of the same stack and birth. Other threads may allocate meanwhile.
    pub(super) fn for_each(&'static self, mut visit: impl FnMut(StackId, u32, u64, u64)) {
        let last = self.taken.load(Relaxed).min(SEGMENTS as u32 - 1);
        for number in 1..=last {
            if self.segments()[number as usize]
                .counters
                .load(Acquire)
                .is_null()
            {
                continue;
            }
            for index in 0..SEGMENT_ROWS {
                let row = self.row(number << INDEX_BITS | index);
                let snapshot = (0..MAX_SNAPSHOTS).find_map(|_| row.snapshot());
                if let Some((stack_id, birth, bytes, blocks)) = snapshot
                    && blocks > 0
                {
                    let bytes = u64::try_from(bytes).unwrap_or(0);
                    visit(stack_id, birth, bytes, blocks as u64);
                }
            }
        }
    }
}

#[cfg(test)]
impl CounterRows {
    /// A row for blocks of a stack, born in the first cycle.
    pub(super) fn of_stack(&'static self, thread: &ThreadCounters, stack_id: StackId) -> OwnedRow {
        self.start(thread, KeyedStack::of(stack_id), Timestamp::at(8), None)
            .expect("there is room")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::model::block::Birth;
    use crate::recorder::heap::counter_row::Fingerprint;
    use crate::recorder::heap::thread_counters::Totals;
    use std::collections::BTreeMap;

    type Sums = BTreeMap<(StackId, u32), (u64, u64)>;

    fn sums(rows: &'static CounterRows) -> Sums {
        let mut sums = Sums::new();
        rows.for_each(|stack_id, birth, bytes, blocks| {
            let sum = sums.entry((stack_id, birth)).or_default();
            *sum = (sum.0 + bytes, sum.1 + blocks);
        });
        sums
    }

    #[test]
    fn rows_equal_plain_sums_after_any_sequence() {
        static ROWS: CounterRows = CounterRows::new();
        // The counters of three threads, used in turn; blocks are freed through any of them.
        let threads = [(); 3].map(|()| ThreadCounters::leaked());
        let mut random = Random::new(11);
        let mut live: Vec<(RowId, usize, StackId, u32)> = Vec::new();
        let mut known: BTreeMap<(usize, StackId), OwnedRow> = BTreeMap::new();
        for step in 0..60_000_u32 {
            let thread = random.below(3) as usize;
            if random.below(100) < 52 {
                let now = Timestamp {
                    birth: step / 5_000,
                    epoch: step / 7_000,
                };
                let stack = KeyedStack::of(random.below(200) as u32);
                let fingerprint = Fingerprint::of(stack.key, now.birth);
                let before = known.get(&(thread, stack.stack_id)).copied();
                let row = before
                    .filter(|row| row.matches(fingerprint))
                    .or_else(|| {
                        let own = before.filter(|row| ROWS.stack(row.id()) == stack);
                        ROWS.start(threads[thread], stack, now, own.map(OwnedRow::id))
                    })
                    .unwrap();
                assert!(row.matches(fingerprint));
                let expected = Some((stack.stack_id, now.birth));
                assert_eq!(ROWS.stack_and_birth(row.id()), expected);
                known.insert((thread, stack.stack_id), row);
                let size = random.below(5_000) as usize;
                threads[thread].add(row, Amount::of_block(size, 16));
                live.push((row.id(), size, stack.stack_id, now.birth));
            } else if !live.is_empty() {
                let (id, size, ..) = live.swap_remove(random.index(live.len()));
                match random.below(10) {
                    0 => ROWS.subtract_stray(id, Amount::of_block(size, 16)),
                    _ => ROWS.subtract(threads[thread], id, Amount::of_block(size, 16)),
                }
            }
        }
        let mut truth = Sums::new();
        for &(_, size, stack_id, birth) in &live {
            let sum = truth.entry((stack_id, birth)).or_default();
            *sum = (sum.0 + size as u64, sum.1 + 1);
        }
        // Not `assert_eq`, which would print both maps.
        assert!(sums(&ROWS) == truth);
        let totals = Totals::sum(threads.into_iter(), ROWS.stray_frees());
        assert_eq!(totals.live_blocks, live.len() as u64);
        assert_eq!(totals.chunks, 16 * live.len() as u64);
        let bytes: usize = live.iter().map(|l| l.1).sum();
        assert_eq!(totals.live_bytes, bytes as u64);
        assert_eq!(totals.c_bytes, bytes as u64);
    }

    #[test]
    fn a_census_counts_no_block_twice_while_a_row_is_restarted() {
        static ROWS: CounterRows = CounterRows::new();
        std::thread::scope(|scope| {
            let owner = scope.spawn(|| {
                let [own, other] = [(); 2].map(|()| ThreadCounters::leaked());
                let mut row = None;
                for number in 0..200_000 {
                    // Restarted for another stack each time; at most one block is live.
                    let stack = KeyedStack::of(number % 2);
                    let started = ROWS.start(own, stack, Timestamp::at(number), row).unwrap();
                    row = Some(started.id());
                    for _ in 0..20 {
                        own.add(started, Amount::of_block(8, 0));
                        ROWS.subtract(other, started.id(), Amount::of_block(8, 0));
                    }
                }
            });
            while !owner.is_finished() {
                ROWS.for_each(|_, _, bytes, blocks| {
                    assert!(blocks <= 1 && bytes <= 8, "{blocks} blocks, {bytes} bytes");
                });
            }
        });
    }

    #[test]
    fn a_row_that_was_used_recently_stays_reserved_for_its_stack() {
        static ROWS: CounterRows = CounterRows::new();
        let thread = ThreadCounters::leaked();
        let cycle = |cycle| Timestamp::at(Birth { cycle, phase: 1 }.packed());
        let start = |number, now| {
            ROWS.start(thread, KeyedStack::of(number), now, None)
                .unwrap()
                .id()
        };
        let first = start(1, cycle(1));
        assert_ne!(start(2, cycle(1)), first);
        assert_ne!(start(3, cycle(2)), first);
        // Not used for a cycle.
        assert_eq!(start(4, cycle(3)), first);
        let next_epoch = Timestamp {
            epoch: 1,
            ..cycle(3)
        };
        let reused: Vec<RowId> = (5..8).map(|number| start(number, next_epoch)).collect();
        assert!(reused.contains(&first), "no stack cache refers to it");
        let new = start(9, next_epoch);
        assert!(!reused.contains(&new));
        ROWS.release(reused[1], next_epoch);
        let next: Vec<RowId> = (10..14).map(|number| start(number, next_epoch)).collect();
        assert_eq!(next.iter().filter(|id| reused.contains(id)).count(), 1);
    }

    #[test]
    fn empty_rows_are_used_again() {
        static ROWS: CounterRows = CounterRows::new();
        let thread = ThreadCounters::leaked();
        let mut highest = 0;
        let mut own = None;
        for birth in 0..20_000 {
            // One stack in all cycles, and one that is new in each.
            let rows = [
                (KeyedStack::of(7), own),
                (KeyedStack::of(100 + birth), None),
            ]
            .map(|(stack, previous)| {
                ROWS.start(thread, stack, Timestamp::at(birth), previous)
                    .unwrap()
            });
            own = Some(rows[0].id());
            for row in rows {
                thread.add(row, Amount::of_block(8, 0));
                ROWS.subtract(thread, row.id(), Amount::of_block(8, 0));
                highest = highest.max(row.id());
            }
        }
        assert!(highest < 4 * SEGMENT_ROWS, "{highest}");
        assert_eq!(sums(&ROWS), Sums::new());
    }

    #[test]
    fn threads_free_what_others_have_allocated() {
        static ROWS: CounterRows = CounterRows::new();
        let counters = [(); 4].map(|()| ThreadCounters::leaked());
        let (sender, receiver) = std::sync::mpsc::channel::<(RowId, usize)>();
        std::thread::scope(|scope| {
            for (number, thread) in (0..).zip(&counters[..3]) {
                let sender = sender.clone();
                scope.spawn(move || {
                    let mut row = None;
                    for i in 0..20_000_u32 {
                        if i.is_multiple_of(1000) {
                            let now = Timestamp::at(i / 1000);
                            let previous = row.map(OwnedRow::id);
                            row = ROWS.start(thread, KeyedStack::of(number), now, previous);
                        }
                        let row = row.unwrap();
                        thread.add(row, Amount::of_block(24, 32));
                        sender.send((row.id(), 24)).unwrap();
                    }
                });
            }
            drop(sender);
            scope.spawn(|| {
                for (id, size) in receiver {
                    ROWS.subtract(counters[3], id, Amount::of_block(size, 32));
                }
            });
        });
        assert_eq!(sums(&ROWS), Sums::new());
        let totals = Totals::sum(counters.into_iter(), ROWS.stray_frees());
        assert_eq!(
            (totals.live_blocks, totals.live_bytes, totals.chunks),
            (0, 0, 0)
        );
        assert_eq!(totals.allocations, 60_000);
    }
}
