//! Marks of all blocks, and breadth-first traversal of the pointers between them.

use super::holder_table::{FIRST_HOLDER, HolderId, NO_HOLDER};
use super::index::{Block, BlockId, Index, Sizes};
use super::python::graph::Graph;
use super::scan::{Words, for_each_word};
use crate::recorder::heap::{MappedVec, NoMemory};

/// What the search knows of each block.
pub(super) struct Marks<'a> {
    pub(super) index: &'a Index,
    pub(super) sizes: Sizes,
    /// The objects of Python's, if the process has an interpreter.
    pub(super) python: Option<&'a Graph<'a>>,
    /// For each block, the holder that reached it first.
    pub(super) holders: MappedVec<HolderId>,
    /// For each block, the block from which it was reached; itself, if it was reached from a root.
    pub(super) predecessors: MappedVec<BlockId>,
    /// Blocks that more than one holder reaches.
    pub(super) shared: BlockSet,
    /// Holders, and the blocks to which they point but which another one has reached first. Only of
    /// statics and thread-locals.
    pub(super) later_roots: MappedVec<(HolderId, BlockId)>,
    /// Blocks whose pointers have not been followed yet, first in, first out.
    pub(super) queue: MappedVec<BlockId>,
    /// Which words are scanned.
    pub(super) words: Words,
    /// A block becomes shared when a second holder reaches it, but only if the number of its first
    /// holder is at least this.
    pub(super) sharing_from: HolderId,
    /// The first holder that shares with others. What those before it reach, others reach, too, and would not keep.
    pub(super) first_shareable: HolderId,
    /// Number of words that have been scanned.
    pub(super) scanned_words: u64,
    /// Of these, in regions.
    pub(super) region_words: u64,
    /// Bytes of regions that could not be read.
    pub(super) unreadable_bytes: u64,
    /// Bytes of blocks whose unaligned words were not searched.
    pub(super) unsearched_unaligned: u64,
}

/// A word that points to a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer {
    /// The address of the word.
    pub(super) at: usize,
    pub(super) block: Block,
    /// Bytes from the start of the block to where it points.
    pub(super) offset: usize,
}

impl Pointer {
    /// Whether it may own the block, as `Arc` and `Rc` do. A pointer to the value in them, behind the
    /// two counters, is as a rule a link that does not.
    pub(super) fn may_own(self) -> bool {
        const COUNTERS: usize = 2 * size_of::<usize>();
        self.offset & !7 != COUNTERS
    }
}

/// Which blocks a traversal visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// Only blocks that have a holder whose number is at least this.
    HeldFrom(HolderId),
    /// Only blocks that have none.
    Unreached,
}

impl<'a> Marks<'a> {
    pub(super) fn new(
        index: &'a Index,
        sizes: Sizes,
        python: Option<&'a Graph<'a>>,
    ) -> Result<Self, NoMemory> {
        let count = index.count() as usize;
        let mut marks = Self {
            index,
            sizes,
            python,
            holders: MappedVec::new(),
            predecessors: MappedVec::new(),
            shared: BlockSet::new(count)?,
            later_roots: MappedVec::new(),
            queue: MappedVec::new(),
            words: Words::Aligned,
            sharing_from: FIRST_HOLDER,
            first_shareable: FIRST_HOLDER,
            scanned_words: 0,
            region_words: 0,
            unreadable_bytes: 0,
            unsearched_unaligned: 0,
        };
        marks.holders.reset(count, NO_HOLDER)?;
        marks.predecessors.reset(count, 0)?;
        Ok(marks)
    }

