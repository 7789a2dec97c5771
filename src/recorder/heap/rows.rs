//! Live blocks and bytes of each stack and birth, counted without a lock.
//!
//! A *row* counts the blocks that one thread has allocated with one stack in one phase of a cycle. Its
//! thread counts in it with plain stores; other threads that free such blocks count beside, with
//! atomic subtraction. So that only its owner ever adds to a row, and one that is empty stays so:
//! the owner may use it for another stack at any time.
//!
//! Rows lie in segments, and segments belong to a *book*. A thread has a book of its own for as long
//! as it runs; then the next new thread goes on in it. What a book has counted is never lost.

use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicI64, AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::layout_cache::Shapes;
use super::mapping::{map, unmap};
use super::row::{Amount, Mark, Now, Rest, Row, Stack, Whole, add};
use super::spin_lock::SpinLock;
use super::stack_cache::Met;
use super::unwind::Remembered;
use crate::model::block::StackId;

/// Number of a row; [`NO_ROW`] is none.
pub(super) type RowId = u32;

pub(super) const NO_ROW: RowId = 0;

const INDEX_BITS: u32 = 7;
const IN_SEGMENT: u32 = 1 << INDEX_BITS;

/// Bits that a row's number has at most: there are 16 million rows.
pub(super) const ROW_BITS: u32 = 24;

const SEGMENTS: usize = 1 << (ROW_BITS - INDEX_BITS);

/// Books at most: threads that run at the same time.
const BOOKS: usize = 1 << 13;

/// Rows that are looked at for an empty one before a new one is taken.
const LOOKED_AT: u32 = 16;

/// Segments that are mapped at once: so many first, and twice as many each time.
const FIRST_MAPPED: u32 = 2;
const MOST_MAPPED: u32 = 64;

/// A row that the running thread may add to: it is its book's.
#[derive(Clone, Copy)]
pub(super) struct OwnRow {
    row: &'static Row,
    id: RowId,
}

impl OwnRow {
    pub(super) fn id(self) -> RowId {
        self.id
    }

    /// Whether it still is that of a stack and a birth, and was not begun for another.
    #[inline(always)]
    pub(super) fn is(self, mark: Mark) -> bool {
        self.row.is(mark)
    }

    /// Counts blocks of the row's book.
    #[inline(always)]
    pub(super) fn count(self, book: &Book, amount: Amount) {
        self.row.count(amount);
        add!(book.allocations, amount.blocks as u64);
        add!(book.allocated_bytes, amount.bytes as u64);
        if amount.chunk != 0 {
            add!(book.chunks, amount.chunk);
        }
    }
}

/// Rows that lie together.
struct Segment {
    rows: AtomicPtr<Row>,
    rests: AtomicPtr<Rest>,
    /// Number of the book that they belong to.
    owner: AtomicU32,
    /// The next segment of the book; 0 behind the last.
    next: AtomicU32,
}

/// Sums of what a thread has done; all of a book's counters are written by its thread alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) live_bytes: u64,
    pub(crate) live_blocks: u64,
    /// Blocks ever recorded; a `realloc` records its block anew.
    pub(crate) allocations: u64,
    /// Bytes ever recorded.
    pub(crate) allocated_bytes: u64,
    /// Bytes that the live blocks would take in the C library's heap, rounding included.
    pub(crate) chunks: u64,
    /// Frees of blocks that were not in the ledger: allocated before it ran, or not recorded.
    pub(crate) unknown_frees: u64,
    /// Blocks that could not be recorded because the system gave the ledger no memory.
    pub(crate) refused: u64,
}

/// Where a thread counts. What each call counts in stands last, where it is not at a page's beginning: the
/// rows are there, and a processor that goes by the low bits of an address would take it for them.
#[repr(C, align(128))]
pub(super) struct Book {
    /// What its thread has met lately.
    pub(super) lately: UnsafeCell<Lately>,
    number: AtomicU32,
    /// The next free book, while it is free.
    next_free: AtomicU32,
    /// The newest of its segments, and how many rows of it are in use.
    newest: AtomicU32,
    filled: AtomicU32,
    /// The row that is looked at next for an empty one.
    hand: AtomicU32,
    /// Segments that are mapped and not used yet: where the next one is, how many there are, and how many were
    /// mapped with it.
    spare_rows: AtomicPtr<Row>,
    spare_rests: AtomicPtr<Rest>,
    spare: AtomicU32,
    mapped: AtomicU32,
    allocations: AtomicU64,
    allocated_bytes: AtomicU64,
    frees: AtomicU64,
    freed_bytes: AtomicU64,
    chunks: AtomicI64,
    unknown_frees: AtomicU64,
    refused: AtomicU64,
}

