//! What a thread keeps for its hooks: a guard against re-entry, its stack's bounds, its last
//! stack, and the sites it met lately.
//!
//! All of it is constant-initialised and has no destructor, so that it needs no allocation and
//! works in a thread's first instructions as well as in its last TLS destructor.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{
    AtomicI64, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

use super::ledger::Ledger;
use super::rows::{Book, OwnRow};
use super::sites::{NO_SITE, SiteId, Sites};
use super::stacks;
use super::unwind::{self, Bounds, Registers, Remaining, Remembered, Unwinder, Walk, unwinder};

/// Entries of a thread's cache of sites; a power of two.
const MEMO: usize = 256;

/// What was met lately: the hash of a stack, its site, and the row that blocks of it were counted in.
#[derive(Clone, Copy)]
struct Met {
    hash: u64,
    site: SiteId,
    row: Option<OwnRow>,
}

const NOTHING: Met = Met {
    hash: 0,
    site: NO_SITE,
    row: None,
};

/// A thread's live bytes are added to the process's in steps of this many bytes, so that threads
/// do not fight over one counter. The peak is exact to this much for each running thread.
const PEAK_STEP: i64 = 4096;

/// One call in so many is timed.
const TIMED_EVERY: u32 = 256;

/// Live bytes of all threads and their highest value, both to [`PEAK_STEP`].
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// Nanoseconds of the timed calls, and how many they were.
static TIMED_NANOS: AtomicU64 = AtomicU64::new(0);
static TIMED_CALLS: AtomicU64 = AtomicU64::new(0);

/// Whether the thread's calls are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    No,
    /// It is inside a hook: a signal handler that allocates, or an allocator beneath that
    /// allocates through itself.
    InHook,
    /// The tool works for itself.
    Paused,
}

pub(super) struct Thread {
    busy: Cell<Busy>,
    bounds: Cell<Bounds>,
    live_step: Cell<i64>,
    /// Calls until one is timed, that one included; 0 in it.
    calls_to_time: Cell<u32>,
    /// When the timed call began.
    started: Cell<u64>,
    book: Cell<Option<&'static Book>>,
    stack: UnsafeCell<Remembered>,
    memo: UnsafeCell<[Met; MEMO]>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            busy: Cell::new(Busy::No),
            bounds: Cell::new(Bounds::UNKNOWN),
            live_step: Cell::new(0),
            calls_to_time: Cell::new(TIMED_EVERY),
            started: Cell::new(0),
            book: Cell::new(None),
            stack: UnsafeCell::new(Remembered::new()),
            memo: UnsafeCell::new([NOTHING; MEMO]),
        }
    };
}

/// This thread's state, unless its calls are not to be recorded now; then why not. It must be left
/// again with [`Thread::leave`]. No closure: what is recorded is the stack of the caller.
#[inline(always)]
pub(super) fn enter() -> Result<&'static Thread, Busy> {
    let thread = THREAD.with(core::ptr::from_ref);
    // SAFETY: a thread-local without a destructor lives as long as its thread, which this is, and
    // no hook hands it to another (tests: `a_hook_is_not_entered_twice`).
    let thread = unsafe { &*thread };
    let busy = thread.busy.get();
    if busy != Busy::No {
        return Err(busy);
    }
    thread.busy.set(Busy::InHook);
    // A handler on this thread must see the flag before anything that follows is half done.
    compiler_fence(SeqCst);
    Ok(thread)
}

/// Keeps this thread's allocations out of the ledger until dropped: for the tool's own work in
/// the measured process.
pub(crate) struct Paused(Busy);

pub(crate) fn pause() -> Paused {
    Paused(THREAD.with(|thread| thread.busy.replace(Busy::Paused)))
}

impl Drop for Paused {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.busy.set(self.0));
    }
}

/// The key whose destructor runs when a thread ends; [`NO_KEY`] if there is none.
static KEY: AtomicU32 = AtomicU32::new(NO_KEY);
const NO_KEY: u32 = u32::MAX;

/// Makes the books of threads that end known; before the first of them is opened.
pub(super) fn close_books_of_threads_that_end() {
    let mut key = 0;
    // SAFETY: fills a local; the destructor is a plain function that lives for ever.
    if unsafe { libc::pthread_key_create(&mut key, Some(close_book)) } == 0 {
        KEY.store(key, Relaxed);
    }
}

