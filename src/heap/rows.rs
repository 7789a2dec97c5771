//! Live blocks and bytes of each site and birth, counted without a lock.
//!
//! A *row* counts the blocks that one thread has allocated at one site in one phase of a cycle. Its
//! thread counts in it with plain stores; other threads that free such blocks count beside, with
//! atomic subtraction. So that only its owner ever adds to a row, and one that is empty stays so:
//! the owner may use it for another site at any time.
//!
//! Rows lie in segments, and segments belong to a *book*. A thread has a book of its own for as long
//! as it runs; then the next new thread goes on in it. What a book has counted is never lost.

use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::mapped::map;
use super::met::Met;
use super::shapes::Shapes;
use super::sites::SiteId;
use super::spin::Spin;
use super::unwind::Remembered;

/// Number of a row; [`NO_ROW`] is none.
pub(super) type RowId = u32;

pub(super) const NO_ROW: RowId = 0;

const INDEX_BITS: u32 = 7;
const IN_SEGMENT: u32 = 1 << INDEX_BITS;

/// Segments at most: 16 million rows.
const SEGMENTS: usize = 1 << 17;

/// Books at most: threads that run at the same time.
const BOOKS: usize = 1 << 13;

/// Rows that are looked at for an empty one before a new one is taken.
const LOOKED_AT: u32 = 16;

/// What a book knows of sites is in pages of so many, made when they are needed.
const PAGE_BITS: u32 = 8;
const PAGES: usize = 1 << 16;

/// Of each site the row that was last begun for it.
type Page = [AtomicU32; 1 << PAGE_BITS];

/// Adds to a counter that only this thread writes.
macro_rules! add {
    ($counter:expr, $by:expr) => {{
        let counter = &$counter;
        counter.store(counter.load(Relaxed).wrapping_add($by), Relaxed)
    }};
}

/// What is added to a row, or taken off it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) blocks: i32,
    pub(super) bytes: i64,
    /// What they take in the C library's heap.
    pub(super) chunk: i64,
}

impl Amount {
    /// One block.
    #[inline(always)]
    pub(super) fn of_block(size: usize, chunk: u64) -> Self {
        Self {
            blocks: 1,
            bytes: size as i64,
            chunk: chunk as i64,
        }
    }
}

/// Blocks of one site and birth, allocated by one thread.
#[repr(C, align(32))]
pub(super) struct Row {
    site: AtomicU32,
    /// As the heap's clock has it: `cycle << 3 | phase`.
    birth: AtomicU32,
    /// Allocated less freed by the owner.
    own_blocks: AtomicI32,
    /// Freed by others: 0 or less.
    other_blocks: AtomicI32,
    own_bytes: AtomicI64,
    other_bytes: AtomicI64,
}

impl Row {
    #[inline(always)]
    fn key(&self) -> (SiteId, u32) {
        (self.site.load(Relaxed), self.birth.load(Relaxed))
    }

    fn blocks(&self) -> i32 {
        // The owner's first: what others have freed since makes it less, never more than it was.
        let own = self.own_blocks.load(Acquire);
        own.wrapping_add(self.other_blocks.load(Acquire))
    }

    fn bytes(&self) -> i64 {
        let own = self.own_bytes.load(Acquire);
        own.wrapping_add(self.other_bytes.load(Acquire))
    }

    /// Makes an empty row of its owner's that of another site or birth.
    fn begin(&self, site: SiteId, birth: u32) {
        self.own_blocks.store(0, Relaxed);
        self.own_bytes.store(0, Relaxed);
        self.other_blocks.store(0, Relaxed);
        self.other_bytes.store(0, Relaxed);
        self.site.store(site, Relaxed);
        self.birth.store(birth, Release);
    }
}

/// A row that the running thread may add to: it is its book's.
#[derive(Clone, Copy)]
pub(super) struct OwnRow {
    id: RowId,
    row: &'static Row,
}

impl OwnRow {
    pub(super) fn id(self) -> RowId {
        self.id
    }

    /// Whether it still is that of a site and a birth, and was not begun for another.
    #[inline(always)]
    pub(super) fn is(self, site: SiteId, birth: u32) -> bool {
        self.key() == (site, birth)
    }

    #[inline(always)]
    pub(super) fn key(self) -> (SiteId, u32) {
        self.row.key()
    }

