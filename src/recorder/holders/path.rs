//! The retaining path of a block: the chain of blocks through which its holder reaches it.

use super::index::BlockId;
use crate::recorder::heap::{MappedVec, NoMemory};

/// Most blocks of a path. Of a longer path, the middle is left out.
pub(super) const MAX_BLOCKS: usize = 24;

/// Writes the path to a block into `path`: first the block to which the holder points, last the
/// block itself. Returns the length of the whole path.
///
/// The predecessor of a block is the block from which it was reached, or the block itself if it was
/// reached from a root.
pub(super) fn retaining_path(
    predecessors: &[BlockId],
    block: BlockId,
    path: &mut MappedVec<BlockId>,
) -> Result<u32, NoMemory> {
    path.clear();
    let mut at = block;
    let mut count = 0;
    loop {
        count += 1;
        path.push(at)?;
        let len = path.as_slice().len();
        if len > MAX_BLOCKS {
            // Removes the block in the middle.
            let middle = MAX_BLOCKS / 2;
            path.as_mut_slice().copy_within(middle + 1.., middle);
            path.truncate(len - 1);
        }
        let predecessor = predecessors[at as usize];
        if predecessor == at {
            break;
        }
        at = predecessor;
    }
    path.as_mut_slice().reverse();
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_path_both_ends_are_kept() {
        // A chain: a root points to block 0, and each block to the next one.
        let predecessors: Vec<BlockId> = (0..100_u32).map(|b| b.saturating_sub(1)).collect();
        let mut path = MappedVec::new();
        for block in 0..100 {
            let count = retaining_path(&predecessors, block, &mut path).unwrap();
            assert_eq!(count, block + 1);
            let path = path.as_slice();
            assert_eq!(path.len(), MAX_BLOCKS.min(block as usize + 1));
            assert_eq!((path[0], path[path.len() - 1]), (0, block));
            assert!(path.is_sorted_by(|a, b| a < b));
            let gaps = path.windows(2).filter(|w| w[1] != w[0] + 1).count();
            assert_eq!(gaps, usize::from(block as usize >= MAX_BLOCKS), "{path:?}");
        }
    }
}
