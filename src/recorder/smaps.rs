//! Resident memory of this process, by what it is mapped for: `/proc/self/smaps`, read without
//! allocating.

use crate::model::journal::Resident;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::recorder::heap::{self, MappedVec};
use crate::recorder::proc::{self, MapsLine};

/// Size and alignment of the heaps of glibc's arenas other than the first (arena.c,
/// `HEAP_MAX_SIZE` on 64-bit systems).
const ARENA_HEAP: u64 = 64 << 20;

/// How far the segments of a program lie from each other, at most.
const SEGMENTS_APART: u64 = 4 << 20;

/// One mapping of the file: a line as in `/proc/self/maps`, then a line a figure.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mapping<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// It may be read, written, or executed: it is no guard, and no mere reservation.
    pub(crate) accessible: bool,
    pub(crate) readable: bool,
    /// It may be read and written.
    pub(crate) writable: bool,
    pub(crate) executable: bool,
    /// It is not shared with other processes.
    pub(crate) private: bool,
    /// Bytes into the file.
    pub(crate) offset: u64,
    pub(crate) name: &'a str,
    resident: u64,
    /// `VmFlags` has `dd`: not to be dumped, which the tool asks for its own.
    pub(crate) no_dump: bool,
    /// `VmFlags` has `nr`: no swap space is reserved, which glibc asks for its arenas, and jemalloc
    /// for all its memory.
    pub(crate) no_reserve: bool,
}

/// Reads it; `None` if the kernel does not tell. `text` is scratch.
pub(crate) fn resident(text: &mut MappedVec<u8>) -> Option<Resident> {
    proc::read_whole("/proc/self/smaps", text)?;
    let mut path = [0; 4096];
    let program = own_path(&mut path)?;
    let pages = Pages::open();
    let tool = heap::mapped_bytes() as u64;
    let present = |stack| pages.present(stack);
    Some(sum(text.as_slice(), program, tool, present))
}

/// The executable's path, as the kernel shows it for its mappings.
fn own_path(buffer: &mut [u8; 4096]) -> Option<&str> {
    // The first mapping that `/proc/self/maps` shows is the program's on every system that
    // randomizes addresses, but not by any promise.
    let _paused = heap::pause();
    let path = std::fs::read_link("/proc/self/exe").ok()?;
    let bytes = path.as_os_str().as_encoded_bytes();
    let kept = buffer.get_mut(..bytes.len())?;
    kept.copy_from_slice(bytes);
    std::str::from_utf8(kept).ok()
}

/// Adds the mappings up. `tool_mapped` is the address space of the tool's own; `present` counts
/// resident bytes of a range that is only a part of a mapping.
fn sum(
    text: &[u8],
    program: &str,
    tool_mapped: u64,
    present: impl Fn(Range<u64>) -> u64,
) -> Resident {
    let mut sums = Resident::default();
    let mut like_the_tools = 0;
    // What comes directly behind a file's mapping and has no name is the file's `.bss`, unless the
    // mapping is shared: then it is memory.
    let mut behind_file: Option<(u64, bool)> = None;
    // What is mapped of the program's file once more, elsewhere, is mapped by hand.
    let mut program_end: Option<u64> = None;
    for_each_mapping(text, |m, next| {
        sums.total += m.resident;
        let size = m.end - m.start;
        let is_near = program_end.is_none_or(|end| m.start.saturating_sub(end) <= SEGMENTS_APART);
        let is_program = m.name == program && is_near;
        if is_program {
            program_end = Some(m.end);
        }
        let to = if m.name.starts_with("[stack") {
            &mut sums.stacks
        } else if m.name == "[heap]" {
            &mut sums.c_heap
        } else if m.name.starts_with('/') {
            behind_file = m.private.then_some((m.end, is_program));
            sums.file(is_program, size)
        } else if m.no_dump && m.no_reserve {
            like_the_tools += size;
            &mut sums.tool
        } else if let Some((end, is_program)) =
            behind_file.take().filter(|&(end, _)| end == m.start)
        {
            behind_file = Some((end, is_program));
            match is_program {
                true => sums.program_zeroed += m.resident,
                false => sums.behind_files += m.resident,
            }
            sums.file(is_program, size)
        } else if m.is_arena(next) {
            &mut sums.c_heap
        } else if m.name.starts_with("[v") {
            &mut sums.files
        } else {
            let mut rest = m;
            let stacks = || heap::thread_stacks().map(|b| b.low as u64..b.high as u64);
            for stack in stacks().filter(|s| s.start >= m.start && s.end <= m.end) {
                let resident = if stack == (m.start..m.end) {
                    m.resident
                } else {
                    present(stack.clone()).min(rest.resident)
                };
                sums.stacks += resident;
                rest.resident -= resident.min(rest.resident);
                rest.end -= (stack.end - stack.start).min(rest.end - rest.start);
            }
            if m.accessible {
                sums.mapped += rest.end - rest.start;
            }
            sums.anonymous += rest.resident;
            return;
        };
        *to += m.resident;
    });
    sums.mapped += u64::saturating_sub(like_the_tools, tool_mapped);
    sums
}