    /// Counts blocks of the row's book.
    #[inline(always)]
    pub(super) fn count(self, book: &Book, amount: Amount) {
        add!(self.row.own_blocks, amount.blocks);
        add!(self.row.own_bytes, amount.bytes);
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
    /// Pages of the newest row of each site.
    sites: [AtomicPtr<Page>; PAGES],
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
    /// The row that was last begun for a site; `None` if there is no memory for its number.
    #[inline]
    fn newest(&self, site: SiteId) -> Option<&AtomicU32> {
        let slot = self.sites.get((site >> PAGE_BITS) as usize)?;
        let mut page = slot.load(Relaxed);
        if page.is_null() {
            page = map(size_of::<Page>()).cast();
            slot.store(page, Relaxed);
        }
        // SAFETY: only the book's thread reads and makes them; a mapping of zero bytes, which are
        // numbers of no row, or null.
        let page = unsafe { page.as_ref()? };
        Some(&page[site as usize & (page.len() - 1)])
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
    free_books: Spin<(u32, u32)>,
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
                    owner: AtomicU32::new(0),
                    next: AtomicU32::new(0),
                }
            }; SEGMENTS],
            taken: AtomicU32::new(0),
            books: [const { AtomicPtr::new(core::ptr::null_mut()) }; BOOKS],
            free_books: Spin::new((0, 0)),
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

    /// The row of a number that [`Rows::of`] gave to the running thread.
    #[inline]
    pub(super) fn own(&'static self, id: RowId) -> OwnRow {
        OwnRow {
            id,
            row: self.row(id),
        }
    }

    /// The site and birth of a row.
    pub(super) fn key(&self, id: RowId) -> (SiteId, u32) {
        self.row(id).key()
    }

    /// The book's row of a site and a birth, begun if there is none; `None` if there is no room.
    pub(super) fn of(&'static self, book: &Book, site: SiteId, birth: u32) -> Option<OwnRow> {
        let newest = book.newest(site)?;
        let id = newest.load(Relaxed);
        if id != NO_ROW {
            let row = self.row(id);
            if row.key() == (site, birth) {
                return Some(OwnRow { id, row });
            }
        }
        let begun = self.begin(book, site, birth)?;
        newest.store(begun.id, Relaxed);
        Some(begun)
    }

    /// A row of the book for a site and a birth; `None` if there is no room.
    fn begin(&'static self, book: &Book, site: SiteId, birth: u32) -> Option<OwnRow> {
        let id = self.empty(book, birth).or_else(|| self.fresh(book))?;
        let row = self.row(id);
        row.begin(site, birth);
        Some(OwnRow { id, row })
    }

    /// An empty row of the book, if one is found soon. One of this birth is left to its site, which
    /// is likely to allocate again.
    fn empty(&self, book: &Book, birth: u32) -> Option<RowId> {
        let is_left = |id| {
            let row = self.row(id);
            row.blocks() == 0 && row.birth.load(Relaxed) != birth
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
        let number = self.taken.fetch_add(1, Relaxed) + 1;
        let segment = self.segments.get(number as usize)?;
        let rows: *mut Row = map(size_of::<Row>() * IN_SEGMENT as usize).cast();
        if rows.is_null() {
            return None;
        }
        segment.owner.store(book.number.load(Relaxed), Relaxed);
        segment.next.store(newest, Relaxed);
        segment.rows.store(rows, Release);
        book.newest.store(number, Relaxed);
        book.filled.store(1, Relaxed);
        Some(number << INDEX_BITS)
    }

    /// Takes a block off its row, whosever that is.
    #[inline(always)]
    pub(super) fn discount(&self, book: &Book, id: RowId, amount: Amount) {
        let segment = self.segment(id);
        let row = self.row(id);
        if segment.owner.load(Relaxed) == book.number.load(Relaxed) {
            add!(row.own_bytes, -amount.bytes);
            add!(row.own_blocks, -amount.blocks);
        } else {
            row.other_bytes.fetch_sub(amount.bytes, Relaxed);
            row.other_blocks.fetch_sub(amount.blocks, Release);
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
        let row = self.row(id);
        row.other_bytes.fetch_sub(amount.bytes, Relaxed);
        row.other_blocks.fetch_sub(amount.blocks, Release);
        self.stray_blocks
            .fetch_sub(i64::from(amount.blocks), Relaxed);
        self.stray_bytes.fetch_sub(amount.bytes, Relaxed);
        self.stray_chunks.fetch_sub(amount.chunk, Relaxed);
    }

    /// Bytes that a block of a row has on the whole: for one whose free was not seen.
    #[cold]
    pub(super) fn mean_size(&self, id: RowId) -> i64 {
        let row = self.row(id);
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

    /// Calls `visit` with the site, birth, bytes and blocks of every row that is not empty; several
    /// may be of the same site and birth. Other threads may allocate meanwhile.
    pub(super) fn for_each(&self, mut visit: impl FnMut(SiteId, u32, u64, u64)) {
        let last = self.taken.load(Acquire).min(SEGMENTS as u32 - 1);
        for number in 1..=last {
            if self.segments[number as usize].rows.load(Acquire).is_null() {
                continue;
            }
            for index in 0..IN_SEGMENT {
                let id = number << INDEX_BITS | index;
                let row = self.row(id);
                // Begun anew meanwhile: seen once more.
                for _ in 0..8 {
                    let before = row.key();
                    let (blocks, bytes) = (row.blocks(), row.bytes());
                    if row.key() != before {
                        continue;
                    }
                    if blocks > 0 {
                        let bytes = u64::try_from(bytes).unwrap_or(0);
                        visit(before.0, before.1, bytes, blocks as u64);
                    }
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Sums = BTreeMap<(SiteId, u32), (u64, u64)>;

    fn sums(rows: &Rows) -> Sums {
        let mut sums = Sums::new();
        rows.for_each(|site, birth, bytes, blocks| {
            let sum = sums.entry((site, birth)).or_default();
            *sum = (sum.0 + bytes, sum.1 + blocks);
        });
        sums
    }

    #[test]
    fn rows_equal_plain_sums_after_any_sequence() {
        static ROWS: Rows = Rows::new();
        // Three threads' books, used in turn; blocks are freed through any of them.
        let books: Vec<&Book> = (0..3).map(|_| ROWS.open().unwrap()).collect();
        let mut random = crate::random::Random::new(11);
        let mut live: Vec<(RowId, usize, SiteId, u32)> = Vec::new();
        let mut known: BTreeMap<(usize, SiteId, u32), OwnRow> = BTreeMap::new();
        for step in 0..60_000_u32 {
            let which = random.below(3) as usize;
            if random.below(100) < 52 {
                let (site, birth) = (random.below(200) as SiteId, step / 5_000);
                let row = match known.get(&(which, site, birth)) {
                    Some(&row) if row.is(site, birth) => row,
                    _ => ROWS.of(books[which], site, birth).unwrap(),
                };
                known.insert((which, site, birth), row);
                let size = random.below(5_000) as usize;
                row.count(books[which], Amount::of_block(size, 16));
                live.push((row.id(), size, site, birth));
            } else if !live.is_empty() {
                let (id, size, ..) = live.swap_remove(random.index(live.len()));
                match random.below(10) {
                    0 => ROWS.discount_stray(id, Amount::of_block(size, 16)),
                    _ => ROWS.discount(books[which], id, Amount::of_block(size, 16)),
                }
            }
        }
        let mut truth = Sums::new();
        for &(_, size, site, birth) in &live {
            let sum = truth.entry((site, birth)).or_default();
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
    fn a_site_goes_on_in_its_row() {
        static ROWS: Rows = Rows::new();
        let book = ROWS.open().unwrap();
        // Blocks that live for an instant, at more sites than anything remembers.
        let row = |site, birth| {
            let row = ROWS.of(book, site, birth).unwrap();
            row.count(book, Amount::of_block(8, 0));
            ROWS.discount(book, row.id(), Amount::of_block(8, 0));
            row.id()
        };
        let sites = 1..=3 * IN_SEGMENT;
        let first: Vec<RowId> = sites.clone().map(|site| row(site, 8)).collect();
        for _ in 0..5 {
            assert!(sites.clone().map(|site| row(site, 8)).eq(first.clone()));
        }
        // The next phase takes what the one before has left.
        let highest = sites.map(|site| row(site, 9)).max().unwrap();
        assert!(highest <= first.iter().max().unwrap() + 1, "{highest}");
    }

    #[test]
    fn what_is_empty_is_used_again() {
        static ROWS: Rows = Rows::new();
        let book = ROWS.open().unwrap();
        let mut highest = 0;
        for birth in 0..10_000 {
            let row = ROWS.of(book, 7, birth).unwrap();
            row.count(book, Amount::of_block(8, 0));
            ROWS.discount(book, row.id(), Amount::of_block(8, 0));
            highest = highest.max(row.id());
        }
        assert!(highest < 4 * IN_SEGMENT, "{highest}");
        assert_eq!(sums(&ROWS), Sums::new());
    }

    #[test]
    fn a_book_goes_on_where_its_thread_has_ended() {
        static ROWS: Rows = Rows::new();
        let first = ROWS.open().unwrap();
        let row = ROWS.of(first, 1, 1).unwrap();
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
                    for i in 0..20_000_u32 {
                        let row = ROWS.of(book, thread, i / 1000).unwrap();
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
