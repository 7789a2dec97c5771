//! Table of the holders that have been found.

use super::backtrace::FRAMES;
use super::objects::Symbol;
#[cfg(any(feature = "preload", test))]
use super::python::source::PythonSource;
use super::regions::RegionKind;
use crate::model::block::StackId;
use crate::recorder::heap::{MappedTable, MappedVec, NoMemory, TableSlot};

/// Number of a holder, from 1.
pub(super) type HolderId = u16;

/// Stands for no holder.
pub(super) const NO_HOLDER: HolderId = 0;

/// The number of the first holder.
pub(super) const FIRST_HOLDER: HolderId = 1;

/// Most holders in the table. The last one also stands for all that are found later.
const MAX_HOLDERS: HolderId = HolderId::MAX - 1;

/// A number that no holder has.
pub(super) const UNUSED_ID: HolderId = MAX_HOLDERS + 1;

/// What a holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A root: memory outside of the heap.
    Region(RegionKind),
    /// What the structures of Python's interpreter tell.
    #[cfg(any(feature = "preload", test))]
    Python(PythonSource),
    /// The cause of a loss: see [`lost`](super::lost).
    Lost {
        /// Blocks in the shortest cycle of pointers through it; 0 if nothing points to it.
        cycle: u32,
        /// The pointers of the cycle may own the blocks: it is a reference cycle.
        is_owned: bool,
    },
}

/// A holder, and the blocks that it reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) source: Source,
    /// Its address: that of a symbol, of a region without symbols, of a word on a stack, or of a
    /// lost block.
    pub(super) at: usize,
    /// The symbol of a static or thread-local, if there is one.
    pub(super) symbol: Option<Symbol>,
    /// Of a word on a stack: program counters of its function and of the callers, innermost first.
    pub(super) frames: [usize; FRAMES],
    /// Usable bytes of all blocks that it has reached first, or at all: see [`super::overlap`].
    pub(super) reached_bytes: u64,
    pub(super) reached_blocks: u64,
    /// Of these, the blocks that no other holder reaches.
    pub(super) retained_bytes: u64,
    pub(super) retained_blocks: u64,
    /// The same for all words that belong to one holder; never 0. Its lowest three bits are 1 to 6; those of Python's
    /// sources are 0 and 7.
    key: u64,
}

impl Holder {
    /// A symbol at an address in a region, or a region without symbols.
    pub(super) fn of_region(kind: RegionKind, at: usize) -> Self {
        Self::new(Source::Region(kind), at, region_key(kind, at))
    }

    /// The word of a stack at an address. Words of the same frame have the same holder.
    pub(super) fn of_frame(
        kind: RegionKind,
        thread: u16,
        at: usize,
        frames: [usize; FRAMES],
    ) -> Self {
        let key = region_key(kind, frames[0] ^ usize::from(thread) << 48);
        Self {
            frames,
            ..Self::new(Source::Region(kind), at, key)
        }
    }

    pub(super) fn with_symbol(self, symbol: Symbol) -> Self {
        let symbol = Some(symbol);
        Self { symbol, ..self }
    }

    /// A lost block. Two of them are the same holder if they were allocated by the same stack, both
    /// before or both after set-up, and their cycles are alike.
    pub(super) fn lost(
        at: usize,
        cycle: u32,
        is_owned: bool,
        stack_id: StackId,
        after_setup: bool,
    ) -> Self {
        let key = u64::from(stack_id) << 24
            | u64::from(cycle.min(1 << 19)) << 4
            | u64::from(is_owned) << 3
            | u64::from(after_setup) << 2
            | 2;
        Self::new(Source::Lost { cycle, is_owned }, at, key)
    }

    pub(super) fn new(source: Source, at: usize, key: u64) -> Self {
        Self {
            source,
            at,
            symbol: None,
            frames: [0; FRAMES],
            reached_bytes: 0,
            reached_blocks: 0,
            retained_bytes: 0,
            retained_blocks: 0,
            key,
        }
    }
}

fn region_key(kind: RegionKind, place: usize) -> u64 {
    (place as u64).wrapping_mul(8) + 1 + kind.number()
}

/// The number of the holder with a key.
#[derive(Clone, Copy)]
struct Slot {
    /// 0 if the slot is free.
    key: u64,
    id: HolderId,
}

impl TableSlot for Slot {
    type Key = u64;

    const FREE: Self = Self {
        key: 0,
        id: NO_HOLDER,
    };

    fn key(&self) -> Option<u64> {
        Some(self.key).filter(|&key| key != 0)
    }

    fn hash(key: u64) -> u64 {
        key
    }
}

/// The holders, and their numbers by their keys.
pub(super) struct HolderTable {
    holders: MappedVec<Holder>,
    ids: MappedTable<Slot>,
}

impl HolderTable {
    pub(super) fn new() -> Self {
        Self {
            holders: MappedVec::new(),
            ids: MappedTable::new(),
        }
    }

    /// The holders in the order of their numbers, which start at 1.
    pub(super) fn as_slice(&self) -> &[Holder] {
        self.holders.as_slice()
    }

    /// The holder with this number; `None` for [`NO_HOLDER`].
    pub(super) fn get_mut(&mut self, id: HolderId) -> Option<&mut Holder> {
        let index = usize::from(id).checked_sub(1)?;
        self.holders.as_mut_slice().get_mut(index)
    }

    pub(super) fn count(&self) -> HolderId {
        self.holders.as_slice().len() as HolderId
    }

    /// Bytes of the hash table.
    pub(super) fn own_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<Slot>()
    }

    /// The number of a holder, which is added if its key is new.
    pub(super) fn intern(&mut self, holder: Holder) -> Result<HolderId, NoMemory> {
        if let Some(known) = self.ids.get(holder.key) {
            return Ok(known.id);
        }
        let count = self.count();
        if count >= MAX_HOLDERS {
            return Ok(MAX_HOLDERS);
        }
        let id = count + 1;
        let slot = Slot {
            key: holder.key,
            id,
        };
        self.ids.insert_or(slot, |_| ())?;
        self.holders.push(holder)?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_keeps_its_number_and_the_last_one_stands_for_all_further_ones() {
        let mut table = HolderTable::new();
        let holder = |i: usize| Holder::of_region(RegionKind::Statics, i * 8);
        let ids: Vec<HolderId> = (0..70_000)
            .map(|i| table.intern(holder(i)).unwrap())
            .collect();
        assert!((0..65_534).all(|i| usize::from(ids[i]) == i + 1));
        assert!(ids[65_534..].iter().all(|&id| id == MAX_HOLDERS));
        assert_eq!(table.count(), MAX_HOLDERS);
        assert_eq!(table.intern(holder(3)).unwrap(), 4);
        assert_eq!(table.get_mut(4).unwrap().at, 24);
        assert!(table.get_mut(NO_HOLDER).is_none() && table.get_mut(UNUSED_ID).is_none());
    }

    #[test]
    fn holders_of_different_sources_have_different_keys() {
        let sources = [
            Holder::of_region(RegionKind::Statics, 64),
            Holder::of_region(RegionKind::Mapped, 64),
            Holder::lost(0, 0, false, 7, false),
            Holder::lost(0, 0, false, 7, true),
            Holder::lost(0, 2, true, 7, true),
            Holder::lost(0, 2, false, 7, true),
            Holder::lost(0, 0, false, 8, false),
        ];
        let mut table = HolderTable::new();
        let ids = sources.map(|h| table.intern(h).unwrap());
        assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7]);
    }
}
