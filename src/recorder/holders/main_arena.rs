//! Where glibc's allocator keeps its main arena: in the data of the C library, and without a symbol. It has the
//! addresses of free chunks, which are at the ends of live blocks. All else there may hold blocks.
//!
//! It is found by its bins (`malloc/malloc.c`, `struct malloc_state`). A bin is a pair of links, and those of an
//! empty one are the address of the pair, less the two words that a chunk has in front of its links.

use crate::recorder::foreign_memory::word;

/// Bytes in front of the bins: flags, fast bins, the top chunk and the last remainder.
const BEFORE: usize = 112;

/// Where in it the address of the chunk at the top is.
const TOP: usize = 96;

/// Bytes of the bins: 127 pairs.
const BINS: usize = 127 * 16;

/// Bytes behind the bins: their map, links to other arenas, and sizes.
const BEHIND: usize = 56;

/// Bytes of an arena.
pub(super) const SIZE: usize = BEFORE + BINS + BEHIND;

/// Empty bins that make a main arena. Most bins are empty at any time.
const ENOUGH: usize = 16;

/// The main arena in a range of the C library's data; `None` if it is not there. The last
/// bin is always empty, because no chunk is large enough for it.
///
/// # Safety
/// The range is readable.
pub(super) unsafe fn find(start: usize, end: usize) -> Option<(usize, usize)> {
    let (mut found, mut last) = (0, 0);
    for at in (start.next_multiple_of(8)..end.saturating_sub(8)).step_by(8) {
        let empty = at.wrapping_sub(16);
        // SAFETY: the contract of this function: both words are in the range (test:
        // `the_main_arena_of_this_process_is_found`).
        if unsafe { word::<0>(at) == empty && word::<8>(at) == empty } {
            (found, last) = (found + 1, at);
        }
    }
    let behind_bins = last + 16;
    (found >= ENOUGH).then(|| (behind_bins - BINS - BEFORE, behind_bins + BEHIND))
}

/// The address of the chunk at the top of an arena.
///
/// # Safety
/// [`find`] has found the arena at this address.
pub(super) unsafe fn top(arena: usize) -> usize {
    // SAFETY: the word is in the arena, which is readable.
    unsafe { word::<TOP>(arena) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_env = "gnu")]
    #[test]
    fn the_main_arena_of_this_process_is_found() {
        // Something of each size, so that the allocator has begun.
        let blocks: Vec<Vec<u8>> = (0..100).map(|n| vec![1; n * 100]).collect();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let of_library = maps.lines().filter(|line| {
            line.contains(" rw-p ")
                && line
                    .rsplit('/')
                    .next()
                    .is_some_and(|n| n.starts_with("libc"))
        });
        let arenas = of_library.filter_map(|line| {
            let (start, rest) = line.split_once('-')?;
            let (end, _) = rest.split_once(' ')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            // SAFETY: the range is that of a readable mapping of the C library, which stays.
            unsafe { find(number(start)?, number(end)?) }
        });
        let arenas: Vec<(usize, usize)> = arenas.collect();
        let [(start, end)] = arenas[..] else {
            panic!("{arenas:?}\n{maps}");
        };
        assert_eq!(
            (end - start, SIZE),
            (2200, 2200),
            "the size of the structure in glibc 2.26 to 2.43"
        );
        // SAFETY: the arena was just found.
        let top = unsafe { top(start) };
        let heap = maps.lines().find(|line| line.ends_with("[heap]")).unwrap();
        let (heap, _) = heap.split_once(' ').unwrap();
        let (low, high) = heap.split_once('-').unwrap();
        let heap = [low, high].map(|text| usize::from_str_radix(text, 16).unwrap());
        assert!((heap[0]..heap[1]).contains(&top), "{top:x} {heap:x?}");
        drop(blocks);
    }
}