/// Runs when a thread ends. If it allocates later on, in another destructor, it opens a book again,
/// and this runs again.
unsafe extern "C" fn close_book(_: *mut libc::c_void) {
    // Inside the guard: a signal handler on this thread must not want the lock that it takes.
    let Ok(thread) = enter() else { return };
    if let Some(book) = thread.book.take() {
        super::LEDGER.rows.close(book);
        // Its rows are another thread's from now on.
        // SAFETY: as in `row`.
        unsafe { *thread.memo.get() = [NOTHING; MEMO] };
    }
    thread.leave();
}

impl Thread {
    /// Ends what [`enter`] has begun.
    #[inline(always)]
    pub(super) fn leave(&self) {
        compiler_fence(SeqCst);
        self.busy.set(Busy::No);
    }

    /// Where this thread counts; `None` if there was no room for it.
    #[inline]
    pub(super) fn book(&self, ledger: &'static Ledger) -> Option<&'static Book> {
        match self.book.get() {
            Some(book) => Some(book),
            None => self.open_book(ledger),
        }
    }

    #[cold]
    fn open_book(&self, ledger: &'static Ledger) -> Option<&'static Book> {
        let book = ledger.rows.open()?;
        self.book.set(Some(book));
        let key = KEY.load(Relaxed);
        if key != NO_KEY {
            let not_null = core::ptr::from_ref(book).cast();
            // SAFETY: the key was made, and any value but null makes its destructor run. It may
            // call the C library's allocator, never Rust's.
            unsafe { libc::pthread_setspecific(key, not_null) };
        }
        Some(book)
    }

    /// The row of blocks that are allocated now by the running function's stack; `None` if there is
    /// no room for one. Inlined into the hook, whose frame the stack begins with.
    #[inline(always)]
    pub(super) fn row(
        &self,
        ledger: &'static Ledger,
        book: &Book,
        sites: &Sites,
        birth: u32,
    ) -> Option<OwnRow> {
        // SAFETY: a thread's state is reached only by that thread and, because of `busy`, by one
        // hook at a time (tests: `a_hook_is_not_entered_twice`).
        let (stack, memo) = unsafe { (&mut *self.stack.get(), &mut *self.memo.get()) };
        let walk = self.walk(stack);
        let home = walk.hash as usize % MEMO;
        // In one of two places, so that two stacks that are met in turn do not drive each other out.
        let mut place = home;
        if memo[home].hash != walk.hash {
            place = home ^ 1;
            if memo[place].hash != walk.hash {
                let site = match sites.find(walk.hash) {
                    _ if walk.hash == 0 => NO_SITE,
                    Some((site, place)) => {
                        ledger.rows.foresee(book, site, place, sites);
                        site
                    }
                    None => sites.intern(walk.hash, walk.cut, stack.stack()),
                };
                memo[place] = memo[home];
                place = home;
                memo[home] = Met {
                    hash: walk.hash,
                    site,
                    row: None,
                };
            }
        }
        let met = &mut memo[place];
        match met.row {
            Some(row) if row.is(met.site, birth) => Some(row),
            _ => {
                met.row = ledger.rows.of(book, met.site, birth);
                met.row
            }
        }
    }

    /// Walks the running function's stack: inlined into the hook, whose frame the walk begins with.
    #[inline(always)]
    fn walk(&self, stack: &mut Remembered) -> Walk {
        let (sp, bp) = unwind::stack_and_frame();
        if unwinder() == Unwinder::FramePointers && self.bounds.get().is_live(sp, bp) {
            // SAFETY: all frames that are remembered were inside these bounds.
            if let Some(hash) = unsafe { stack.walk_on(bp, &Remaining) } {
                return Walk { hash, cut: false };
            }
        }
        self.walk_anew(stack, unwind::registers())
    }

    #[inline(never)]
    fn walk_anew(&self, stack: &mut Remembered, here: Registers) -> Walk {
        let mut bounds = self.bounds.get();
        if bounds == Bounds::UNKNOWN {
            bounds = Bounds::of_this_thread();
            self.bounds.set(bounds);
            stacks::remember(bounds);
        }
        match unwinder() {
            Unwinder::FramePointers => stack.walk_anew(here.bp, bounds.reader(here.bp)),
            Unwinder::Cfi => stack.walk_by_cfi(here, bounds.reader(here.sp)),
        }
    }

    /// Adds to the live bytes that the peak is taken from.
    #[inline]
    pub(super) fn grow(&self, bytes: i64) {
        let step = self.live_step.get() + bytes;
        self.live_step.set(step);
        if step >= PEAK_STEP {
            self.take_step();
        }
    }

    /// Takes off them.
    #[inline]
    pub(super) fn shrink(&self, bytes: i64) {
        let step = self.live_step.get() - bytes;
        self.live_step.set(step);
        if step <= -PEAK_STEP {
            self.take_step();
        }
    }

    #[inline(never)]
    fn take_step(&self) {
        let step = self.live_step.replace(0);
        let live = LIVE.fetch_add(step, Relaxed) + step;
        if step > 0 && live > PEAK.load(Relaxed) {
            PEAK.fetch_max(live, Relaxed);
        }
    }

    /// Starts the clock at one call in [`TIMED_EVERY`].
    #[inline]
    pub(super) fn start_clock(&self) {
        let left = self.calls_to_time.get().wrapping_sub(1);
        self.calls_to_time.set(left);
        if left == 0 {
            self.started.set(now_nanos());
        }
    }

    /// Stops it, where it was started.
    #[inline]
    pub(super) fn stop_clock(&self) {
        if self.calls_to_time.get() == 0 {
            self.add_timed();
        }
    }

    #[cold]
    fn add_timed(&self) {
        self.calls_to_time.set(TIMED_EVERY);
        let nanos = now_nanos().saturating_sub(self.started.get());
        TIMED_NANOS.fetch_add(nanos, Relaxed);
        TIMED_CALLS.fetch_add(1, Relaxed);
    }
}

#[cold]
fn now_nanos() -> u64 {
    // SAFETY: fills a local; the monotonic clock needs no lock and no allocation.
    let mut time: libc::timespec = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Calls that were timed, and the nanoseconds that all threads have spent inside the hooks,
/// allocator included, estimated from them.
pub(super) fn timed() -> (u64, u64) {
    let nanos = TIMED_NANOS.load(Relaxed) * u64::from(TIMED_EVERY);
    (TIMED_CALLS.load(Relaxed), nanos)
}

/// Highest live bytes since [`restart_peak`], to [`PEAK_STEP`] for each running thread.
pub(super) fn peak_bytes() -> u64 {
    PEAK.load(Relaxed).max(0) as u64
}

/// Starts a new peak from `live_bytes`, the exact live bytes of now.
pub(super) fn restart_peak(live_bytes: u64) {
    THREAD.with(|thread| thread.live_step.set(0));
    LIVE.store(live_bytes as i64, Relaxed);
    PEAK.store(live_bytes as i64, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::rows::Amount;

    #[test]
    fn a_hook_is_not_entered_twice() {
        let thread = enter().ok().unwrap();
        assert_eq!(enter().err(), Some(Busy::InHook));
        thread.leave();
        assert_eq!(is_busy(), None);
    }

    /// Why this thread's calls are not recorded, if they are not.
    fn is_busy() -> Option<Busy> {
        match enter() {
            Ok(thread) => {
                thread.leave();
                None
            }
            Err(busy) => Some(busy),
        }
    }

    #[test]
    fn a_pause_ends_where_it_was_begun() {
        let outer = pause();
        drop(pause());
        assert_eq!(is_busy(), Some(Busy::Paused));
        drop(outer);
        assert_eq!(is_busy(), None);
    }

    #[test]
    fn the_same_place_is_the_same_row_in_a_phase() {
        static SITES: Sites = Sites::new();
        static LEDGER: Ledger = Ledger::new();
        #[inline(never)]
        fn here(birth: u32) -> OwnRow {
            let thread = enter().ok().unwrap();
            let book = LEDGER.rows.open().unwrap();
            let row = thread.row(&LEDGER, book, &SITES, birth).unwrap();
            // Not empty, so that it is not used for another.
            row.count(book, Amount::of_block(1, 1));
            LEDGER.rows.close(book);
            thread.leave();
            row
        }
        let ids: Vec<_> = (0..3).map(|_| here(8)).collect();
        assert!(ids[0].id() == ids[1].id() && ids[1].id() == ids[2].id());
        let site = |row: &OwnRow| row.key().0;
        let other = here(8);
        assert_ne!(site(&ids[0]), site(&other));
        let ids: Vec<_> = [8, 9].into_iter().map(here).collect();
        assert!(ids[0].id() != ids[1].id());
        assert!(site(&ids[0]) == site(&ids[1]) && site(&ids[0]) != NO_SITE);
    }
}
