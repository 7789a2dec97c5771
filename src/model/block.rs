//! What the recorder knows about a block: the stack that allocated it, and when.

use serde_core::{Deserialize, Deserializer, Serialize, Serializer};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CensusEntry {
    pub(crate) stack_id: u32,
    pub(crate) birth: u32,
    pub(crate) phase: u8,
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
}

impl Serialize for CensusEntry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (
            self.stack_id,
            self.birth,
            self.phase,
            self.bytes,
            self.blocks,
        )
            .serialize(to)
    }
}

impl<'de> Deserialize<'de> for CensusEntry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (stack_id, birth, phase, bytes, blocks) = Deserialize::deserialize(from)?;
        Ok(Self {
            stack_id,
            birth,
            phase,
            bytes,
            blocks,
        })
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
