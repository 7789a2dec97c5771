//! Backtrace of a word on a stack: the function whose frame contains it, and its callers.

use super::regions::{Region, Regions};
use crate::recorder::foreign_memory::word;

/// Most frames of a backtrace.
pub(super) const FRAMES: usize = 16;

/// Words below the given one that are searched for a return address into its own function.
const MAX_BELOW: usize = 512;
/// Words above it that are searched for return addresses into its callers.
const MAX_ABOVE: usize = 2048;

/// Program counters of the frame that contains the word at `at` and of its callers, innermost
/// first, padded with 0.
///
/// The chain of frame pointers is followed. If it does not lead past the word, every word near it
/// that points to code counts as a return address.
pub(super) fn of_word(
    regions: &Regions,
    thread: u16,
    stack: &Region,
    at: usize,
) -> [usize; FRAMES] {
    let thread = regions.thread(thread);
    let mut frames = Frames::default();
    let read = |at: usize| {
        // SAFETY: this function reads only multiples of 8 within the stack, which is part of a
        // readable mapping. The copy has one thread, this one, and it removes no mapping
        // (tests/holders.rs: the case `held:running_local`).
        unsafe { word::<0>(at) }
    };
    let inside = |at: usize| at.is_multiple_of(8) && (stack.start..stack.end - 8).contains(&at);
    // The registers that were saved below the stack pointer belong to the innermost frame.
    let (mut fp, mut pc) = (thread.frame_pointer, thread.program_counter);
    let mut is_found = false;
    while inside(fp) && fp >= thread.stack_pointer {
        let (saved_fp, return_address) = (read(fp), read(fp + 8));
        if !regions.is_code(return_address) {
            break;
        }
        if is_found || at < fp + 16 {
            frames.push(pc);
            is_found = true;
        }
        pc = return_address;
        fp = if saved_fp > fp { saved_fp } else { 0 };
    }
    if is_found {
        frames.push(pc);
        return frames.addresses;
    }
    // The nearest return address below the word points into the word's own function, and those
    // above it into the callers.
    let below = (stack.start..at).rev().step_by(8).map(|at| at & !7);
    let mut below = below.take(MAX_BELOW).map(read);
    let own = below.find(|&word| regions.is_code(word));
    frames.push(own.unwrap_or(thread.program_counter));
    let above = (at.next_multiple_of(8)..stack.end - 8).step_by(8);
    above
        .take(MAX_ABOVE)
        .map(read)
        .filter(|&word| regions.is_code(word))
        .for_each(|pc| frames.push(pc));
    frames.addresses
}

/// The first [`FRAMES`] addresses.
#[derive(Default)]
struct Frames {
    addresses: [usize; FRAMES],
    count: usize,
}

impl Frames {
    fn push(&mut self, address: usize) {
        if address != 0 && self.count < FRAMES {
            self.addresses[self.count] = address;
            self.count += 1;
        }
    }
}
