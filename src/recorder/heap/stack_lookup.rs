//! From the running stack to the counter row for its blocks.
//!
//! 1. The layout cache compares the stack with the last one of the same layout. If both are equal
//!    and the birth is still the same, it has the row ([`find_fast`]).
//! 2. Otherwise it gives the key of the stack, by which the stack cache finds the row.
//! 3. If the key is unknown, the stack is walked. The hash of the walk finds its number in the
//!    interner, which adds the stack if it is new, and the stack cache starts a row for it.

use super::counter_row::{Fingerprint, KeyedStack, OwnedRow};
use super::frame::Walk;
#[cfg(feature = "preload")]
use super::frame::mix;
use super::last_stack::LastStack;
use super::layout_cache::Lookup;
use super::ledger::{LEDGER, Ledger};
use super::registers::{Registers, frame_pointer, registers};
use super::stack_interner::{STACKS, StackInterner};
#[cfg(feature = "preload")]
use super::stack_memory::StackBounds;
use super::state;
use super::thread::{RecordedCall, ThreadState};
use super::thread_record::{Caches, ThreadRecord};
use super::unwinder::{self, Unwinder};
use crate::model::block::{NO_STACK, StackId};

/// The key of stacks that cannot be read: not 0, and not the hash of a walk.
const UNREADABLE_KEY: u64 = 1;

/// The row for the stack of the function that this is inlined into; `None` if there is no room.
/// `aes_slot` is as in [`LayoutCache::find`](super::layout_cache::LayoutCache::find).
#[inline(always)]
pub(super) fn row_here(call: RecordedCall, aes_slot: Option<usize>) -> Option<OwnedRow> {
    let birth = state::birth();
    match find_fast(call.record, birth, frame_pointer(), aes_slot) {
        Ok(row) => Some(row),
        // The registers are those of the function that this is inlined into.
        Err(key) => find_slow(call, &LEDGER, &STACKS, birth, key, registers()),
    }
}

/// The row for the stack that begins at these registers of a live frame; `None` if there is no room.
#[cfg(feature = "jemalloc")]
pub(super) fn row_from(call: RecordedCall, start: Registers) -> Option<OwnedRow> {
    let birth = state::birth();
    match find_fast(call.record, birth, start.bp, None) {
        Ok(row) => Some(row),
        Err(key) => find_slow(call, &LEDGER, &STACKS, birth, key, start),
    }
}

/// The row for blocks of this birth and of the stack whose innermost frame is at an address, if the
/// layout cache has it. Otherwise the key of the stack as an error, or 0 if that is not known.
#[inline(always)]
fn find_fast(
    record: &ThreadRecord,
    birth: u32,
    innermost: usize,
    aes_slot: Option<usize>,
) -> Result<OwnedRow, u64> {
    // SAFETY: the running thread has this record and is inside a hook, so that nothing else uses its
    // caches (thread.rs, tests: `a_hook_is_not_entered_twice`).
    let caches = unsafe { &mut *record.caches.get() };
    // SAFETY: `innermost` is a frame of this thread that is live: that of a hook. The caches are
    // those of this thread (layout_cache/tests.rs: `a_hit_is_the_stack_that_a_walk_finds`).
    match unsafe { caches.layouts.find(innermost, aes_slot) } {
        Lookup::SameStack(key, row)
            if !cfg!(without = "rows") && row.matches(Fingerprint::of(key, birth)) =>
        {
            Ok(row)
        }
        Lookup::SameStack(key, _) | Lookup::Key(key) => Err(key),
        Lookup::Miss => Err(0),
    }
}