/// Stacks that a thread has met. Valid if all its bytes are zero: there are none.
#[repr(C)]
pub(super) struct Lately {
    pub(super) shapes: Shapes,
    pub(super) met: Met,
    /// The last that was walked.
    pub(super) stack: Remembered,
}

impl Lately {
    /// The next thread has another stack: nothing may be taken to lie where it lay.
    pub(super) fn forget(&mut self) {
        self.shapes.forget();
        self.stack.forget();
    }
}

impl Book {
    /// Memory for a segment; `None` if there is none.
    fn segment(&self) -> Option<(*mut Row, *mut Rest)> {
        const LEN: usize = IN_SEGMENT as usize;
        if self.spare.load(Relaxed) == 0 {
            let count = (2 * self.mapped.load(Relaxed)).clamp(FIRST_MAPPED, MOST_MAPPED);
            let rows: *mut Row = map(count as usize * LEN * size_of::<Row>()).cast();
            if rows.is_null() {
                return None;
            }
            let rests: *mut Rest = map(count as usize * LEN * size_of::<Rest>()).cast();
            if rests.is_null() {
                // SAFETY: just mapped for so many, and nobody has it.
                unsafe { unmap(rows.cast(), count as usize * LEN * size_of::<Row>()) };
                return None;
            }
            self.spare_rows.store(rows, Relaxed);
            self.spare_rests.store(rests, Relaxed);
            self.spare.store(count, Relaxed);
            self.mapped.store(count, Relaxed);
        }
        add!(self.spare, 1_u32.wrapping_neg());
        let (rows, rests) = (
            self.spare_rows.load(Relaxed),
            self.spare_rests.load(Relaxed),
        );
        // SAFETY: the next segment of the mapping, or its end.
        self.spare_rows.store(unsafe { rows.add(LEN) }, Relaxed);
        // SAFETY: as above.
        self.spare_rests.store(unsafe { rests.add(LEN) }, Relaxed);
        Some((rows, rests))
    }

    #[inline]
    pub(super) fn unknown_free(&self) {
        add!(self.unknown_frees, 1);
    }

    /// Blocks that could not be recorded.
    #[inline(always)]
    pub(super) fn refuse(&self, amount: Amount) {
        // By their parts: an amount that is handed on is kept in memory, also where all goes well.
        self.refuse_all(amount.blocks as u64, amount.bytes as u64);
    }

    #[cold]
    #[inline(never)]
    fn refuse_all(&self, blocks: u64, bytes: u64) {
        add!(self.allocations, blocks);
        add!(self.allocated_bytes, bytes);
        // They are not live for all that is known.
        add!(self.frees, blocks);
        add!(self.freed_bytes, bytes);
        add!(self.refused, blocks);
    }
}

pub(super) struct Rows {
    segments: [Segment; SEGMENTS],
    /// Segments that were taken: their numbers are `1..=taken`.
    taken: AtomicU32,
    books: [AtomicPtr<Book>; BOOKS],
    /// Books that exist, and the first free one; 0 is none.
    free_books: SpinLock<(u32, u32)>,
    /// Freed by threads that were inside a hook: a signal handler's.
    stray_blocks: AtomicI64,
    stray_bytes: AtomicI64,
    stray_chunks: AtomicI64,
}

impl Rows {
    pub(super) const fn new() -> Self {
        Self {
            segments: [const {
                Segment {
                    rows: AtomicPtr::new(core::ptr::null_mut()),
                    rests: AtomicPtr::new(core::ptr::null_mut()),
                    owner: AtomicU32::new(0),
                    next: AtomicU32::new(0),
                }
            }; SEGMENTS],
            taken: AtomicU32::new(0),
            books: [const { AtomicPtr::new(core::ptr::null_mut()) }; BOOKS],
            free_books: SpinLock::new((0, 0)),
            stray_blocks: AtomicI64::new(0),
            stray_bytes: AtomicI64::new(0),
            stray_chunks: AtomicI64::new(0),
        }
    }

