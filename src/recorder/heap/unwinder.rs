//! How this process walks stacks: by frame pointers, or by call frame information.
//!
//! The choice is made once, before the first cycle. Stacks recorded before it, during set-up, are
//! walked by frame pointers.

use super::last_stack::LastStack;
use super::layout_cache;
use super::registers::registers;
use super::stack_memory::StackBounds;
use crate::recorder::primitive::{AtomicU8, Ordering::Relaxed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Unwinder {
    FramePointers = 0,
    /// Call frame information: the build has no frame pointers.
    Cfi = 1,
    /// Stacks are not walked. A program that is not ours sets itself up: importing a library of Python's
    /// makes millions of allocations of deep stacks, which no cycle will have.
    #[cfg(feature = "preload")]
    Off = 2,
}

#[cfg(not(feature = "preload"))]
static UNWINDER: AtomicU8 = AtomicU8::new(Unwinder::FramePointers as u8);
#[cfg(feature = "preload")]
static UNWINDER: AtomicU8 = AtomicU8::new(Unwinder::Off as u8);

/// How stacks are walked now.
#[inline]
pub(super) fn current() -> Unwinder {
    match UNWINDER.load(Relaxed) {
        1 => Unwinder::Cfi,
        #[cfg(feature = "preload")]
        2 => Unwinder::Off,
        _ => Unwinder::FramePointers,
    }
}

/// Walks stacks in this way from now on. Of a program that is not ours no stack tells whether all of
/// its code has frame pointers.
///
/// Returns false if the system refuses memory.
#[cfg(feature = "preload")]
pub(crate) fn walk_by(unwinder: Unwinder) -> bool {
    if unwinder == Unwinder::Cfi && !super::cfi::init() {
        return false;
    }
    if unwinder == Unwinder::FramePointers {
        layout_cache::enable();
    }
    UNWINDER.store(unwinder as u8, Relaxed);
    true
}

/// Chooses how stacks are walked from now on: by frame pointers if a walk along them from here
/// finds the same frames as a walk by call frame information, and `force_cfi` is false.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
pub(super) fn choose(force_cfi: bool) -> Unwinder {
    use super::frame::MAX_FRAMES;
    use super::stack_memory::StackMemory;
    use super::{cfi, cfi_walk};
    /// Outermost frames that a walk along frame pointers may lack: the start-up code of the C
    /// library is built without them.
    const START_UP_FRAMES: usize = 3;
    if !cfi::init() {
        return Unwinder::FramePointers;
    }
    let registers = registers();
    let bounds = StackBounds::of_this_thread();
    let mut by_cfi = [0; MAX_FRAMES];
    let reader = bounds.reader(registers.sp);
    let count = cfi_walk::walk_into(registers, |at| Some(reader.read(at)?.0), &mut by_cfi);
    let mut last = LastStack::new();
    last.walk_frame_pointers(registers.bp, bounds.reader(registers.bp));
    let by_frame_pointers = last.return_addresses();
    let equal = by_frame_pointers
        .zip(by_cfi)
        .take_while(|(a, b)| a == b)
        .count();
    if force_cfi || equal + START_UP_FRAMES < count {
        UNWINDER.store(Unwinder::Cfi as u8, Relaxed);
        return Unwinder::Cfi;
    }
    layout_cache::enable();
    Unwinder::FramePointers
}

/// Chooses frame pointers: call frame information is only read on x86-64.
#[cfg(not(target_arch = "x86_64"))]
#[inline(never)]
pub(super) fn choose(_: bool) -> Unwinder {
    let first = registers().bp;
    let mut last = LastStack::new();
    last.walk_frame_pointers(first, StackBounds::of_this_thread().reader(first));
    // This function and its caller have frame pointers, and so have the hooks, which are built with
    // the same options.
    if last.return_addresses().len() >= 2 {
        layout_cache::enable();
    }
    Unwinder::FramePointers
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn both_unwinders_find_the_same_frames() {
        use super::*;
        use crate::recorder::heap::spin_lock::SpinLock;
        static BOTH: SpinLock<[LastStack; 2]> = SpinLock::new([LastStack::new(), LastStack::new()]);
        #[inline(never)]
        fn compare(depth: u32) {
            if depth > 0 {
                compare(depth - 1);
                // Keeps the call above from being a tail call, which would leave no frame.
                std::hint::black_box(depth);
                return;
            }
            assert_eq!(
                choose(false),
                Unwinder::FramePointers,
                "this build has frame pointers"
            );
            let registers = registers();
            let bounds = StackBounds::of_this_thread();
            let [chain, cfi] = &mut *BOTH.lock();
            chain.walk_frame_pointers(registers.bp, bounds.reader(registers.bp));
            cfi.walk_cfi(registers, bounds.reader(registers.sp));
            let [chain, cfi] =
                [chain, cfi].map(|last| last.return_addresses().collect::<Vec<usize>>());
            let common = chain.iter().zip(&cfi).take_while(|(a, b)| a == b).count();
            assert!(
                common > 10 && common + 3 >= cfi.len(),
                "{chain:x?}\n{cfi:x?}"
            );
        }
        compare(10);
    }
}
