//! What is known of a block: the stack that allocated it, and when it was born.

use serde::{Deserialize, Serialize};

/// Number of a stack. [`NO_STACK`] stands for blocks whose stack could not be kept.
pub(crate) type StackId = u32;

/// The stack of blocks that could not be attributed: no readable stack, or no room for another.
pub(crate) const NO_STACK: StackId = 0;

/// When a block was born: the running cycle and phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Birth {
    /// 0 before the first cycle.
    pub(crate) cycle: u32,
    /// The phase's number (see [`Phase`](super::run::Phase)).
    pub(crate) phase: u8,
}

const PHASE_BITS: u32 = 3;

/// Cycles that a run may have.
pub(crate) const MAX_CYCLE: u32 = (1 << 19) - 1;

impl Birth {
    /// In one word, as rows have it.
    pub(crate) fn packed(self) -> u32 {
        self.cycle << PHASE_BITS | u32::from(self.phase)
    }

    pub(crate) fn unpacked(packed: u32) -> Self {
        Self {
            cycle: packed >> PHASE_BITS,
            phase: (packed & ((1 << PHASE_BITS) - 1)) as u8,
        }
    }
}

/// What is live of one stack, birth cycle and birth phase.
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
    fn a_birth_survives_packing_at_the_edges() {
        for (cycle, phase) in [(0, 0), (MAX_CYCLE, 7), (1, 3)] {
            let birth = Birth { cycle, phase };
            assert_eq!(Birth::unpacked(birth.packed()), birth);
        }
    }
}