impl Resident {
    /// Where a mapped file of this size counts.
    fn file(&mut self, is_program: bool, size: u64) -> &mut u64 {
        if is_program {
            return &mut self.program;
        }
        self.mapped += size;
        &mut self.files
    }
}

/// Visits each mapping with the next one.
pub(crate) fn for_each_mapping<'a>(
    text: &'a [u8],
    mut visit: impl FnMut(Mapping<'a>, Option<&Mapping<'a>>),
) {
    let mut now: Option<Mapping<'a>> = None;
    for line in text.split(|&b| b == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        if let Some(begun) = MapsLine::parse(line).map(Mapping::of) {
            if let Some(mapping) = now.replace(begun) {
                visit(mapping, Some(&begun));
            }
        } else if let Some(mapping) = &mut now {
            if let Some(kib) = line.strip_prefix("Rss:") {
                let kib = kib.trim().strip_suffix(" kB").and_then(|n| n.parse().ok());
                mapping.resident = kib.unwrap_or(0_u64) * 1024;
            } else if let Some(flags) = line.strip_prefix("VmFlags:") {
                let has = |flag: &str| flags.split(' ').any(|f| f == flag);
                (mapping.no_dump, mapping.no_reserve) = (has("dd"), has("nr"));
            }
        }
    }
    if let Some(mapping) = now {
        visit(mapping, None);
    }
}

impl<'a> Mapping<'a> {
    /// Whether it is the used part of a heap of one of glibc's arenas. It begins at a multiple of
    /// its size, which another allocator's mapping may do as well; but what is not used yet fills
    /// it up to that size, and may not be accessed (arena.c, `new_heap`).
    pub(crate) fn is_arena(&self, next: Option<&Self>) -> bool {
        let end = self.start.saturating_add(ARENA_HEAP);
        let is_filled_up = |next: &Self| {
            next.start == self.end && !next.accessible && next.name.is_empty() && next.end == end
        };
        self.no_reserve
            && self.start.is_multiple_of(ARENA_HEAP)
            && (self.end == end || next.is_some_and(is_filled_up))
    }

    /// What the first line says.
    fn of(line: MapsLine<'a>) -> Self {
        Self {
            start: line.start,
            end: line.end,
            accessible: !line.access.starts_with("---"),
            readable: line.access.starts_with('r'),
            writable: line.access.starts_with("rw"),
            executable: line.access.contains('x'),
            offset: line.offset,
            private: line.access.ends_with('p'),
            name: line.name,
            ..Self::default()
        }
    }
}

/// `/proc/self/pagemap`: whether single pages are resident (Documentation/admin-guide/mm/pagemap).
struct Pages(Option<File>);

impl Pages {
    const PAGE: u64 = 4096;
    const PRESENT: u64 = 1 << 63;

    fn open() -> Self {
        Self(File::open("/proc/self/pagemap").ok())
    }

