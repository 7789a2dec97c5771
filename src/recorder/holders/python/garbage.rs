//! Objects that nothing reaches: those that wait for the collector of garbage, and those that never will be freed.
//!
//! The collector frees the objects in its lists whose references all come from such objects, as `subtract_refs` in
//! CPython's `Modules/gcmodule.c` counts them. An object with more references than were found has one that nobody
//! knows, as of a C function that has forgotten to drop it: it is lost, and so is what it refers to.

use super::graph::Graph;
use super::objects::references;
use super::source::PythonSource;
use crate::model::block::StackId;
use crate::recorder::heap::{self, MappedVec, NoMemory};
use crate::recorder::holders::holder_table::{Holder, HolderTable, Source};
use crate::recorder::holders::index::BlockId;
use crate::recorder::holders::marks::{BlockSet, Marks};

impl Graph<'_> {
    /// Marks the blocks that no root reaches, as far as they are such objects or are reached by them.
    pub(super) fn mark_unreached(
        &self,
        marks: &mut Marks<'_>,
        holders: &mut HolderTable,
    ) -> Result<(), NoMemory> {
        let is_collectable = |block: &BlockId| self.objects.is_linked(*block);
        if !marks
            .blocks()
            .any(|block| is_collectable(&block) && !marks.is_reached(block))
        {
            return Ok(());
        }
        let known = self.known_references(marks)?;
        for block in marks.blocks() {
            let has_unknown = match is_collectable(&block) {
                true => self.references(block) > known.references(block),
                false => !known.is_pointed_to(block),
            };
            if has_unknown && !marks.is_reached(block) {
                mark_from(marks, holders, block, false)?;
            }
        }
        for block in marks.blocks() {
            if is_collectable(&block) && !marks.is_reached(block) {
                mark_from(marks, holders, block, true)?;
            }
        }
        Ok(())
    }

    /// The references to an object, by its own count.
    fn references(&self, block: BlockId) -> usize {
        let object = self.objects.address(&self.memory, block);
        references(
            object
                .and_then(|object| self.memory.word(object))
                .unwrap_or(0),
        )
    }

    /// Counts the references to each object, and the blocks that are pointed to, of the blocks that no root reaches.
    fn known_references(&self, marks: &mut Marks<'_>) -> Result<Known, NoMemory> {
        let mut known = Known {
            counts: MappedVec::new(),
            pointed_to: BlockSet::new(marks.blocks().count())?,
        };
        known.counts.reset(marks.blocks().count(), 0)?;
        for block in marks.blocks() {
            if marks.is_reached(block) {
                continue;
            }
            marks.for_each_word_in(block, |marks, pointer| {
                let to = pointer.block.id;
                if to != block {
                    known.pointed_to.insert(to);
                }
                let object = self.objects.address(&self.memory, to);
                if !marks.is_reached(to)
                    && object == Some((pointer.block.start + pointer.offset) & !7)
                {
                    known.counts.as_mut_slice()[to as usize] += 1;
                }
                Ok(())
            })?;
        }
        Ok(known)
    }
}

struct Known {
    counts: MappedVec<u32>,
    pointed_to: BlockSet,
}

impl Known {
    fn references(&self, block: BlockId) -> usize {
        self.counts.as_slice()[block as usize] as usize
    }

    fn is_pointed_to(&self, block: BlockId) -> bool {
        self.pointed_to.contains(block)
    }
}

/// Marks a block, and those that are reached from it and from no other yet.
fn mark_from(
    marks: &mut Marks<'_>,
    holders: &mut HolderTable,
    block: BlockId,
    is_garbage: bool,
) -> Result<(), NoMemory> {
    let start = marks.index.get(block).start;
    let origin = heap::origin(start);
    let (stack_id, after_setup) =
        origin.map_or((0, false), |(stack_id, birth)| (stack_id, birth.cycle > 0));
    let holder = holders.intern(match is_garbage {
        true => garbage(start, stack_id, after_setup),
        false => Holder::lost(start, 0, false, stack_id, after_setup),
    })?;
    marks.queue.clear();
    marks.reach(holder, None, block)?;
    marks.follow()
}

/// An object that waits for the collector, as a holder. Those of the same stack are one.
fn garbage(at: usize, stack_id: StackId, after_setup: bool) -> Holder {
    let key = 1 << 60 | u64::from(stack_id) << 4 | u64::from(after_setup) << 3;
    Holder::new(Source::Python(PythonSource::Garbage), at, key)
}
