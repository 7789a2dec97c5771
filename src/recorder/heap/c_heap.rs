//! The heap of C code: the counters of glibc's allocator, and what a block takes in it.

use super::thread::Paused;
use crate::model::journal::Arenas;

/// Bytes in glibc's heap, over all arenas (mallinfo(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Obtained from the system: `arena + hblkhd`.
    pub(crate) system: u64,
    /// Allocated, rounding included: `uordblks + hblkhd`.
    pub(crate) in_use: u64,
    /// Free and kept for reuse: `fordblks`.
    pub(crate) free: u64,
    /// The part of `system` that is in mappings for one block each: `hblkhd`.
    pub(crate) mapped: u64,
}

/// Reads the counters; `None` if the C library has none (musl, glibc before 2.33).
#[cfg(target_env = "gnu")]
pub(crate) fn read() -> Option<Counters> {
    type Mallinfo = unsafe extern "C" fn() -> libc::mallinfo2;
    // SAFETY: the name ends in a null byte. A symbol that does not exist gives null.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: glibc's function of this name has had this type since it was added in 2.33. It takes
    // the locks of the arenas, and is called at a boundary, not inside a hook (tests:
    // `blocks_of_c_code_are_in_use`).
    let info = unsafe { core::mem::transmute::<*mut libc::c_void, Mallinfo>(found)() };
    Some(Counters {
        system: (info.arena + info.hblkhd) as u64,
        in_use: (info.uordblks + info.hblkhd) as u64,
        free: info.fordblks as u64,
        mapped: info.hblkhd as u64,
    })
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn read() -> Option<Counters> {
    None
}

/// What malloc_info(3) says about the arenas; `None` if the C library does not have it.
#[cfg(target_env = "gnu")]
pub(crate) fn arenas(_: &Paused) -> Option<Arenas> {
    let (mut text, mut length) = (core::ptr::null_mut(), 0);
    // SAFETY: both are local variables, which the stream writes until it is closed.
    let stream = unsafe { libc::open_memstream(&mut text, &mut length) };
    if stream.is_null() {
        return None;
    }
    // SAFETY: the stream was opened above and is closed once. `malloc_info` holds no lock of an arena
    // while it writes, which allocates.
    let failed = unsafe { libc::malloc_info(0, stream) | libc::fclose(stream) };
    if text.is_null() {
        return None;
    }
    // SAFETY: the closed stream has left a buffer of this length.
    let written = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), length) };
    let arenas = (failed == 0).then(|| read_arenas(&String::from_utf8_lossy(written)));
    // SAFETY: the buffer is from `malloc`, and is freed once.
    unsafe { libc::free(text.cast()) };
    arenas
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn arenas(_: &Paused) -> Option<Arenas> {
    None
}

/// Reads the text of malloc_info(3), in which each arena is a `heap`. What follows the last is the sum.
fn read_arenas(text: &str) -> Arenas {
    let mut heaps = text.split("<heap nr=").skip(1);
    let size = |line: &str| {
        let (_, size) = line.split_once(" size=\"")?;
        size.split_once('"')?.0.parse::<u64>().ok()
    };
    let free = |heap: &str| {
        let heap = heap.split("</heap>").next().unwrap_or_default();
        let totals = heap.lines().filter(|line| line.starts_with("<total type="));
        let free = totals.filter(|line| !line.contains("\"mmap\""));
        free.filter_map(size).fold(0, u64::saturating_add)
    };
    let main = heaps.next().map_or(0, free);
    let (others, count) = heaps.fold((0_u64, 0), |(sum, n), heap| {
        (sum.saturating_add(free(heap)), n + 1)
    });
    Arenas {
        count: count + 1,
        free_in_main: main,
        free_in_others: others,
    }
}

/// Returns the free memory of the C heap to the system (malloc_trim(3)).
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no precondition, and its locks are not held, because this is called outside of
    // hooks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Smallest block that may get a mapping of its own (`DEFAULT_MMAP_THRESHOLD_MIN`).
const MIN_MAPPED: usize = 128 << 10;

/// The most bytes that a block of this size takes in glibc's heap: its chunk, rounded up to whole
/// pages if it may get a mapping of its own (malloc.c, `request2size`, `sysmalloc_mmap`).
#[inline]
pub(crate) fn chunk(size: usize) -> u64 {
    const MIN_CHUNK: usize = 32;
    const HEADER: usize = 8;
    if size < MIN_MAPPED {
        return ((size + HEADER + 15) & !15).max(MIN_CHUNK) as u64;
    }
    let chunk = size.saturating_add(2 * HEADER);
    chunk.checked_next_multiple_of(4096).unwrap_or(usize::MAX) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_holds_its_block_and_a_header() {
        assert_eq!(
            [chunk(0), chunk(24), chunk(25), chunk(40)],
            [32, 32, 48, 48]
        );
        assert_eq!(chunk(200_000), 200_704);
        assert!(chunk(usize::MAX) > 0);
    }

    #[test]
    fn arenas_are_counted_without_the_sum_behind_them() {
        let text = "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n  \
             <size from=\"33\" to=\"48\" total=\"96\" count=\"2\"/>\n</sizes>\n\
             <total type=\"fast\" count=\"2\" size=\"96\"/>\n<total type=\"rest\" count=\"1\" size=\"4000\"/>\n\
             <system type=\"current\" size=\"135168\"/>\n</heap>\n<heap nr=\"1\">\n\
             <total type=\"fast\" count=\"0\" size=\"0\"/>\n<total type=\"rest\" count=\"3\" size=\"700000\"/>\n\
             </heap>\n<total type=\"fast\" count=\"2\" size=\"96\"/>\n\
             <total type=\"rest\" count=\"4\" size=\"704000\"/>\n\
             <total type=\"mmap\" count=\"1\" size=\"9000000\"/>\n</malloc>\n";
        let expected = Arenas {
            count: 2,
            free_in_main: 4096,
            free_in_others: 700_000,
        };
        assert_eq!(read_arenas(text), expected);
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn the_c_library_tells_its_arenas() {
        let arenas = arenas(&crate::recorder::heap::pause()).unwrap();
        assert!(arenas.count >= 1, "{arenas:?}");
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn blocks_of_c_code_are_in_use() {
        // Much more than other tests may allocate or free meanwhile.
        const BIG: usize = 512 << 20;
        let before = read().unwrap();
        // SAFETY: `malloc` has no precondition.
        let block = unsafe { libc::malloc(BIG) };
        let held = read().unwrap();
        // SAFETY: allocated by `malloc` above and freed once.
        unsafe { libc::free(block) };
        assert!(held.in_use >= before.in_use + BIG as u64 / 2, "{held:?}");
        assert!(held.mapped <= held.system && held.in_use <= held.system);
    }
}