    /// A book for the running thread; `None` if there are too many threads, or no memory.
    #[cold]
    pub(super) fn open(&self) -> Option<&Book> {
        let mut free = self.free_books.lock();
        let (count, first) = *free;
        if first != 0 {
            let book = self.book(first)?;
            free.1 = book.next_free.load(Relaxed);
            return Some(book);
        }
        let number = count + 1;
        let slot = self.books.get(number as usize)?;
        let book: *mut Book = map(size_of::<Book>()).cast();
        // SAFETY: a mapping of zero bytes, which are a book's counters at 0, or null.
        let opened = unsafe { book.as_ref()? };
        opened.number.store(number, Relaxed);
        slot.store(book, Release);
        free.0 = number;
        Some(opened)
    }

    /// Leaves the book of a thread that ends to the next one.
    pub(super) fn close(&self, book: &Book) {
        let mut free = self.free_books.lock();
        book.next_free.store(free.1, Relaxed);
        free.1 = book.number.load(Relaxed);
    }

    fn book(&self, number: u32) -> Option<&Book> {
        let at = self.books[number as usize].load(Acquire);
        // SAFETY: a published book is complete, and never unmapped.
        unsafe { at.as_ref() }
    }

    #[inline(always)]
    fn segment(&self, id: RowId) -> &Segment {
        debug_assert!(((id >> INDEX_BITS) as usize) < SEGMENTS);
        // SAFETY: ids are only given out of segments that there are.
        unsafe { self.segments.get_unchecked((id >> INDEX_BITS) as usize) }
    }

    #[inline(always)]
    fn row(&self, id: RowId) -> &Row {
        let rows = self.segment(id).rows.load(Acquire);
        // SAFETY: ids are only given out of published segments, which are never unmapped and have
        // so many rows.
        unsafe { &*rows.add((id & (IN_SEGMENT - 1)) as usize) }
    }

    fn rest(&self, id: RowId) -> &Rest {
        let rests = self.segment(id).rests.load(Acquire);
        // SAFETY: as above.
        unsafe { &*rests.add((id & (IN_SEGMENT - 1)) as usize) }
    }

    fn whole(&'static self, id: RowId) -> Whole {
        Whole {
            row: self.row(id),
            rest: self.rest(id),
        }
    }

    /// The row of a number that [`Rows::begin`] gave to the running thread.
    #[inline]
    pub(super) fn own(&'static self, id: RowId) -> OwnRow {
        OwnRow {
            id,
            row: self.row(id),
        }
    }

    /// The stack and birth of a row; `None` if another thread has just made it, and it is not seen yet.
    pub(super) fn key(&self, id: RowId) -> Option<(StackId, u32)> {
        let is_seen = !self.segment(id).rests.load(Acquire).is_null();
        is_seen.then(|| self.rest(id).of())
    }

    /// The stack whose blocks are counted in a row of the running thread's book.
    pub(super) fn stack(&self, id: RowId) -> Stack {
        self.rest(id).stack()
    }

    /// No stack leads to a row of the running thread's book any more: once it is empty, it may be used for any.
    pub(super) fn forget(&self, id: RowId, now: Now) {
        self.rest(id).forget(now);
    }

    /// A row of the book for blocks of a stack that are born now: the one that the stack had before, if that is
    /// empty, or another; `None` if there is no room.
    pub(super) fn begin(
        &'static self,
        book: &Book,
        stack: Stack,
        now: Now,
        before: Option<RowId>,
    ) -> Option<OwnRow> {
        let id = before
            .filter(|&id| self.whole(id).blocks() == 0)
            .or_else(|| self.empty(book, now))
            .or_else(|| self.fresh(book))?;
        self.whole(id).begin(stack, now);
        Some(self.own(id))
    }

    /// An empty row of the book, if one is found soon. One that is of use is left to its stack.
    fn empty(&'static self, book: &Book, now: Now) -> Option<RowId> {
        let is_left = |id| {
            let row = self.whole(id);
            !row.rest.is_of_use(now) && row.blocks() == 0
        };
        let mut found = None;
        let mut hand = book.hand.load(Relaxed);
        for _ in 0..LOOKED_AT {
            if hand == NO_ROW {
                hand = self.behind(book, NO_ROW);
            }
            if hand == NO_ROW || is_left(hand) {
                found = Some(hand).filter(|&id| id != NO_ROW);
                break;
            }
            hand = self.behind(book, hand);
        }
        // The next time the search begins behind it.
        let next = found.map_or(hand, |id| self.behind(book, id));
        book.hand.store(next, Relaxed);
        found
    }

