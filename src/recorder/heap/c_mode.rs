//! Whether calls of C's allocator are recorded.
//!
//! Memory ordering: relaxed. What the mode refers to is constant-initialised, or set up before a second
//! thread exists.

use super::state::Mode;
use crate::recorder::primitive::{AtomicU8, Ordering::Relaxed};

pub(super) const OFF: u8 = 0;
pub(super) const EVERY: u8 = 1;
pub(super) const SAMPLED: u8 = 2;

/// Nothing was allocated yet. In a library that is preloaded, what others allocate before it starts is
/// recorded, too: a block may be held by it.
#[cfg(feature = "preload")]
pub(super) const UNDECIDED: u8 = 3;

#[cfg(not(feature = "preload"))]
pub(super) static MODE: AtomicU8 = AtomicU8::new(OFF);
#[cfg(feature = "preload")]
pub(super) static MODE: AtomicU8 = AtomicU8::new(UNDECIDED);

/// Records the calls from now on, or no more.
pub(super) fn record(mode: Mode) {
    let mode = match mode {
        Mode::Off => OFF,
        Mode::Every => EVERY,
        Mode::Sampled => SAMPLED,
    };
    MODE.store(mode, Relaxed);
}

/// Whether calls are recorded.
#[cfg(feature = "preload")]
pub(crate) fn records_c() -> bool {
    MODE.load(Relaxed) != OFF
}