    /// Bytes of the marks and of the queue.
    pub(super) fn own_bytes(&self) -> usize {
        size_of_val(self.holders.as_slice())
            + size_of_val(self.predecessors.as_slice())
            + self.shared.own_bytes()
            // At most, the queue has an entry for each block.
            + size_of::<BlockId>() * self.holders.as_slice().len()
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = BlockId> + use<> {
        0..self.index.count()
    }

    pub(super) fn holder(&self, block: BlockId) -> HolderId {
        self.holders.as_slice()[block as usize]
    }

    pub(super) fn is_reached(&self, block: BlockId) -> bool {
        self.holder(block) != NO_HOLDER
    }

    /// Marks block `to`: the holder points to it, or block `from`, which the holder has reached.
    pub(super) fn reach(
        &mut self,
        holder: HolderId,
        from: Option<BlockId>,
        to: BlockId,
    ) -> Result<(), NoMemory> {
        let first = &mut self.holders.as_mut_slice()[to as usize];
        match *first {
            NO_HOLDER => {
                *first = holder;
                self.predecessors.as_mut_slice()[to as usize] = from.unwrap_or(to);
                self.queue.push(to)
            }
            other if other != holder && other >= self.sharing_from => {
                self.shared.insert(to);
                let is_precise_root = from.is_none() && self.sharing_from == self.first_shareable;
                match is_precise_root {
                    true => self.later_roots.push((holder, to)),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Marks all blocks that are reachable from the queue, breadth first.
    pub(super) fn follow(&mut self) -> Result<(), NoMemory> {
        let mut next = 0;
        while let Some(&block) = self.queue.as_slice().get(next) {
            next += 1;
            let holder = self.holder(block);
            self.for_each_pointer(block, |marks, to| marks.reach(holder, Some(block), to))?;
        }
        Ok(())
    }

    /// Inserts into a set all blocks that are reachable from the queue, which are in it already.
    pub(super) fn insert_reachable(
        &mut self,
        set: &mut BlockSet,
        among: Among,
    ) -> Result<(), NoMemory> {
        let mut next = 0;
        while let Some(&block) = self.queue.as_slice().get(next) {
            next += 1;
            self.for_each_pointer(block, |marks, to| {
                let holder = marks.holder(to);
                let is_among = match among {
                    Among::Unreached => holder == NO_HOLDER,
                    Among::HeldFrom(first) => holder >= first,
                };
                match is_among && set.insert(to) {
                    true => marks.queue.push(to),
                    false => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    /// Makes everything shared that is reachable from a shared block.
    pub(super) fn spread_shared(&mut self) -> Result<(), NoMemory> {
        self.queue.clear();
        for block in self.blocks() {
            if self.shared.contains(block) {
                self.queue.push(block)?;
            }
        }
        let mut shared = core::mem::take(&mut self.shared);
        let spread = self.insert_reachable(&mut shared, Among::HeldFrom(self.first_shareable));
        self.shared = shared;
        spread
    }

    /// All blocks that a static or thread-local reaches, first or later.
    pub(super) fn reached_by(&mut self, holder: HolderId) -> Result<BlockSet, NoMemory> {
        let mut reached = BlockSet::new(self.index.count() as usize)?;
        self.queue.clear();
        let (blocks, holders) = (self.blocks(), self.holders.as_slice());
        let first = blocks.filter(|&block| holders[block as usize] == holder);
        let later = self.later_roots.as_slice().iter();
        let later = later.filter(|r| r.0 == holder).map(|r| r.1);
        for block in first.chain(later) {
            if reached.insert(block) {
                self.queue.push(block)?;
            }
        }
        self.insert_reachable(&mut reached, Among::HeldFrom(FIRST_HOLDER))?;
        Ok(reached)
    }

    /// Calls `visit` with each block that a block points to.
    pub(super) fn for_each_pointer(
        &mut self,
        block: BlockId,
        mut visit: impl FnMut(&mut Self, BlockId) -> Result<(), NoMemory>,
    ) -> Result<(), NoMemory> {
        self.for_each_word_in(block, |marks, pointer| visit(marks, pointer.block.id))
    }

    /// Calls `visit` with each word in a block that points to a block and may keep it alive.
    pub(super) fn for_each_word_in(
        &mut self,
        block: BlockId,
        mut visit: impl FnMut(&mut Self, Pointer) -> Result<(), NoMemory>,
    ) -> Result<(), NoMemory> {
        let Block { start, .. } = self.index.get(block);
        let end = start + (self.sizes.usable)(start);
        let known_end = self.python.and_then(|python| python.end(block, start));
        let end = known_end.map_or(end, |known| known.min(end));
        let borrowed = self.python.map(|python| python.borrowed(block));
        let freed = self.python.filter(|python| python.is_freed(block));
        let visit = |marks: &mut Self, pointer: Pointer| match (&borrowed, freed) {
            (Some(words), _) if words.contains(pointer.at) => Ok(()),
            (_, Some(python)) if !python.is_freed(pointer.block.id) => Ok(()),
            _ => visit(marks, pointer),
        };
        // SAFETY: a live block of the heap is readable up to its usable size, and stays live: the
        // copy has one thread, this one, and it frees nothing (test:
        // `the_search_finds_what_a_naive_search_finds`, whose blocks are borrowed during the
        // search).
        unsafe { self.scan(start, end, visit) }
    }

    /// Calls `visit` with each word in a range that points to a block.
    ///
    /// # Safety
    /// The range is mapped and readable, and stays so until the function returns.
    pub(super) unsafe fn scan(
        &mut self,
        start: usize,
        end: usize,
        visit: impl FnMut(&mut Self, Pointer) -> Result<(), NoMemory>,
    ) -> Result<(), NoMemory> {
        // SAFETY: the contract of this function is that of `scan_copy` for a copy in place.
        unsafe { self.scan_copy(start, end, 0, visit) }
    }

    /// [`Marks::scan`] for a copy of the words at `start..end`, which were copied from addresses that
    /// are higher by `distance`. `visit` gets the addresses that they were copied from.
    ///
    /// # Safety
    /// That of [`Marks::scan`].
    pub(super) unsafe fn scan_copy(
        &mut self,
        start: usize,
        end: usize,
        distance: usize,
        mut visit: impl FnMut(&mut Self, Pointer) -> Result<(), NoMemory>,
    ) -> Result<(), NoMemory> {
        let (index, pointable) = (self.index, self.sizes.pointable);
        let python = self.python;
        let mut result = Ok(());
        // SAFETY: the caller ensures that the range is readable until this function returns (test:
        // `the_search_finds_what_a_naive_search_finds`).
        unsafe {
            for_each_word(start, end, self.words, |at, word| {
                if let (Ok(()), Some(block)) = (result, index.find(word, pointable)) {
                    let at = at.wrapping_add(distance);
                    let offset = word.wrapping_sub(block.start);
                    if python.is_some_and(|python| python.is_link(block.id, offset)) {
                        return;
                    }
                    result = visit(self, Pointer { at, offset, block });
                }
            });
        }
        self.scanned_words += ((end - start) / 8) as u64;
        result
    }
}

/// A set of blocks.
#[derive(Default)]
pub(super) struct BlockSet {
    bits: MappedVec<u64>,
}

impl BlockSet {
    /// A set with room for this many blocks.
    pub(super) fn new(count: usize) -> Result<Self, NoMemory> {
        let mut bits = MappedVec::new();
        bits.reset(count / 64 + 1, 0)?;
        Ok(Self { bits })
    }

    pub(super) fn contains(&self, block: BlockId) -> bool {
        self.bits.as_slice()[block as usize / 64] & 1 << (block % 64) != 0
    }

    /// Returns whether the block is new.
    pub(super) fn insert(&mut self, block: BlockId) -> bool {
        let word = &mut self.bits.as_mut_slice()[block as usize / 64];
        let before = *word;
        *word |= 1 << (block % 64);
        *word != before
    }

    fn own_bytes(&self) -> usize {
        size_of_val(self.bits.as_slice())
    }
}