/// The row after [`find_fast`] returned a key, or 0.
#[inline(never)]
fn find_slow(
    call: RecordedCall,
    ledger: &'static Ledger,
    stacks: &StackInterner,
    birth: u32,
    key: u64,
    start: Registers,
) -> Option<OwnedRow> {
    let RecordedCall { thread, record } = call;
    let counters = &record.counters;
    // SAFETY: the running thread has this record and is inside a hook, so that nothing else uses its
    // caches (thread.rs, tests: `a_hook_is_not_entered_twice`).
    let Caches {
        layouts,
        stacks: stack_cache,
        last,
    } = unsafe { &mut *record.caches.get() };
    if key != 0
        && let Some(row) = stack_cache.find(&ledger.rows, counters, key, birth)
    {
        // SAFETY: `start` is in a live frame of this thread, whose caches these are.
        unsafe { layouts.set_row(start.bp, key, row) };
        return Some(row);
    }
    let walk = walk(thread, last, start);
    // SAFETY: `start` is in a live frame of this thread, whose caches these are, and the frames are
    // those of the walk above.
    let layout_key = last
        .frame_addresses()
        .and_then(|frames| unsafe { layouts.learn(start.bp, key, frames) });
    let stack_key = match walk.hash {
        0 => UNREADABLE_KEY,
        hash => layout_key.unwrap_or(hash),
    };
    // The key that was given was looked up above.
    let found = match stack_key == key {
        true => None,
        false => stack_cache.find(&ledger.rows, counters, stack_key, birth),
    };
    let row = match found {
        Some(row) => row,
        None => {
            let stack = KeyedStack {
                key: stack_key,
                stack_id: intern(stacks, thread, last, walk, start),
            };
            stack_cache.insert(&ledger.rows, counters, stack, birth)?
        }
    };
    if layout_key.is_some() {
        // SAFETY: `start` is in a live frame of this thread, whose caches these are.
        unsafe { layouts.set_row(start.bp, stack_key, row) };
    }
    Some(row)
}

/// The number of the stack of the last walk, which was from `start`.
fn intern(
    stacks: &StackInterner,
    thread: &ThreadState,
    last: &mut LastStack,
    walk: Walk,
    start: Registers,
) -> StackId {
    if walk.hash == 0 {
        return NO_STACK;
    }
    #[cfg(all(feature = "preload", target_arch = "x86_64"))]
    let (walk, frames) = last.mixed_frames(walk, start, thread.stack_bounds());
    #[cfg(not(all(feature = "preload", target_arch = "x86_64")))]
    let frames = {
        let _ = (thread, start);
        last.hashed_frames()
    };
    let add = || stacks.intern(walk.hash, walk.truncated, frames);
    stacks.find(walk.hash).unwrap_or_else(add)
}

/// Bytes that are left on the stack of the running thread; 0 on a stack that the threading library does not know.
#[cfg(feature = "preload")]
pub(crate) fn stack_room() -> usize {
    let (bounds, sp) = (super::thread::stack_bounds(), registers().sp);
    match bounds.contains(sp) {
        true => sp - bounds.low,
        false => 0,
    }
}

/// The Python frames of this thread with the code object at an address, among the innermost.
#[cfg(feature = "preload")]
#[inline(never)]
pub(crate) fn count_python_frames(code: usize) -> usize {
    let mut python = super::python::PythonFrames::new();
    match python.read(registers().sp, super::thread::stack_bounds(), None) {
        Some(_) => python.count_of(code),
        None => 0,
    }
}

/// A key of the stack that the function that this is inlined into was called by; 0 if it cannot be read.
#[cfg(feature = "preload")]
#[inline(always)]
pub(crate) fn key_of_caller() -> u64 {
    key_from(registers())
}

#[cfg(feature = "preload")]
#[inline(never)]
fn key_from(start: Registers) -> u64 {
    use super::cfi_walk::walk_into;
    use super::frame::MAX_FRAMES;
    use super::stack_memory::StackMemory;
    let bounds = super::thread::stack_bounds();
    if !super::cfi::init() || !bounds.contains(start.sp) {
        return 0;
    }
    if super::python::is_known()
        && let Some(key) = key_of_python(start.sp, bounds)
    {
        return key;
    }
    let reader = bounds.reader(start.sp);
    let mut frames = [0; MAX_FRAMES];
    let count = walk_into(start, |at| Some(reader.read(at)?.0), &mut frames);
    let add = |key, &frame: &usize| mix(key, frame);
    frames[..count].iter().fold(1, add)
}

