//! The stacks of all threads that have allocated, for the split of resident memory by what it is
//! mapped for.
//!
//! Memory ordering: a slot is claimed by an atomic increment and written once, its lower bound
//! last with release; a reader that sees a lower bound other than 0 (acquire) sees the upper bound.

use super::stack_memory::StackBounds;
use crate::recorder::primitive::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Stacks that can be recorded. A new thread mostly gets the stack of one that has ended.
const CAPACITY: usize = 1024;

/// The lower and upper bounds of the stacks; a lower bound of 0 is an empty slot.
static STACKS: [(AtomicUsize, AtomicUsize); CAPACITY] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; CAPACITY];

/// Slots that were claimed; more than [`CAPACITY`] once they are used up.
static CLAIMED: AtomicUsize = AtomicUsize::new(0);

/// Records a stack, once. Stacks beyond the capacity are not recorded, and count as other memory.
#[cold]
pub(super) fn add(bounds: StackBounds) {
    if bounds == StackBounds::UNKNOWN || iter().any(|b| b == bounds) {
        return;
    }
    if let Some((low, high)) = STACKS.get(CLAIMED.fetch_add(1, Relaxed)) {
        high.store(bounds.high, Relaxed);
        low.store(bounds.low, Release);
    }
}

/// All recorded stacks, including those of threads that have ended.
pub(crate) fn iter() -> impl Iterator<Item = StackBounds> {
    let claimed = CLAIMED.load(Relaxed).min(CAPACITY);
    STACKS[..claimed].iter().filter_map(|(low, high)| {
        let low = low.load(Acquire);
        (low != 0).then(|| StackBounds {
            low,
            high: high.load(Relaxed),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_recorded_once() {
        let bounds = StackBounds {
            low: 0x1000,
            high: 0x9000,
        };
        add(bounds);
        add(bounds);
        add(StackBounds::UNKNOWN);
        assert_eq!(iter().filter(|b| *b == bounds).count(), 1);
        assert!(iter().all(|b| b != StackBounds::UNKNOWN));
    }
}
