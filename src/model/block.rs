//! What the recorder knows about a block: the stack that allocated it, and when.

use serde::{Deserialize, Serialize};

/// Number of an interned stack.
pub(crate) type StackId = u32;

/// In place of a stack's number: the stack could not be unwound, or there was no memory for it.
pub(crate) const NO_STACK: StackId = 0;

/// The cycle and phase in which a block was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Birth {
    /// 0 before the first cycle.
    pub(crate) cycle: u32,
    /// Number of the [`Phase`](super::run::Phase).
    pub(crate) phase: u8,
}

const PHASE_BITS: u32 = 3;

/// Highest number of a cycle.
pub(crate) const MAX_CYCLE: u32 = (1 << 19) - 1;

impl Birth {
    /// Packs it into one word.
    pub(crate) fn packed(self) -> u32 {
        self.cycle << PHASE_BITS | u32::from(self.phase)
    }

    /// The inverse of [`Birth::packed`].
    pub(crate) fn unpacked(packed: u32) -> Self {
        Self {
            cycle: packed >> PHASE_BITS,
            phase: (packed & ((1 << PHASE_BITS) - 1)) as u8,
        }
    }
}

/// Live bytes and blocks of one stack, birth cycle and birth phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u8, u64, u64)", into = "(u32, u32, u8, u64, u64)")]
pub(crate) struct CensusEntry {
    pub(crate) stack_id: u32,
    pub(crate) birth: u32,
    pub(crate) phase: u8,
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
}

impl From<(u32, u32, u8, u64, u64)> for CensusEntry {
    fn from((stack_id, birth, phase, bytes, blocks): (u32, u32, u8, u64, u64)) -> Self {
        Self {
            stack_id,
            birth,
            phase,
            bytes,
            blocks,
        }
    }
}

impl From<CensusEntry> for (u32, u32, u8, u64, u64) {
    fn from(entry: CensusEntry) -> Self {
        (
            entry.stack_id,
            entry.birth,
            entry.phase,
            entry.bytes,
            entry.blocks,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_the_smallest_and_the_largest_birth() {
        for (cycle, phase) in [(0, 0), (MAX_CYCLE, 7), (1, 3)] {
            let birth = Birth { cycle, phase };
            assert_eq!(Birth::unpacked(birth.packed()), birth);
        }
    }
}
