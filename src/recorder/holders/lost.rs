//! Marks blocks that are not reachable from any root with the causes of their loss.
//!
//! A cause is a block to which nothing points, or blocks that point at each other and to which nothing
//! else points: a reference cycle, or links that were left behind. In the graph of strongly connected
//! components it is a source. Sources are found with two
//! traversals, as in the Kosaraju-Sharir algorithm. The first one starts from each block that it
//! has not visited yet. A start that is not reachable from any later start belongs to a source.

use super::holder_table::{Holder, HolderTable, NO_HOLDER, UNUSED_ID};
use super::index::BlockId;
use super::marks::{Among, BlockSet, Marks, Pointer};
use crate::recorder::heap::{self, MappedVec, NoMemory};

/// Marks every block that has no holder yet.
pub(super) fn mark_lost(marks: &mut Marks<'_>, holders: &mut HolderTable) -> Result<(), NoMemory> {
    let mut starts: MappedVec<BlockId> = MappedVec::new();
    let mut seen = BlockSet::new(marks.index.count() as usize)?;
    for block in marks.blocks() {
        if marks.is_reached(block) || !seen.insert(block) {
            continue;
        }
        starts.push(block)?;
        marks.queue.clear();
        marks.queue.push(block)?;
        marks.insert_reachable(&mut seen, Among::Unreached)?;
    }
    let mut visited = MappedVec::new();
    for &block in starts.as_slice().iter().rev() {
        if !marks.is_reached(block) {
            mark_cause(marks, holders, block, &mut visited)?;
        }
    }
    Ok(())
}

/// Marks a cause and the lost blocks that are reachable from it.
fn mark_cause(
    marks: &mut Marks<'_>,
    holders: &mut HolderTable,
    cause: BlockId,
    visited: &mut MappedVec<BlockId>,
) -> Result<(), NoMemory> {
    let start = marks.index.get(cause).start;
    let mut cycle = shortest_cycle(marks, cause, visited, Pointer::may_own)?;
    let is_owned = cycle > 0;
    if !is_owned {
        cycle = shortest_cycle(marks, cause, visited, |_| true)?;
    }
    let origin = heap::origin(start);
    let (stack_id, after_setup) =
        origin.map_or((0, false), |(stack_id, birth)| (stack_id, birth.cycle > 0));
    let holder = holders.intern(Holder::lost(start, cycle, is_owned, stack_id, after_setup))?;
    marks.queue.clear();
    marks.reach(holder, None, cause)?;
    marks.follow()
}

/// Number of blocks in the shortest cycle of such pointers through a cause; 0 if there is none.
///
/// `visited` is scratch memory.
fn shortest_cycle(
    marks: &mut Marks<'_>,
    cause: BlockId,
    visited: &mut MappedVec<BlockId>,
    is_followed: fn(Pointer) -> bool,
) -> Result<u32, NoMemory> {
    // Lost blocks have no predecessor and no holder yet. During this traversal `predecessors` has
    // the path from the cause, and an unused holder number marks visited blocks; it is reset at the
    // end.
    let mut last = None;
    visited.clear();
    visited.push(cause)?;
    marks.predecessors.as_mut_slice()[cause as usize] = cause;
    marks.holders.as_mut_slice()[cause as usize] = UNUSED_ID;
    let mut next = 0;
    while let (None, Some(&block)) = (last, visited.as_slice().get(next)) {
        next += 1;
        marks.for_each_word_in(block, |marks, pointer| {
            let to = pointer.block.id;
            if !is_followed(pointer) {
                return Ok(());
            }
            if to == cause {
                last = last.or(Some(block));
            }
            if marks.is_reached(to) {
                return Ok(());
            }
            marks.holders.as_mut_slice()[to as usize] = UNUSED_ID;
            marks.predecessors.as_mut_slice()[to as usize] = block;
            visited.push(to)
        })?;
    }
    let mut blocks = 0;
    while let Some(block) = last {
        let predecessor = marks.predecessors.as_slice()[block as usize];
        last = (block != cause).then_some(predecessor);
        blocks += 1;
    }
    for &block in visited.as_slice() {
        marks.holders.as_mut_slice()[block as usize] = NO_HOLDER;
    }
    Ok(blocks)
}
