//! The heaps of glibc's arenas other than the first, which are anonymous mappings. The flags of such a mapping do
//! not tell it: up to version 2.40 glibc reserves no swap space for it, and later it does. Nor do its bounds: the
//! kernel merges neighbours whose flags are equal. So each is known by its header (arena.c, `heap_info`).

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Size and alignment of a heap (arena.c, `HEAP_MAX_SIZE` on 64-bit systems).
const HEAP: u64 = 64 << 20;

/// Bytes of a header, up to version 2.34 and from then on, behind which the first heap of an arena has the arena.
const HEADER: [u64; 2] = [32, 48];

const PAGE: u64 = 4096;

/// The words of a header that are read: the arena, the heap before this one, the bytes in use, and those that
/// may be accessed.
pub(super) type Header = [u64; 4];

/// Finds the heaps. Headers are read through the kernel: another thread may unmap a heap.
pub(crate) struct ArenaHeaps(Option<File>);

impl ArenaHeaps {
    pub(crate) fn new() -> Self {
        Self(File::open("/proc/self/mem").ok())
    }

    /// The used parts of the heaps in an anonymous mapping, in order.
    pub(crate) fn within(&self, mapping: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        heaps(mapping, |at| self.header(at))
    }

    /// What would be the header of a heap that begins at an address; `None` if it cannot be read.
    pub(super) fn header(&self, at: u64) -> Option<Header> {
        let mut bytes = [0; size_of::<Header>()];
        self.0.as_ref()?.read_exact_at(&mut bytes, at).ok()?;
        let mut header = Header::default();
        for (word, bytes) in header.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        Some(header)
    }
}

/// [`ArenaHeaps::within`], with a function that reads headers.
pub(super) fn heaps(
    bounds: Range<u64>,
    header: impl Fn(u64) -> Option<Header>,
) -> impl Iterator<Item = Range<u64>> {
    let first = bounds.start.next_multiple_of(HEAP);
    let starts = (first..bounds.end).step_by(HEAP as usize);
    starts.filter_map(move |start| {
        let used = used_bytes(start, header(start)?)?;
        // What follows it may not be accessed, unless all of it is used.
        let is_whole = start + used == bounds.end || used == HEAP && start + used < bounds.end;
        is_whole.then_some(start..start + used)
    })
}

/// The bytes of a heap that may be accessed; `None` if this is no header of one.
fn used_bytes(start: u64, [arena, before, used, accessible]: Header) -> Option<u64> {
    let first = if before == 0 {
        start
    } else {
        arena / HEAP * HEAP
    };
    let is_arena = HEADER
        .iter()
        .any(|header| first.checked_add(*header) == Some(arena));
    let is_size = accessible.is_multiple_of(PAGE) && (1..=HEAP).contains(&accessible);
    (is_arena && is_size && before.is_multiple_of(HEAP) && used <= accessible).then_some(accessible)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::slice::from_ref;

    const A: u64 = 0x7f00_0000_0000;
    const FIRST: Header = [A + 48, 0, 0x2_0000, 0x2_1000];

    fn found(mapping: &Range<u64>, headers: &[(u64, Header)]) -> Vec<Range<u64>> {
        let header = |at| headers.iter().find(|h| h.0 == at).map(|h| h.1);
        heaps(mapping.clone(), header).collect()
    }

    #[test]
    fn a_heap_is_found_by_its_header() {
        let used = A..A + 0x2_1000;
        assert_eq!(found(&used, &[(A, FIRST)]), from_ref(&used));
        // Of version 2.34, and a later heap of an arena.
        for header in [
            [A + 32, 0, 0x100, 0x2_1000],
            [A - 3 * HEAP + 48, A - HEAP, 0x100, 0x2_1000],
        ] {
            assert_eq!(found(&used, &[(A, header)]), from_ref(&used));
        }
    }

    #[test]
    fn heaps_that_the_kernel_has_merged_with_others_are_found() {
        let merged = A - 0x5000..A + HEAP + 0x2_1000;
        let full = [A + 48, 0, HEAP, HEAP];
        let second = [A + HEAP + 48, 0, 0x1000, 0x2_1000];
        let headers = [(A, full), (A + HEAP, second)];
        let second = A + HEAP..A + HEAP + 0x2_1000;
        assert_eq!(found(&merged, &headers), [A..A + HEAP, second]);
    }

    #[test]
    fn what_only_looks_like_a_heap_is_none() {
        let [arena, ..] = FIRST;
        let alone = A..A + 0x2_1000;
        for header in [
            Header::default(),
            [arena + 8, 0, 0x1000, 0x2_1000],
            [arena, 0, 0x2_2000, 0x2_1000],
            [arena, 0, 0x1000, 0x2_1008],
            [arena, 0, 0x1000, 0x2_0000],
            [arena, A + 8, 0x1000, 0x2_1000],
            [u64::MAX; 4],
        ] {
            assert!(found(&alone, &[(A, header)]).is_empty(), "{header:x?}");
        }
        assert!(found(&(A + 4096..A + 0x2_1000), &[(A, FIRST)]).is_empty());
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn the_heap_of_a_thread_is_found() {
        use crate::recorder::heap::MappedVec;
        use crate::recorder::proc;
        use crate::recorder::smaps::for_each_mapping;

        // While the main arena is locked by nobody a thread may use it; a block of each of several threads, which
        // live at once, is in one of its own.
        let all = std::sync::Barrier::new(8);
        let is_in_a_heap = || {
            // SAFETY: `malloc` has no precondition.
            let block = unsafe { libc::malloc(100) };
            all.wait();
            let mut text = MappedVec::new();
            proc::read_whole("/proc/self/smaps", &mut text).unwrap();
            let (heaps, mut is_found) = (ArenaHeaps::new(), false);
            for_each_mapping(text.as_slice(), |mapping| {
                is_found |= heaps
                    .within(mapping.anonymous_range())
                    .any(|h| h.contains(&(block.addr() as u64)));
            });
            all.wait();
            // SAFETY: allocated above, and freed once.
            unsafe { libc::free(block) };
            is_found
        };
        let found = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(is_in_a_heap)).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap())
                .filter(|f| *f)
                .count()
        });
        assert!(found > 0);
    }
}
