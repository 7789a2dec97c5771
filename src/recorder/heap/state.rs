//! The state of this process: whether the ledger records, which allocator is used, and the birth of
//! new blocks.
//!
//! Invariants:
//! 1. The state is decided before the first allocation returns (`startup.rs`). After that it changes
//!    twice at most: when the unwinder is chosen, and in a forked copy. The allocator never changes,
//!    except that a copy frees dhat's blocks through the system's allocator.
//! 2. All of it is one byte, so that a hook decides everything by one load.
//!
//! Memory ordering: relaxed. What the state refers to is either constant-initialised or set up
//! before a second thread exists.

use crate::model::block::Birth;
use crate::recorder::primitive::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};

/// The allocator that the hooks call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Backend {
    /// The allocator that the [`Heap`](super::Heap) wraps: the system's, if none was named.
    Inner = 1,
    /// jemalloc, with prefixed symbols.
    Jemalloc = 2,
    /// dhat, which allocates from the system's allocator.
    Dhat = 3,
    /// One that this build does not have: the runner reports an error.
    Missing = 4,
    /// The allocator from which dhat allocates, for blocks that dhat is not to count. Never the
    /// state of a process that records. Such a block may be freed through dhat, which passes on
    /// frees of blocks that it does not know.
    SystemUnderDhat = 5,
}

/// What the hooks do: the [`Backend`] in the low bits, and flags in the high ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct State(u8);

/// The ledger records blocks.
const RECORDING: u8 = 0x80;
/// With [`RECORDING`]: only sampled blocks.
const SAMPLING: u8 = 0x40;
/// Keys of stacks are computed by AES: the processor has it, and the build has frame pointers.
const AES: u8 = 0x10;

/// Which blocks the ledger records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Off,
    Every,
    Sampled,
}

impl State {
    /// Nothing was allocated yet.
    pub(super) const UNDECIDED: Self = Self(0);
    /// The two usual states of a measured process, which have hooks of their own
    /// (`jemalloc_hooks.rs`).
    pub(super) const JEMALLOC: Self = Self::new(Backend::Jemalloc, Mode::Every);
    pub(super) const JEMALLOC_AES: Self = Self(Self::JEMALLOC.0 | AES);

    pub(super) const fn new(backend: Backend, mode: Mode) -> Self {
        let flags = match mode {
            Mode::Off => 0,
            Mode::Every => RECORDING,
            Mode::Sampled => RECORDING | SAMPLING,
        };
        Self(backend as u8 | flags)
    }

    #[inline]
    pub(super) fn backend(self) -> Backend {
        match self.0 & !(RECORDING | SAMPLING | AES) {
            2 => Backend::Jemalloc,
            3 => Backend::Dhat,
            4 => Backend::Missing,
            5 => Backend::SystemUnderDhat,
            _ => Backend::Inner,
        }
    }

    #[inline]
    pub(super) fn mode(self) -> Mode {
        match self.0 & (RECORDING | SAMPLING) {
            RECORDING => Mode::Every,
            0 => Mode::Off,
            _ => Mode::Sampled,
        }
    }

    /// The state in which a block of the recorder's own work is allocated: dhat must not count it.
    pub(super) fn for_own_blocks(self) -> Self {
        match self.backend() {
            Backend::Dhat => Self::new(Backend::SystemUnderDhat, Mode::Off),
            backend => Self::new(backend, Mode::Off),
        }
    }
}

static STATE: AtomicU8 = AtomicU8::new(State::UNDECIDED.0);

#[inline(always)]
pub(super) fn get() -> State {
    State(STATE.load(Relaxed))
}

pub(super) fn set(state: State) {
    STATE.store(state.0, Relaxed);
}

/// Whether this process is a forked copy of a measured one. Another thread may have held a lock when
/// the copy was made, so that the copy must not take one.
pub(super) static IS_FORKED_COPY: AtomicBool = AtomicBool::new(false);

/// Whether the allocator that the [`Heap`](super::Heap) wraps is the system's.
pub(super) static INNER_IS_SYSTEM: AtomicBool = AtomicBool::new(false);

/// The running cycle and phase: `cycle << 3 | phase`.
static BIRTH: AtomicU32 = AtomicU32::new(0);

/// The packed birth of blocks that are allocated now.
#[inline(always)]
pub(super) fn birth() -> u32 {
    BIRTH.load(Relaxed)
}

/// The running cycle and phase.
pub(crate) fn now() -> Birth {
    own(birth())
}

/// Cycles of the process that this one is a copy of, which are counted on; 0 in any other.
static COPIED_CYCLES: AtomicU32 = AtomicU32::new(0);

/// The packed birth of a block with the cycles of this process. What was born in another is set-up.
pub(super) fn own(birth: u32) -> Birth {
    let birth = Birth::unpacked(birth);
    let cycle = birth.cycle.saturating_sub(COPIED_CYCLES.load(Relaxed));
    Birth { cycle, ..birth }
}

/// Begins with the cycles of a forked copy.
#[cfg(feature = "preload")]
pub(super) fn begin_copy() {
    COPIED_CYCLES.store(Birth::unpacked(birth()).cycle, Relaxed);
}

/// Sets the birth of the blocks that any thread allocates from now on.
pub(crate) fn set_now(birth: Birth) {
    let cycle = birth.cycle + COPIED_CYCLES.load(Relaxed);
    BIRTH.store(Birth { cycle, ..birth }.packed(), Relaxed);
}
