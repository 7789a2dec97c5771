//! What blocks add to counters, and how a counter with one writer is changed.

/// Adds to an atomic counter that only the running thread writes. A plain load and store, not an
/// atomic read-modify-write: other threads only read it.
macro_rules! add_unshared {
    ($counter:expr, $by:expr) => {
        add_unshared!($counter, $by, Relaxed)
    };
    ($counter:expr, $by:expr, $ordering:expr) => {{
        let counter = &$counter;
        counter.store(counter.load(Relaxed).wrapping_add($by), $ordering)
    }};
}
pub(super) use add_unshared;

/// What one block, or several, add to a counter or take off it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) blocks: i32,
    pub(super) bytes: i64,
    /// Bytes that the blocks take in the C library's heap, rounding included; 0 if they are not
    /// there.
    pub(super) chunk: i64,
}

impl Amount {
    #[inline(always)]
    pub(super) fn of_block(size: usize, chunk: u64) -> Self {
        Self {
            blocks: 1,
            bytes: size as i64,
            chunk: chunk as i64,
        }
    }
}
