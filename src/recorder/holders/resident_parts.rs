//! The parts of a region that have been written. Reading other pages is a waste of time, and
//! creates them in shared memory.

use super::regions::{Access, Region};
use crate::recorder::pagemap::{CHUNK, Entry, PAGE, Pagemap};

/// Private regions smaller than this are always visited whole.
const MIN_BYTES: usize = 1 << 20;

/// Calls `visit` with each range of a region that may have been written. Between two ranges is a page that was not, so
/// that no word is in both.
pub(super) fn for_each(region: &Region, mut visit: impl FnMut(usize, usize)) {
    let is_private = matches!(region.access, Access::Private | Access::Protected);
    let is_whole = match region.access {
        Access::SharedWhole => true,
        Access::Private => region.end - region.start < MIN_BYTES,
        Access::Protected | Access::Shared | Access::Secret => false,
    };
    if is_whole {
        return visit(region.start, region.end);
    }
    let pagemap = if is_private { Pagemap::open() } else { None };
    let mut at = region.start / PAGE * PAGE;
    // The last range is not complete until a page is not in use.
    let mut range = region.start..region.start;
    while at < region.end {
        let pages = (region.end - at).div_ceil(PAGE).min(CHUNK);
        // If the kernel does not report the state of a page, the page is visited.
        let mut in_use = [true; CHUNK];
        match &pagemap {
            Some(pagemap) => touched(pagemap, at, &mut in_use[..pages]),
            None if !is_private => in_core(at, &mut in_use[..pages]),
            None => {}
        }
        for i in (0..pages).filter(|&i| in_use[i]) {
            let page = at + i * PAGE;
            let (start, end) = (page.max(region.start), (page + PAGE).min(region.end));
            if start > range.end {
                visit(range.start, range.end);
                range.start = start;
            }
            range.end = end;
        }
        at += pages * PAGE;
    }
    visit(range.start, range.end);
}

/// Which pages of shared memory exist: mincore(2).
fn in_core(at: usize, in_use: &mut [bool]) {
    let mut states = [0_u8; CHUNK];
    let start = core::ptr::with_exposed_provenance_mut(at);
    // SAFETY: the call only writes one byte a page to `states`, which has room for `CHUNK` pages;
    // `in_use` has at most `CHUNK` elements (test:
    // `only_written_pages_of_a_large_mapping_are_visited`).
    let is_known = unsafe { libc::mincore(start, in_use.len() * PAGE, states.as_mut_ptr()) } == 0;
    if is_known {
        for (in_use, state) in in_use.iter_mut().zip(states) {
            *in_use = state & 1 != 0;
        }
    }
}

/// Which pages of private memory were ever written.
fn touched(pagemap: &Pagemap, at: usize, in_use: &mut [bool]) {
    let mut entries = [Entry::default(); CHUNK];
    if pagemap.read(at, &mut entries[..in_use.len()]) == in_use.len() {
        for (in_use, entry) in in_use.iter_mut().zip(entries) {
            *in_use = entry.is_touched();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::holders::regions::RegionKind;

    #[test]
    fn only_written_pages_of_a_large_mapping_are_visited() {
        const PAGES: usize = 1000;
        for flags in [libc::MAP_PRIVATE, libc::MAP_SHARED] {
            // SAFETY: the kernel chooses the address of the new mapping, so that it overlaps no
            // other.
            let at = unsafe {
                libc::mmap(
                    core::ptr::null_mut(),
                    PAGES * PAGE,
                    libc::PROT_READ | libc::PROT_WRITE,
                    flags | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_ne!(at, libc::MAP_FAILED);
            // SAFETY: the range is the mapping that was just created. Without huge pages, one write
            // creates one page.
            unsafe { libc::madvise(at, PAGES * PAGE, libc::MADV_NOHUGEPAGE) };
            let written = [3, 511, 512, 999];
            for page in written {
                // SAFETY: the address is in the mapping, which is writable.
                unsafe { at.cast::<u8>().add(page * PAGE).write(1) };
            }
            let start = at.expose_provenance();
            let region = Region {
                start: start + 8,
                end: start + PAGES * PAGE,
                kind: RegionKind::Mapped,
                access: match flags {
                    libc::MAP_PRIVATE => Access::Private,
                    _ => Access::Shared,
                },
            };
            let mut visited = Vec::new();
            for_each(&region, |from, to| visited.push((from - start, to - start)));
            visited.retain(|(from, to)| from < to);
            let page = |first: usize, end: usize| (first * PAGE, end * PAGE);
            assert_eq!(
                visited,
                [page(3, 4), page(511, 513), page(999, 1000)],
                "{flags}"
            );
            // SAFETY: the mapping was created above, and nothing refers to it any more.
            unsafe { libc::munmap(at, PAGES * PAGE) };
        }
    }
}
