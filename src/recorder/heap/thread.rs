//! What a thread keeps for its hooks: a guard against re-entry, its stack's bounds, and where it counts.
//!
//! All of it is constant-initialised and has no destructor, so that it needs no allocation and
//! works in a thread's first instructions as well as in its last TLS destructor.

use core::cell::Cell;
use core::marker::PhantomData;
use core::sync::atomic::{
    AtomicI64, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

use super::layout_cache::Known;
use super::ledger::Ledger;
use super::row::{Mark, Stack};
use super::rows::{Book, Lately, OwnRow};
use super::stacks::Stacks;
use super::thread_stacks;
use super::unwind::{Bounds, Registers, Remembered, Unwinder, Walk, unwinder};
use crate::model::block::NO_STACK;

/// A thread's live bytes are added to the process's in steps of this many bytes, so that threads
/// do not fight over one counter. The peak is exact to this much for each running thread.
const PEAK_STEP: i64 = 4096;

/// One call in so many is timed: an odd number, so that of calls that alternate both kinds are.
const TIMED_EVERY: u32 = 255;

/// In place of a stack's key, where none could be read.
const UNREADABLE: u64 = 1;

/// Of [`Thread::calls`]: none is recorded.
const BUSY: u32 = 1 << 31;

/// Live bytes of all threads and their highest value, both to [`PEAK_STEP`].
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// A call that takes so long was held up, by another process or by the kernel: it stands for itself alone.
const HELD_UP_NANOS: u64 = 1_000_000;
static HELD_UP: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds of the timed calls, and how many they were.
static TIMED_NANOS: AtomicU64 = AtomicU64::new(0);
static TIMED_CALLS: AtomicU64 = AtomicU64::new(0);

/// What a look at the clock takes, which is in each timed call and in no other.
static CLOCK_NANOS: AtomicU64 = AtomicU64::new(0);

/// Finds that out, before calls are timed.
pub(super) fn time_the_clock() {
    const LOOKS: usize = 100;
    let take = |_| {
        let start = now_nanos();
        now_nanos() - start
    };
    CLOCK_NANOS.store((0..LOOKS).map(take).min().unwrap_or(0), Relaxed);
}

/// Why a thread's calls are not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// It is inside a hook: a signal handler that allocates, or an allocator beneath that
    /// allocates through itself.
    InHook,
    /// The tool works for itself.
    Paused,
    /// There was no room for what it counts.
    NoBook,
}

pub(super) struct Thread {
    /// Calls until one is timed, that one included, and [`BUSY`] while none is recorded: in one word, so that
    /// one look at it tells the usual case, and one addition ends it.
    calls: Cell<u32>,
    /// Why it is busy.
    why: Cell<Busy>,
    bounds: Cell<Bounds>,
    live_step: Cell<i64>,
    /// When the timed call began, in nanoseconds.
    started: Cell<u64>,
    book: Cell<Option<&'static Book>>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            calls: Cell::new(TIMED_EVERY),
            why: Cell::new(Busy::InHook),
            bounds: Cell::new(Bounds::UNKNOWN),
            live_step: Cell::new(0),
            started: Cell::new(0),
            book: Cell::new(None),
        }
    };
}

/// A call that is recorded: its thread, and where that counts. It must be left again.
#[derive(Clone, Copy)]
pub(super) struct Hook {
    pub(super) thread: &'static Thread,
    pub(super) book: &'static Book,
}

/// Begins a call that is recorded; else why it is not. No closure: what is recorded is the stack of the
/// caller.
#[inline(always)]
pub(super) fn enter() -> Result<Hook, Busy> {
    match enter_at_once() {
        Some(hook) => Ok(hook),
        None => enter_anew(),
    }
}

/// The same where the call is not timed and the thread has a book; `None` otherwise, and then nothing was
/// done.
#[inline(always)]
pub(super) fn enter_at_once() -> Option<Hook> {
    let thread = this();
    let calls = thread.calls.get();
    // Less than 0 where it is busy.
    if (calls as i32) < 2 {
        return None;
    }
    let book = thread.book.get()?;
    thread.calls.set(calls | BUSY);
    // A handler on this thread must see the flag before anything that follows is half done.
    compiler_fence(SeqCst);
    Some(Hook { thread, book })
}

#[cold]
#[inline(never)]
fn enter_anew() -> Result<Hook, Busy> {
    let thread = this();
    let calls = thread.calls.get();
    if calls & BUSY != 0 {
        return Err(thread.why.get());
    }
    if super::IS_COPY.load(Relaxed) {
        return Err(Busy::Paused);
    }
    thread.calls.set(calls.max(1) | BUSY);
    compiler_fence(SeqCst);
    let Some(book) = thread.book(&super::LEDGER) else {
        thread.calls.set(calls);
        return Err(Busy::NoBook);
    };
    if calls < 2 {
        thread.started.set(now_nanos());
    }
    Ok(Hook { thread, book })
}

#[inline(always)]
fn this() -> &'static Thread {
    let thread = THREAD.with(core::ptr::from_ref);
    // SAFETY: a thread-local without a destructor lives as long as its thread, which this is, and
    // no hook hands it to another (tests: `a_hook_is_not_entered_twice`).
    unsafe { &*thread }
}

