//! What is known of a block: the stack that allocated it, and when it was born.

/// Number of a site. [`NO_SITE`] stands for blocks whose stack could not be kept.
pub(crate) type SiteId = u32;

/// The site of blocks that could not be attributed: no readable stack, or no room for another.
pub(crate) const NO_SITE: SiteId = 0;

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

/// The live blocks of one site, born in one phase of one cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lived {
    pub(crate) site: SiteId,
    pub(crate) birth: Birth,
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
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
