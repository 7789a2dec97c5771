//! Which parts of the C library's heaps are not its allocator's. A program may move the program break itself
//! (`sbrk`), and may map memory that looks like an arena's.
//!
//! A chunk (`malloc/malloc.c`) states its size, and so where the next one begins. What follows a live block, chunk by
//! chunk, is the allocator's, up to the chunk at the top, or to two small ones that mark memory of others. So is a
//! free chunk in front of it, whose size is in front of the block. Of a chunk that is no live block, nothing is a
//! root: it is free.

use super::index::Index;
use super::main_arena;
use super::regions::Access;
use crate::recorder::foreign_memory::word;
use crate::recorder::heap::NoMemory;

/// Bytes of a chunk in front of its block, and the multiple of which sizes are.
const HEADER: usize = 16;
/// Bytes of the smallest chunk.
const SMALLEST: usize = 32;
/// The flag of a size by which the chunk in front is in use.
const PREVIOUS_IN_USE: usize = 1;
/// Bytes of the structure at the start of an arena's heap: up to glibc 2.34, and later (`arena.c`, `heap_info`).
const HEAP_INFO: [usize; 2] = [32, 48];
/// Heaps of an arena start at multiples of this.
const ARENA_HEAP: usize = 64 << 20;

/// A readable range of addresses that may be a heap of the C library's.
#[derive(Clone, Copy, Debug)]
pub(super) struct CHeap {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) access: Access,
    /// Whether it looks like a heap of an arena; else it is that of the program break.
    pub(super) is_of_arena: bool,
}

/// The chunks of a heap.
struct Chunks<'a> {
    index: &'a Index,
    end: usize,
    /// Its chunk at the top.
    top: usize,
}

/// Calls `visit` with each part of a heap that is not the allocator's. `all` has every heap, and `main_top` is the
/// address of the top chunk in the main arena.
///
/// # Safety
/// All heaps are readable, and nothing changes them.
pub(super) unsafe fn for_each_other_part(
    heap: CHeap,
    all: &[CHeap],
    main_top: usize,
    index: &Index,
    mut visit: impl FnMut(usize, usize) -> Result<(), NoMemory>,
) -> Result<(), NoMemory> {
    let CHeap { start, end, .. } = heap;
    let (mut at, top) = match heap.is_of_arena {
        // SAFETY: the contract of this function.
        true => match unsafe { of_arena(heap, all) } {
            Some((first, top)) => {
                let chunks = Chunks { index, end, top };
                // SAFETY: the contract of this function.
                (unsafe { chunks.end_from(first) }, top)
            }
            None => return visit(start, end),
        },
        false => (start, main_top),
    };
    let chunks = Chunks { index, end, top };
    while at < end {
        // SAFETY: the contract of this function.
        let known = unsafe { chunks.first_known(at) };
        if known > at {
            visit(at, known)?;
        }
        if known >= end {
            break;
        }
        // SAFETY: the contract of this function.
        at = unsafe { chunks.end_from(known) }.max(known + HEADER);
    }
    Ok(())
}

/// The first chunk of an arena's heap, and the chunk at the arena's top; `None` if the range is no such heap.
///
/// # Safety
/// All heaps are readable.
unsafe fn of_arena(heap: CHeap, all: &[CHeap]) -> Option<(usize, usize)> {
    // SAFETY: the contract of this function.
    let (arena, previous) = unsafe { (word::<0>(heap.start), word::<8>(heap.start)) };
    let first_heap = arena / ARENA_HEAP * ARENA_HEAP;
    let info = arena - first_heap;
    let of_arena = all
        .iter()
        .find(|h| h.is_of_arena && h.start == first_heap)?;
    let is_first = first_heap == heap.start;
    if !HEAP_INFO.contains(&info) || is_first != (previous == 0) {
        return None;
    }
    let behind = arena + main_arena::SIZE;
    if behind > of_arena.end {
        return None;
    }
    // SAFETY: the range is in a heap, which is readable.
    let found = unsafe { main_arena::find(arena, behind) }?;
    if found != (arena, behind) {
        return None;
    }
    let first = match is_first {
        true => behind.next_multiple_of(HEADER),
        false => heap.start + info,
    };
    // SAFETY: as above.
    Some((first, unsafe { main_arena::top(arena) }))
}