    /// The row in use behind one, in the order of the book's segments, which is a ring; the first
    /// behind [`NO_ROW`].
    fn behind(&self, book: &Book, id: RowId) -> RowId {
        let newest = book.newest.load(Relaxed);
        let segment = id >> INDEX_BITS;
        let end = match segment == newest {
            true => book.filled.load(Relaxed),
            false => IN_SEGMENT,
        };
        let index = (id & (IN_SEGMENT - 1)) + 1;
        if id != NO_ROW && index < end {
            return id + 1;
        }
        let next = self.segments[segment as usize].next.load(Relaxed);
        match (id, next) {
            (NO_ROW, _) | (_, 0) => newest << INDEX_BITS,
            (_, next) => next << INDEX_BITS,
        }
    }

    /// A row that was never used.
    fn fresh(&self, book: &Book) -> Option<RowId> {
        let (newest, filled) = (book.newest.load(Relaxed), book.filled.load(Relaxed));
        if newest != 0 && filled < IN_SEGMENT {
            book.filled.store(filled + 1, Relaxed);
            return Some(newest << INDEX_BITS | filled);
        }
        // First, so that what cannot be had is not asked for.
        let next = |taken: u32| Some(taken + 1).filter(|&number| (number as usize) < SEGMENTS);
        next(self.taken.load(Relaxed))?;
        let (rows, rests) = book.segment()?;
        let number = self.taken.fetch_update(Relaxed, Relaxed, next).ok()? + 1;
        let segment = &self.segments[number as usize];
        segment.owner.store(book.number.load(Relaxed), Relaxed);
        segment.next.store(newest, Relaxed);
        segment.rests.store(rests, Release);
        segment.rows.store(rows, Release);
        book.newest.store(number, Relaxed);
        book.filled.store(1, Relaxed);
        Some(number << INDEX_BITS)
    }

    /// Takes a block off its row, whosever that is.
    #[inline(always)]
    pub(super) fn discount(&self, book: &Book, id: RowId, amount: Amount) {
        if self.segment(id).owner.load(Relaxed) == book.number.load(Relaxed) {
            self.row(id).discount(amount);
        } else {
            self.rest(id).discount(amount);
        }
        add!(book.frees, amount.blocks as u64);
        add!(book.freed_bytes, amount.bytes as u64);
        if amount.chunk != 0 {
            add!(book.chunks, -amount.chunk);
        }
    }

    /// The same for a thread whose own counters may be half written: a signal handler's.
    #[inline(always)]
    pub(super) fn discount_stray(&self, id: RowId, amount: Amount) {
        // By its parts, as where blocks are refused.
        self.discount_parts(id, amount.blocks, amount.bytes, amount.chunk);
    }

    #[cold]
    #[inline(never)]
    fn discount_parts(&self, id: RowId, blocks: i32, bytes: i64, chunk: i64) {
        let amount = Amount {
            blocks,
            bytes,
            chunk,
        };
        self.rest(id).discount(amount);
        self.stray_blocks
            .fetch_sub(i64::from(amount.blocks), Relaxed);
        self.stray_bytes.fetch_sub(amount.bytes, Relaxed);
        self.stray_chunks.fetch_sub(amount.chunk, Relaxed);
    }

    /// Bytes that a block of a row has on the whole: for one whose free was not seen.
    #[cold]
    pub(super) fn mean_size(&'static self, id: RowId) -> i64 {
        let row = self.whole(id);
        (row.bytes() / i64::from(row.blocks()).max(1)).max(0)
    }