/// A key of the Python frames of this thread; `None` if there are none. The native frames above change when the
/// interpreter specializes its code, and are not in the key.
// It needs room on the stack, of which a program that is not in Python may have little.
#[cfg(feature = "preload")]
#[inline(never)]
fn key_of_python(sp: usize, bounds: StackBounds) -> Option<u64> {
    let mut python = super::python::PythonFrames::new();
    python.read(sp, bounds, None)?;
    // A lock is taken: a signal handler on this thread must not wait for it.
    let _paused = super::thread::pause();
    let mut key = 1;
    super::python::resolve(&python, |frame| key = mix(key, frame));
    Some(key)
}

/// Walks the stack of this thread from a live frame on.
fn walk(thread: &ThreadState, last: &mut LastStack, start: Registers) -> Walk {
    let unwinder = unwinder::current();
    const UNREADABLE: Walk = Walk {
        hash: 0,
        truncated: false,
    };
    #[cfg(feature = "preload")]
    if unwinder == Unwinder::Off {
        return UNREADABLE;
    }
    let bounds = thread.stack_bounds();
    match unwinder {
        Unwinder::FramePointers => last.walk_frame_pointers(start.bp, bounds.reader(start.bp)),
        // Another stack must not be read, and the alternate stack of a signal handler has little
        // room for evaluating call frame information.
        Unwinder::Cfi if !bounds.contains(start.sp) => UNREADABLE,
        #[cfg(all(feature = "preload", target_arch = "x86_64"))]
        Unwinder::Cfi => last.find_mixed(start, bounds),
        #[cfg(not(all(feature = "preload", target_arch = "x86_64")))]
        Unwinder::Cfi => last.walk_cfi(start, bounds.reader(start.sp)),
        #[cfg(feature = "preload")]
        Unwinder::Off => UNREADABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::amount::Amount;
    use crate::recorder::heap::thread::enter;

    #[test]
    fn a_stack_has_one_row_in_a_phase() {
        static TEST_STACKS: StackInterner = StackInterner::new();
        static TEST_LEDGER: Ledger = Ledger::new();
        #[inline(never)]
        fn row_of_caller(birth: u32) -> OwnedRow {
            let call = enter().ok().unwrap();
            let record = TEST_LEDGER.threads.take().unwrap();
            let call_in_test = RecordedCall {
                thread: call.thread,
                record,
            };
            let row = match find_fast(record, birth, frame_pointer(), None) {
                Ok(row) => row,
                Err(key) => find_slow(
                    call_in_test,
                    &TEST_LEDGER,
                    &TEST_STACKS,
                    birth,
                    key,
                    registers(),
                )
                .unwrap(),
            };
            // Not empty, so that the row is not used for another stack.
            record.counters.add(row, Amount::of_block(1, 1));
            TEST_LEDGER.threads.give_back(record);
            call.leave();
            row
        }
        let rows: Vec<_> = (0..3).map(|_| row_of_caller(8)).collect();
        assert!(rows[0].id() == rows[1].id() && rows[1].id() == rows[2].id());
        let stack_of = |row: &OwnedRow| TEST_LEDGER.rows.stack_and_birth(row.id()).unwrap().0;
        let other = row_of_caller(8);
        assert_ne!(stack_of(&rows[0]), stack_of(&other));
        let rows: Vec<_> = [8, 9].into_iter().map(row_of_caller).collect();
        assert!(rows[0].id() != rows[1].id());
        assert!(stack_of(&rows[0]) == stack_of(&rows[1]) && stack_of(&rows[0]) != NO_STACK);
    }
}