impl Chunks<'_> {
    /// The first chunk from an address on that is known to be one: that of a live block, a free one in front of it,
    /// or that at the top. The end of the heap if there is none.
    ///
    /// # Safety
    /// The heap is readable.
    unsafe fn first_known(&self, from: usize) -> usize {
        let block = self.index.first_in(from + HEADER, self.end);
        let mut chunk = block.map_or(self.end, |block| block - HEADER);
        if (from..chunk).contains(&self.top) {
            chunk = self.top;
        }
        while chunk + HEADER <= self.end {
            // SAFETY: the two words are in the heap.
            let (previous, size) = unsafe { (word::<0>(chunk), word::<8>(chunk)) };
            let is_free = size & PREVIOUS_IN_USE == 0;
            if !is_free || previous < SMALLEST || previous > chunk - from {
                break;
            }
            chunk -= previous;
        }
        chunk
    }

    /// Where what is known of the allocator ends that begins with this chunk.
    ///
    /// # Safety
    /// The heap is readable.
    unsafe fn end_from(&self, mut chunk: usize) -> usize {
        while chunk + HEADER <= self.end {
            // SAFETY: the word is in the heap.
            let size = unsafe { word::<8>(chunk) } & !7;
            if size == HEADER {
                return (chunk + 2 * HEADER).min(self.end);
            }
            let is_chunk = size >= SMALLEST && size % HEADER == 0 && size <= self.end - chunk;
            if !is_chunk {
                return chunk;
            }
            let is_top = chunk == self.top;
            chunk += size;
            if is_top {
                return chunk;
            }
        }
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    /// A heap in a vector, with what each of its words is.
    struct Made {
        words: Vec<usize>,
        /// For each word, whether it is the allocator's.
        own: Vec<bool>,
        blocks: Vec<usize>,
        top: usize,
    }

    impl Made {
        fn push(&mut self, size: usize, own: bool, random: &mut Random) {
            for _ in 0..size / 8 {
                self.words.push(random.index(1 << 40));
                self.own.push(own);
            }
        }

        /// Adds chunks, of which some are live, and each free one is behind one in use.
        fn add_chunks(&mut self, base: usize, random: &mut Random) {
            let mut free = 0;
            let is_first_free = random.index(2) == 0;
            for i in 0..2 + random.index(8) {
                let at = self.words.len();
                let size = 16 * (2 + random.index(5));
                self.push(size, true, random);
                self.words[at + 1] = size | usize::from(free == 0);
                if free > 0 {
                    self.words[at] = free;
                }
                let is_live = match i {
                    0 => !is_first_free,
                    1 => true,
                    _ => random.index(3) > 0,
                };
                if is_live {
                    self.blocks.push(base + 8 * at + HEADER);
                }
                // In a thread's list, a free chunk seems to be in use.
                let is_in_list = i > 0 && random.index(2) == 0;
                free = if is_live || is_in_list { 0 } else { size };
            }
        }

        /// Memory of the program's own, which may state sizes as an allocator does.
        fn add_others(&mut self, random: &mut Random) {
            let at = self.words.len();
            self.push(16 * (1 + random.index(10)), false, random);
            self.words[at + 1] = 16 * random.index(20);
        }
    }

    #[test]
    fn what_is_of_no_chunk_is_found() {
        let mut random = Random::new(3);
        for round in 0..2000 {
            // Aligned, as a heap is.
            let mut room: Vec<u128> = vec![0; 2000];
            let base = room.as_mut_ptr().expose_provenance();
            let mut made = Made {
                words: vec![],
                own: vec![],
                blocks: vec![],
                top: 0,
            };
            if random.index(2) == 0 {
                made.add_others(&mut random);
            }
            for _ in 0..random.index(3) {
                made.add_chunks(base, &mut random);
                for _ in 0..2 {
                    let at = made.words.len();
                    made.push(HEADER, true, &mut random);
                    made.words[at + 1] = HEADER | PREVIOUS_IN_USE;
                }
                made.add_others(&mut random);
            }
            made.add_chunks(base, &mut random);
            let at = made.words.len();
            made.top = base + 8 * at;
            let size = 16 * (2 + random.index(20));
            made.push(size, true, &mut random);
            made.words[at + 1] = size | PREVIOUS_IN_USE;
            if random.index(2) == 0 {
                made.add_others(&mut random);
            }
            let words = room.as_mut_ptr().cast::<usize>();
            for (i, word) in made.words.iter().enumerate() {
                // SAFETY: a heap of at most three runs of chunks is shorter than `room`.
                unsafe { words.add(i).write(*word) };
            }
            let each = |visit: &mut dyn FnMut(usize)| made.blocks.iter().for_each(|&b| visit(b));
            let index = Index::new(each, |_| 16).unwrap();
            let heap = CHeap {
                start: base,
                end: base + 8 * made.words.len(),
                access: Access::Private,
                is_of_arena: false,
            };
            let mut own = vec![true; made.words.len()];
            // SAFETY: the heap is in `room`.
            unsafe {
                for_each_other_part(heap, &[heap], made.top, &index, |from, to| {
                    own[(from - base) / 8..(to - base) / 8].fill(false);
                    Ok(())
                })
            }
            .unwrap();
            assert_eq!(own, made.own, "round {round}");
        }
    }
}