impl Hook {
    /// Ends what [`enter`] has begun.
    #[inline(always)]
    pub(super) fn leave(self) {
        compiler_fence(SeqCst);
        // Takes the flag off, and one call.
        let calls = self.thread.calls.get().wrapping_add(!BUSY);
        self.thread.calls.set(calls);
        if calls == 0 {
            self.thread.add_timed();
        }
    }

    /// Ends what [`enter_at_once`] has begun, which is not timed.
    #[cfg(feature = "jemalloc")]
    #[inline(always)]
    pub(super) fn leave_untimed(self) {
        compiler_fence(SeqCst);
        let calls = &self.thread.calls;
        calls.set(calls.get().wrapping_add(!BUSY));
    }
}

/// Keeps this thread's allocations out of the ledger until dropped: for the tool's own work in
/// the measured process.
pub(crate) struct Paused {
    /// Why it was busy before, if it was.
    before: Option<Busy>,
    /// It is this thread's.
    not_send: PhantomData<*const ()>,
}

pub(crate) fn pause() -> Paused {
    let thread = this();
    let calls = thread.calls.get();
    thread.calls.set(calls | BUSY);
    let why = thread.why.replace(Busy::Paused);
    Paused {
        before: (calls & BUSY != 0).then_some(why),
        not_send: PhantomData,
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let thread = this();
        // The hooks take for granted that they are the reason, if there is no other.
        thread.why.set(self.before.unwrap_or(Busy::InHook));
        if self.before.is_none() {
            thread.calls.set(thread.calls.get() & !BUSY);
        }
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
    if super::IS_COPY.load(Relaxed) {
        // The lock may be held for ever.
        return;
    }
    // Inside the guard: a signal handler on this thread must not want the lock that it takes.
    let Ok(hook) = enter() else { return };
    hook.thread.book.set(None);
    // SAFETY: as in `row`. The next thread has another stack.
    unsafe { (*hook.book.lately.get()).forget() };
    super::LEDGER.rows.close(hook.book);
    hook.thread.take_step();
    hook.leave();
}

impl Thread {
    /// Where this thread counts; `None` if there was no room for it.
    fn book(&self, ledger: &'static Ledger) -> Option<&'static Book> {
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

    /// The row of blocks that are allocated now by the stack whose innermost frame lies at `first`, and is
    /// kept at a place. If it is not known at once, the stack's key, or 0.
    #[inline(always)]
    pub(super) fn row(
        &self,
        book: &Book,
        birth: u32,
        first: usize,
        place: Option<usize>,
    ) -> Result<OwnRow, u64> {
        // SAFETY: a book's state is reached only by its thread and, because of `calls`, by one hook at a
        // time (tests: `a_hook_is_not_entered_twice`).
        let lately = unsafe { &mut *book.lately.get() };
        // SAFETY: the frame of a hook that runs, and the shapes are those of this thread's stack.
        match unsafe { lately.shapes.find(first, place) } {
            Known::Last(key, row) if row.is(Mark::of(key, birth)) => Ok(row),
            Known::Last(key, _) | Known::Key(key) => Err(key),
            Known::Nothing => Err(0),
        }
    }

    /// The row of a stack that is not the last of its shape, or not of this birth; `key` 0 if it has none.
    #[inline(never)]
    pub(super) fn row_anew(
        &self,
        ledger: &'static Ledger,
        book: &Book,
        stacks: &Stacks,
        birth: u32,
        key: u64,
        here: Registers,
    ) -> Option<OwnRow> {
        // SAFETY: as in `row`.
        let Lately { shapes, met, stack } = unsafe { &mut *book.lately.get() };
        if key != 0
            && let Some(row) = met.row(&ledger.rows, book, key, birth)
        {
            // SAFETY: as in `row`.
            unsafe { shapes.keep(here.bp, key, row) };
            return Some(row);
        }
        let walk = self.walk(stack, here);
        // SAFETY: as in `row`; the frames are those of the walk that has just ended.
        let kept = stack
            .places()
            .and_then(|frames| unsafe { shapes.meet(here.bp, key, frames) });
        let name = match walk.hash {
            0 => UNREADABLE,
            hash => kept.unwrap_or(hash),
        };
        // What was asked for is not there.
        let known = match name == key {
            true => None,
            false => met.row(&ledger.rows, book, name, birth),
        };
        let row = match known {
            Some(row) => row,
            None => {
                let stack_id = match walk.hash {
                    0 => NO_STACK,
                    hash => stacks
                        .find(hash)
                        .unwrap_or_else(|| stacks.intern(hash, walk.cut, stack.frames())),
                };
                met.begin(
                    &ledger.rows,
                    book,
                    Stack {
                        key: name,
                        stack_id,
                    },
                    birth,
                )?
            }
        };
        if kept.is_some() {
            // SAFETY: as in `row`.
            unsafe { shapes.keep(here.bp, name, row) };
        }
        Some(row)
    }

    fn walk(&self, stack: &mut Remembered, here: Registers) -> Walk {
        let mut bounds = self.bounds.get();
        if bounds == Bounds::UNKNOWN {
            bounds = Bounds::of_this_thread();
            self.bounds.set(bounds);
            thread_stacks::remember(bounds);
        }
        match unwinder() {
            Unwinder::FramePointers => stack.walk(here.bp, bounds.reader(here.bp)),
            // Nothing of another stack may be read, and a signal's own has little room for a look at the rules.
            Unwinder::Cfi if !bounds.has(here.sp) => Walk {
                hash: 0,
                cut: false,
            },
            Unwinder::Cfi => stack.walk_by_cfi(here, bounds.reader(here.sp)),
        }
    }

    /// Adds to the live bytes that the peak is taken from.
    #[inline(always)]
    pub(super) fn grow(&self, bytes: i64) {
        let step = self.live_step.get() + bytes;
        self.live_step.set(step);
        if step >= PEAK_STEP {
            self.take_step();
        }
    }

    /// Takes off them; whether [`Thread::take_step`] is due.
    #[inline(always)]
    #[must_use]
    pub(super) fn shrink(&self, bytes: i64) -> bool {
        let step = self.live_step.get() - bytes;
        self.live_step.set(step);
        step <= -PEAK_STEP
    }

    /// Tells the process what this thread's live bytes have changed by.
    #[inline(never)]
    pub(super) fn take_step(&self) {
        let step = self.live_step.replace(0);
        let live = LIVE.fetch_add(step, Relaxed) + step;
        if step > 0 && live > PEAK.load(Relaxed) {
            PEAK.fetch_max(live, Relaxed);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_timed(&self) {
        self.calls.set(TIMED_EVERY);
        let nanos = now_nanos().saturating_sub(self.started.get());
        let nanos = nanos.saturating_sub(CLOCK_NANOS.load(Relaxed));
        let sum = match nanos < HELD_UP_NANOS {
            true => &TIMED_NANOS,
            false => &HELD_UP,
        };
        sum.fetch_add(nanos, Relaxed);
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
    let nanos = TIMED_NANOS.load(Relaxed) * u64::from(TIMED_EVERY) + HELD_UP.load(Relaxed);
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
    use crate::recorder::heap::row::Amount;
    use crate::recorder::heap::unwind::registers;

    #[test]
    fn a_hook_is_not_entered_twice() {
        let hook = enter().ok().unwrap();
        assert_eq!(enter().err(), Some(Busy::InHook));
        hook.leave();
        assert_eq!(is_busy(), None);
    }

    /// Why this thread's calls are not recorded, if they are not.
    fn is_busy() -> Option<Busy> {
        match enter() {
            Ok(hook) => {
                hook.leave();
                None
            }
            Err(busy) => Some(busy),
        }
    }

    #[test]
    fn one_call_in_so_many_is_timed() {
        let mut since = Vec::new();
        let mut last = 0;
        for call in 1..=4 * TIMED_EVERY {
            let before = TIMED_CALLS.load(Relaxed);
            let hook = enter().ok().unwrap();
            hook.leave();
            // Other tests' threads may time calls of theirs.
            if this().calls.get() == TIMED_EVERY {
                assert!(TIMED_CALLS.load(Relaxed) > before);
                since.push(call - last);
                last = call;
            }
        }
        assert!(since.len() >= 3, "{since:?}");
        assert!(since[1..].iter().all(|&n| n == TIMED_EVERY), "{since:?}");
    }

    #[test]
    fn inside_a_hook_a_pause_changes_nothing() {
        let hook = enter().ok().unwrap();
        let calls = this().calls.get();
        drop(pause());
        assert_eq!(this().calls.get(), calls);
        assert_eq!(enter().err(), Some(Busy::InHook));
        hook.leave();
        assert_eq!(is_busy(), None);
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
        static STACKS: Stacks = Stacks::new();
        static LEDGER: Ledger = Ledger::new();
        #[inline(never)]
        fn here(birth: u32) -> OwnRow {
            let hook = enter().ok().unwrap();
            let book = LEDGER.rows.open().unwrap();
            let first = registers().bp;
            let row = match hook.thread.row(book, birth, first, None) {
                Ok(row) => row,
                Err(key) => hook
                    .thread
                    .row_anew(&LEDGER, book, &STACKS, birth, key, registers())
                    .unwrap(),
            };
            // Not empty, so that it is not used for another.
            row.count(book, Amount::of_block(1, 1));
            LEDGER.rows.close(book);
            hook.leave();
            row
        }
        let ids: Vec<_> = (0..3).map(|_| here(8)).collect();
        assert!(ids[0].id() == ids[1].id() && ids[1].id() == ids[2].id());
        let stack_id = |row: &OwnRow| LEDGER.rows.key(row.id()).unwrap().0;
        let other = here(8);
        assert_ne!(stack_id(&ids[0]), stack_id(&other));
        let ids: Vec<_> = [8, 9].into_iter().map(here).collect();
        assert!(ids[0].id() != ids[1].id());
        assert!(stack_id(&ids[0]) == stack_id(&ids[1]) && stack_id(&ids[0]) != NO_STACK);
    }
}