    pub(super) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        let mut live_blocks = self.stray_blocks.load(Relaxed);
        let mut live_bytes = self.stray_bytes.load(Relaxed);
        let mut chunks = self.stray_chunks.load(Relaxed);
        let books = self.free_books.lock().0;
        for book in (1..=books).filter_map(|number| self.book(number)) {
            let [allocations, allocated_bytes, frees, freed_bytes] = [
                &book.allocations,
                &book.allocated_bytes,
                &book.frees,
                &book.freed_bytes,
            ]
            .map(|counter| counter.load(Relaxed));
            live_blocks += allocations.wrapping_sub(frees) as i64;
            live_bytes += allocated_bytes.wrapping_sub(freed_bytes) as i64;
            chunks += book.chunks.load(Relaxed);
            sum.allocations += allocations;
            sum.allocated_bytes += allocated_bytes;
            sum.unknown_frees += book.unknown_frees.load(Relaxed);
            sum.refused += book.refused.load(Relaxed);
        }
        let positive = |n: i64| u64::try_from(n).unwrap_or(0);
        sum.live_blocks = positive(live_blocks);
        sum.live_bytes = positive(live_bytes);
        sum.chunks = positive(chunks);
        sum
    }

    /// Calls `visit` with the stack, birth, bytes and blocks of every row that is not empty; several
    /// may be of the same stack and birth. Other threads may allocate meanwhile.
    pub(super) fn for_each(&'static self, mut visit: impl FnMut(StackId, u32, u64, u64)) {
        let last = self.taken.load(Acquire).min(SEGMENTS as u32 - 1);
        for number in 1..=last {
            if self.segments[number as usize].rows.load(Acquire).is_null() {
                continue;
            }
            for index in 0..IN_SEGMENT {
                let id = number << INDEX_BITS | index;
                let row = self.whole(id);
                // One that is just begun anew is looked at once more.
                let seen = (0..LOOKED_AT).find_map(|_| row.seen());
                if let Some((stack_id, birth, bytes, blocks)) = seen
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
impl Rows {
    /// A row for blocks of a stack, born in the first cycle.
    pub(super) fn of_stack(&'static self, book: &Book, stack_id: StackId) -> OwnRow {
        self.begin(book, Stack::of_stack(stack_id), Now::at(8), None)
            .expect("there is room")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::block::Birth;
    use std::collections::BTreeMap;

    type Sums = BTreeMap<(StackId, u32), (u64, u64)>;

    fn sums(rows: &'static Rows) -> Sums {
        let mut sums = Sums::new();
        rows.for_each(|stack_id, birth, bytes, blocks| {
            let sum = sums.entry((stack_id, birth)).or_default();
            *sum = (sum.0 + bytes, sum.1 + blocks);
        });
        sums
    }

    #[test]
    fn rows_equal_plain_sums_after_any_sequence() {
        static ROWS: Rows = Rows::new();
        // Three threads' books, used in turn; blocks are freed through any of them.
        let books: Vec<&Book> = (0..3).map(|_| ROWS.open().unwrap()).collect();
        let mut random = crate::base::random::Random::new(11);
        let mut live: Vec<(RowId, usize, StackId, u32)> = Vec::new();
        let mut known: BTreeMap<(usize, StackId), OwnRow> = BTreeMap::new();
        for step in 0..60_000_u32 {
            let which = random.below(3) as usize;
            if random.below(100) < 52 {
                let now = Now {
                    birth: step / 5_000,
                    epoch: step / 7_000,
                };
                let stack = Stack::of_stack(random.below(200) as u32);
                let before = known.get(&(which, stack.stack_id)).copied();
                let row = before
                    .filter(|row| row.is(Mark::of(stack.key, now.birth)))
                    .or_else(|| {
                        let own = before.filter(|row| ROWS.stack(row.id()) == stack);
                        ROWS.begin(books[which], stack, now, own.map(OwnRow::id))
                    })
                    .unwrap();
                assert!(row.is(Mark::of(stack.key, now.birth)));
                assert_eq!(ROWS.key(row.id()), Some((stack.stack_id, now.birth)));
                known.insert((which, stack.stack_id), row);
                let size = random.below(5_000) as usize;
                row.count(books[which], Amount::of_block(size, 16));
                live.push((row.id(), size, stack.stack_id, now.birth));
            } else if !live.is_empty() {
                let (id, size, ..) = live.swap_remove(random.index(live.len()));
                match random.below(10) {
                    0 => ROWS.discount_stray(id, Amount::of_block(size, 16)),
                    _ => ROWS.discount(books[which], id, Amount::of_block(size, 16)),
                }
            }
        }
        let mut truth = Sums::new();
        for &(_, size, stack_id, birth) in &live {
            let sum = truth.entry((stack_id, birth)).or_default();
            *sum = (sum.0 + size as u64, sum.1 + 1);
        }
        // Not `assert_eq`: they are long.
        assert!(sums(&ROWS) == truth);
        let totals = ROWS.totals();
        assert_eq!(totals.live_blocks, live.len() as u64);
        assert_eq!(totals.chunks, 16 * live.len() as u64);
        let bytes: usize = live.iter().map(|l| l.1).sum();
        assert_eq!(totals.live_bytes, bytes as u64);
    }

    #[test]
    fn a_census_sees_no_block_of_a_row_that_is_begun_anew() {
        static ROWS: Rows = Rows::new();
        std::thread::scope(|scope| {
            let owner = scope.spawn(|| {
                let book = ROWS.open().unwrap();
                let other = ROWS.open().unwrap();
                let mut row = None;
                for number in 0..200_000 {
                    // Each time for another stack: never more than one block is live.
                    let begun = ROWS.begin(book, Stack::of_stack(number % 2), Now::at(number), row);
                    let begun = begun.unwrap();
                    row = Some(begun.id());
                    for _ in 0..20 {
                        begun.count(book, Amount::of_block(8, 0));
                        ROWS.discount(other, begun.id(), Amount::of_block(8, 0));
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
    fn what_was_in_use_lately_is_left_to_its_stack() {
        static ROWS: Rows = Rows::new();
        let book = ROWS.open().unwrap();
        let cycle = |cycle| Now::at(Birth { cycle, phase: 1 }.packed());
        let begin = |number, now| {
            ROWS.begin(book, Stack::of_stack(number), now, None)
                .unwrap()
                .id()
        };
        let first = begin(1, cycle(1));
        assert_ne!(begin(2, cycle(1)), first);
        assert_ne!(begin(3, cycle(2)), first);
        // It was not in use for a cycle.
        assert_eq!(begin(4, cycle(3)), first);
        let again = Now {
            epoch: 1,
            ..cycle(3)
        };
        let taken: Vec<RowId> = (5..8).map(|number| begin(number, again)).collect();
        assert!(taken.contains(&first), "no stack leads to it any more");
        let fresh = begin(9, again);
        assert!(!taken.contains(&fresh));
        ROWS.forget(taken[1], again);
        let next: Vec<RowId> = (10..14).map(|number| begin(number, again)).collect();
        assert_eq!(next.iter().filter(|id| taken.contains(id)).count(), 1);
    }

    #[test]
    fn what_is_empty_is_used_again() {
        static ROWS: Rows = Rows::new();
        let book = ROWS.open().unwrap();
        let mut highest = 0;
        let mut own = None;
        for birth in 0..20_000 {
            // One stack in all cycles, and one that is new in each.
            let rows = [
                (Stack::of_stack(7), own),
                (Stack::of_stack(100 + birth), None),
            ]
            .map(|(stack, before)| ROWS.begin(book, stack, Now::at(birth), before).unwrap());
            own = Some(rows[0].id());
            for row in rows {
                row.count(book, Amount::of_block(8, 0));
                ROWS.discount(book, row.id(), Amount::of_block(8, 0));
                highest = highest.max(row.id());
            }
        }
        assert!(highest < 4 * IN_SEGMENT, "{highest}");
        assert_eq!(sums(&ROWS), Sums::new());
    }

    #[test]
    fn a_book_goes_on_where_its_thread_has_ended() {
        static ROWS: Rows = Rows::new();
        let first = ROWS.open().unwrap();
        let row = ROWS
            .begin(first, Stack::of_stack(1), Now::at(1), None)
            .unwrap();
        row.count(first, Amount::of_block(100, 0));
        ROWS.close(first);
        let second = ROWS.open().unwrap();
        assert!(std::ptr::eq(first, second));
        ROWS.discount(second, row.id(), Amount::of_block(100, 0));
        assert_eq!(ROWS.totals().live_blocks, 0);
        assert!(!std::ptr::eq(second, ROWS.open().unwrap()));
    }

    #[test]
    fn threads_free_what_others_have_allocated() {
        static ROWS: Rows = Rows::new();
        let (sender, receiver) = std::sync::mpsc::channel::<(RowId, usize)>();
        std::thread::scope(|scope| {
            for thread in 0..3_u32 {
                let sender = sender.clone();
                scope.spawn(move || {
                    let book = ROWS.open().unwrap();
                    let mut row = None;
                    for i in 0..20_000_u32 {
                        if i.is_multiple_of(1000) {
                            let before = row.map(OwnRow::id);
                            row = ROWS.begin(
                                book,
                                Stack::of_stack(thread),
                                Now::at(i / 1000),
                                before,
                            );
                        }
                        let row = row.unwrap();
                        row.count(book, Amount::of_block(24, 32));
                        sender.send((row.id(), 24)).unwrap();
                    }
                    ROWS.close(book);
                });
            }
            drop(sender);
            scope.spawn(move || {
                let book = ROWS.open().unwrap();
                for (id, size) in receiver {
                    ROWS.discount(book, id, Amount::of_block(size, 32));
                }
            });
        });
        assert_eq!(sums(&ROWS), Sums::new());
        let totals = ROWS.totals();
        assert_eq!(
            (totals.live_blocks, totals.live_bytes, totals.chunks),
            (0, 0, 0)
        );
        assert_eq!(totals.allocations, 60_000);
    }
}
