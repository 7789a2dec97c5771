//! Where the stacks of threads are that have allocated: for the split of resident memory.

use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use super::unwind::Bounds;

/// Stacks that are kept. A thread's stack is mostly one that an earlier thread had.
const MOST: usize = 1024;

/// Slots are taken in order and filled once: the low end last, since 0 says that it is not there.
static STACKS: [(AtomicUsize, AtomicUsize); MOST] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; MOST];
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Keeps a stack in mind. One too many is forgotten, and then counts as other memory.
#[cold]
pub(super) fn remember(bounds: Bounds) {
    if bounds == Bounds::UNKNOWN || each().any(|b| b == bounds) {
        return;
    }
    if let Some((low, high)) = STACKS.get(TAKEN.fetch_add(1, Relaxed)) {
        high.store(bounds.high, Relaxed);
        low.store(bounds.low, Release);
    }
}

/// All stacks that were remembered, those of ended threads included.
pub(crate) fn each() -> impl Iterator<Item = Bounds> {
    let taken = TAKEN.load(Relaxed).min(MOST);
    STACKS[..taken].iter().filter_map(|(low, high)| {
        let low = low.load(Acquire);
        (low != 0).then(|| Bounds {
            low,
            high: high.load(Relaxed),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_remembered_once() {
        let bounds = Bounds {
            low: 0x1000,
            high: 0x9000,
        };
        remember(bounds);
        remember(bounds);
        remember(Bounds::UNKNOWN);
        assert_eq!(each().filter(|b| *b == bounds).count(), 1);
        assert!(each().all(|b| b != Bounds::UNKNOWN));
    }
}
