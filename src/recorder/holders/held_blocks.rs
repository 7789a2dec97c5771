//! Counts of blocks by stack, birth and holder.

use super::holder_table::HolderId;
use super::index::BlockId;
use crate::model::block::{Birth, MAX_CYCLE, StackId};
use crate::recorder::heap::{MappedTable, NoMemory, TableSlot};

/// Stack, birth and holder of blocks that are counted together, packed into a word that is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

const HOLDER_BITS: u32 = HolderId::BITS;
const PHASE_BITS: u32 = 3;
const CYCLE_BITS: u32 = 19;
const STACK_BITS: u32 = 24;
const _: () = assert!(MAX_CYCLE < 1 << CYCLE_BITS);
const _: () = assert!(HOLDER_BITS + PHASE_BITS + CYCLE_BITS + STACK_BITS < 63);

const PHASE_SHIFT: u32 = HOLDER_BITS;
const CYCLE_SHIFT: u32 = PHASE_SHIFT + PHASE_BITS;
const STACK_SHIFT: u32 = CYCLE_SHIFT + CYCLE_BITS;
const USED: u64 = 1 << 63;

impl Key {
    pub(super) fn new(stack_id: StackId, birth: Birth, holder: HolderId) -> Self {
        Self(
            USED | u64::from(stack_id) << STACK_SHIFT
                | u64::from(birth.cycle) << CYCLE_SHIFT
                | u64::from(birth.phase) << PHASE_SHIFT
                | u64::from(holder),
        )
    }

    pub(super) fn stack_id(self) -> StackId {
        self.part(STACK_SHIFT, STACK_BITS) as StackId
    }

    pub(super) fn birth(self) -> Birth {
        Birth {
            cycle: self.part(CYCLE_SHIFT, CYCLE_BITS) as u32,
            phase: self.part(PHASE_SHIFT, PHASE_BITS) as u8,
        }
    }

    pub(super) fn holder(self) -> HolderId {
        self.part(0, HOLDER_BITS) as HolderId
    }

    /// The key without the birth cycle.
    pub(super) fn of_any_cycle(self) -> Self {
        let phase = self.birth().phase;
        Self::new(self.stack_id(), Birth { cycle: 0, phase }, self.holder())
    }

    fn part(self, shift: u32, bits: u32) -> u64 {
        (self.0 >> shift) & ((1 << bits) - 1)
    }
}

/// Blocks with the same key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) key: Key,
    pub(super) blocks: u64,
    /// One of them.
    pub(super) example: BlockId,
}

impl Count {
    /// Stack, birth cycle, phase, holder and blocks.
    pub(super) fn record(&self) -> (StackId, u32, u8, HolderId, u64) {
        let Birth { cycle, phase } = self.key.birth();
        let stack_id = self.key.stack_id();
        (stack_id, cycle, phase, self.key.holder(), self.blocks)
    }
}

impl TableSlot for Count {
    type Key = Key;

    const FREE: Self = Self {
        key: Key(0),
        blocks: 0,
        example: 0,
    };

    fn key(&self) -> Option<Key> {
        Some(self.key).filter(|key| key.0 != 0)
    }

    fn hash(key: Key) -> u64 {
        key.0
    }
}

/// The counts by their keys.
pub(super) struct Counts(MappedTable<Count>);

impl Counts {
    pub(super) fn new() -> Self {
        Self(MappedTable::new())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Count> {
        self.0.iter()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Count> {
        self.0.get(key)
    }

    /// Adds to the count of a key. Returns whether the key is new.
    pub(super) fn add(&mut self, count: Count) -> Result<bool, NoMemory> {
        self.0
            .insert_or(count, |known| known.blocks += count.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_the_largest_and_the_smallest_parts() {
        let largest = Birth {
            cycle: MAX_CYCLE,
            phase: 7,
        };
        let smallest = Birth { cycle: 0, phase: 0 };
        for (stack_id, birth, holder) in [
            ((1 << STACK_BITS) - 1, largest, HolderId::MAX),
            (0, smallest, 0),
        ] {
            let key = Key::new(stack_id, birth, holder);
            assert_eq!(
                (key.stack_id(), key.birth(), key.holder()),
                (stack_id, birth, holder)
            );
            let any = key.of_any_cycle();
            assert_eq!((any.birth().cycle, any.birth().phase), (0, birth.phase));
            assert_ne!(key, Count::FREE.key);
        }
    }

    #[test]
    fn a_table_that_grows_keeps_its_counts() {
        let mut counts = Counts::new();
        for round in 0..3 {
            for cycle in 1..=10_000 {
                let key = Key::new(cycle % 7, Birth { cycle, phase: 2 }, 3);
                let example = cycle;
                let count = Count {
                    key,
                    blocks: u64::from(cycle),
                    example,
                };
                assert_eq!(counts.add(count).unwrap(), round == 0);
            }
        }
        assert_eq!(counts.iter().count(), 10_000);
        assert!(counts.iter().all(|c| {
            let cycle = c.key.birth().cycle;
            c.blocks == 3 * u64::from(cycle) && c.example == cycle
        }));
    }
}
