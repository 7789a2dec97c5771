//! Which blocks a static or thread-local reaches that another one has reached first.
//!
//! A block belongs to the holder with the shortest path to it. Of a list that a static owns, another
//! static with a pointer into its middle reaches the second half first, and yet keeps only that half.
//! So the holders that share the blocks of a stack are traversed one by one, to tell which of them
//! reaches the most.

use super::held_blocks::{Count, Counts, Key};
use super::holder_table::{HolderId, NO_HOLDER, Source};
use super::regions::RegionKind;
use super::search::Search;
use crate::model::block::Birth;
use crate::recorder::heap::{MappedVec, NoMemory};

/// The maximum number of holders that are traversed.
const MAX_HOLDERS: usize = 8;

/// The maximum number of blocks that all these traversals may visit together, to limit their time.
const MAX_VISITS: usize = 40_000_000;

/// The blocks of some stacks that a holder reaches after another one.
pub(super) struct Overlap {
    contested: Counts,
    holders: MappedVec<HolderId>,
}

impl Overlap {
    /// The stacks whose blocks several statics and thread-locals have reached first, each some of
    /// them. `counts` has the blocks by stack, birth and holder.
    pub(super) fn new(search: &Search<'_>, counts: &Counts) -> Result<Self, NoMemory> {
        // The first holder of each stack, and the stacks that have another one, too.
        let (mut first, mut contested) = (Counts::new(), Counts::new());
        let precise = || counts.iter().filter(|c| is_precise(search, c.key.holder()));
        for count in precise() {
            let (key, holder) = (of_stack(count.key), u32::from(count.key.holder()));
            let of_stack = Count {
                key,
                example: holder,
                ..*count
            };
            if !first.add(of_stack)? && first.get(key).is_some_and(|c| c.example != holder) {
                contested.add(of_stack)?;
            }
        }
        let mut blocks: MappedVec<u64> = MappedVec::new();
        blocks.reset(usize::from(search.holders.count()) + 1, 0)?;
        for count in precise().filter(|c| contested.get(of_stack(c.key)).is_some()) {
            blocks.as_mut_slice()[usize::from(count.key.holder())] += count.blocks;
        }
        let mut holders = MappedVec::new();
        let most = MAX_HOLDERS.min(MAX_VISITS / search.block_count().max(1));
        for _ in 0..most {
            let all = blocks.as_mut_slice().iter_mut().enumerate();
            match all.max_by_key(|(_, blocks)| **blocks) {
                Some((holder, blocks)) if *blocks > 0 => {
                    holders.push(holder as HolderId)?;
                    *blocks = 0;
                }
                _ => break,
            }
        }
        Ok(Self { contested, holders })
    }

    /// The holders to traverse: those with the most blocks.
    pub(super) fn holders(&self) -> &[HolderId] {
        self.holders.as_slice()
    }

    /// Whether several holders share the blocks of this stack.
    pub(super) fn is_contested(&self, key: Key) -> bool {
        self.contested.get(of_stack(key)).is_some()
    }
}

/// Stack and phase alone.
fn of_stack(key: Key) -> Key {
    let phase = key.birth().phase;
    Key::new(key.stack_id(), Birth { cycle: 0, phase }, NO_HOLDER)
}

/// Whether all that a holder points to is what it holds. On stacks and elsewhere many words are stale.
fn is_precise(search: &Search<'_>, holder: HolderId) -> bool {
    let index = usize::from(holder).checked_sub(1);
    let holder = index.and_then(|i| search.holders.as_slice().get(i));
    holder.is_some_and(|h| {
        matches!(
            h.source,
            Source::Region(RegionKind::Statics | RegionKind::ThreadLocals { .. })
        )
    })
}