    /// Resident bytes of a range; 0 if the kernel does not tell.
    fn present(&self, range: Range<u64>) -> u64 {
        let mut present = 0;
        let mut entries = [0; 512 * 8];
        let mut page = range.start / Self::PAGE;
        let end = range.end.div_ceil(Self::PAGE);
        while let Some(file) = self.0.as_ref().filter(|_| page < end) {
            let wanted = ((end - page) as usize * 8).min(entries.len());
            let Ok(read @ 1..) = file.read_at(&mut entries[..wanted], page * 8) else {
                break;
            };
            for entry in entries[..read].chunks_exact(8) {
                let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
                present += u64::from(entry & Self::PRESENT != 0) * Self::PAGE;
            }
            page += read as u64 / 8;
        }
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_told_apart() {
        let text = "\
1000-3000 r-xp 00000000 fe:00 1      /opt/a b/bin
Size:   8 kB
Rss:    8 kB
VmFlags: rd ex
3000-5000 rw-p 00000000 00:00 0 
Rss:    4 kB
VmFlags: rd wr
7000-9000 rw-p 00000000 00:00 0      [heap]
Rss:    8 kB
VmFlags: rd wr
10000-20000 rw-p 00000000 00:00 0 
Rss:    16 kB
VmFlags: rd wr nr dd
4000000-4021000 rw-p 00000000 00:00 0 
Rss:    32 kB
VmFlags: rd wr nr
5000000-5100000 rw-p 00000000 00:00 0 
Rss:    64 kB
VmFlags: rd wr
5100000-6100000 ---p 00000000 00:00 0 
Rss:    0 kB
VmFlags:
7e00000-7e10000 rw-s 00000000 00:01 7      /dev/zero (deleted)
Rss:    4 kB
VmFlags: rd wr sh
7e10000-7e20000 rw-p 00000000 00:00 0 
Rss:    8 kB
VmFlags: rd wr
7f00000-7f10000 r--p 00000000 fe:00 1      /lib/libc.so.6
Rss:    128 kB
VmFlags: rd
c000000-c021000 rw-p 00000000 00:00 0 
Rss:    32 kB
VmFlags: rd wr nr
c021000-10000000 ---p 00000000 00:00 0 
Rss:    0 kB
VmFlags: nr
fff00000-fff10000 rw-p 00000000 00:00 0      [stack]
Rss:    256 kB
VmFlags: rd wr gd
fffff000-fffff800 r-xp 00000000 00:00 0      [vdso]
Rss:    4 kB
VmFlags: rd ex
";
        let kib = |n: u64| n * 1024;
        let sums = sum(text.as_bytes(), "/opt/a b/bin", 0x8000, |_| 0);
        let expected = Resident {
            total: kib(564),
            tool: kib(16),
            stacks: kib(256),
            c_heap: kib(40),
            program: kib(12),
            files: kib(136),
            behind_files: 0,
            program_zeroed: kib(4),
            // Another allocator's mapping that begins where an arena might, too.
            anonymous: kib(72 + 32),
            // The library, shared memory and what is behind it, the 1 MiB mapping, and 32 KiB
            // marked as the tool marks its own.
            mapped: 0x1_0000 + 0x1_0000 + 0x1_0000 + 0x10_0000 + 0x8000 + 0x2_1000,
        };
        assert_eq!(sums, expected);
        assert_eq!(
            sum(b"nonsense\n\nRss: 5 kB", "", 0, |_| 0),
            Resident::default()
        );
    }

    #[test]
    fn the_sum_is_what_the_kernel_says_of_the_whole() {
        let sums = resident(&mut MappedVec::new()).unwrap();
        let whole = crate::recorder::proc::resident_bytes().unwrap();
        // Other tests allocate meanwhile.
        assert!(sums.total.abs_diff(whole) < whole / 2, "{sums:?} {whole}");
        let parts = sums.tool + sums.stacks + sums.c_heap + sums.program;
        assert_eq!(parts + sums.files + sums.anonymous, sums.total);
        assert!(sums.program > 0 && sums.files > 0 && sums.stacks > 0);
    }

    #[test]
    fn touched_pages_are_present() {
        const PAGES: usize = 64;
        let mut memory = vec![0_u8; (PAGES + 1) * 4096];
        let start = (memory.as_ptr() as usize).next_multiple_of(4096);
        let offset = start - memory.as_ptr() as usize;
        for page in 0..PAGES / 2 {
            memory[offset + page * 4096] = 1;
        }
        let range = start as u64..(start + PAGES * 4096) as u64;
        let present = Pages::open().present(range);
        assert!(present >= PAGES as u64 / 2 * 4096, "{present}");
        assert!(present <= PAGES as u64 * 4096, "{present}");
    }
}
