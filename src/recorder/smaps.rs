//! The mappings of this process and its resident memory by use, read from `/proc/self/smaps`.

use std::ops::Range;

use crate::base::vec_map::VecMap;
use crate::model::journal::Resident;
use crate::recorder::arena_heaps::{ArenaHeaps, Header, heaps};
use crate::recorder::heap::{self, MappedVec, Paused};
use crate::recorder::pagemap::Pagemap;
use crate::recorder::proc::{self, MapsLine};

/// Longest gap between two segments of the executable.
const MAX_SEGMENT_GAP: u64 = 4 << 20;

/// A mapping: a line as in `/proc/self/maps`, followed by a line for each figure.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mapping<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// It may be read, written or executed: it is neither a guard page nor reserved address space.
    pub(crate) accessible: bool,
    pub(crate) readable: bool,
    /// It may be read and written.
    pub(crate) writable: bool,
    pub(crate) executable: bool,
    /// Writes are not seen by other processes (copy-on-write).
    pub(crate) private: bool,
    /// Offset in the file.
    pub(crate) offset: u64,
    /// A path, which need not be UTF-8, a name in brackets, or empty.
    pub(crate) name: &'a [u8],
    pub(crate) resident: u64,
    /// Bytes of private pages that were written.
    pub(crate) anonymous: u64,
    /// Bytes in swap space.
    pub(crate) swapped: u64,
    /// The process may write to it, or may make it writable.
    pub(crate) may_write: bool,
    /// A forked copy of the process finds zeros in it: `MADV_WIPEONFORK`.
    pub(crate) is_wiped: bool,
    /// The kernel may drop its pages at any time (`MAP_DROPPABLE`), as it may the state of the C library's `getrandom`
    /// from glibc 2.41 on.
    pub(crate) is_droppable: bool,
    /// It belongs to a device: reading may have effects.
    pub(crate) is_device: bool,
    /// `VmFlags` has `dd` (do not dump), which the recorder sets for its own memory.
    pub(crate) no_dump: bool,
    /// `VmFlags` has `nr`: no swap space is reserved. Set by the recorder, by jemalloc, and by glibc up to version
    /// 2.40 for its arenas.
    pub(crate) no_reserve: bool,
}

/// Resident memory of this process by use; `None` if the kernel does not report it. `text` is scratch
/// memory.
pub(crate) fn resident(text: &mut MappedVec<u8>) -> Option<Resident> {
    resident_and_mapped(text, |_, _| ())
}

/// What [`Resident::mapped`] consists of: names of mappings, which are empty if they are of no file, and
/// the bytes of all with that name. Empty if the kernel does not report it.
pub(crate) fn mapped_by_name(_: &Paused) -> Vec<(String, u64)> {
    let mut mapped: VecMap<String, u64> = VecMap::new();
    let add = |name: &[u8], bytes| {
        let name = String::from_utf8_lossy(name).into_owned();
        *mapped.get_or_default(name) += bytes;
    };
    let _ = resident_and_mapped(&mut MappedVec::new(), add);
    mapped.into_iter().collect()
}

/// [`resident`], with a call of `visit` for each name and number of bytes that add to
/// [`Resident::mapped`].
fn resident_and_mapped(
    text: &mut MappedVec<u8>,
    visit: impl FnMut(&[u8], u64),
) -> Option<Resident> {
    proc::read_whole("/proc/self/smaps", text)?;
    let mut path = [0; 4096];
    let program = own_path(&mut path)?;
    let own_bytes = heap::mapped_bytes() as u64;
    let pagemap = Pagemap::open();
    let present = |range: Range<u64>| {
        let pagemap = pagemap.as_ref();
        pagemap.map_or(0, |p| {
            p.present_bytes(range.start as usize, range.end as usize)
        })
    };
    let heaps = ArenaHeaps::new();
    let header = |at| heaps.header(at);
    let text = text.as_slice();
    Some(sum(text, program, own_bytes, header, present, visit))
}

/// The path of the executable, as the kernel shows it for its mappings.
fn own_path(buffer: &mut [u8; 4096]) -> Option<&[u8]> {
    // That the executable's mappings are the first ones is usual, but not guaranteed.
    let _paused = heap::pause();
    let path = std::fs::read_link("/proc/self/exe").ok()?;
    let bytes = path.as_os_str().as_encoded_bytes();
    let kept = buffer.get_mut(..bytes.len())?;
    kept.copy_from_slice(bytes);
    Some(kept)
}

/// Adds up the mappings in `text`. `own_bytes` is the size of the recorder's own mappings; `header` reads
/// that of an arena's heap; `present` counts the resident bytes of a part of a mapping; `visit` gets the parts
/// of [`Resident::mapped`].
fn sum(
    text: &[u8],
    program: &[u8],
    own_bytes: u64,
    header: impl Fn(u64) -> Option<Header>,
    present: impl Fn(Range<u64>) -> u64,
    visit: impl FnMut(&[u8], u64),
) -> Resident {
    let mut sums = Sums {
        program,
        header,
        present,
        visit,
        resident: Resident::default(),
        like_own: 0,
        file_end: None,
        program_end: None,
    };
    for_each_mapping(text, |mapping| sums.add(&mapping));
    // Others may have marked memory as the recorder marks its own.
    let others = sums.like_own.saturating_sub(own_bytes);
    sums.add_mapped(b"", others);
    sums.resident
}

/// The state of [`sum`].
struct Sums<'a, H, P, V> {
    program: &'a [u8],
    header: H,
    present: P,
    visit: V,
    resident: Resident,
    /// Bytes of mappings that have the flags of the recorder's own.
    like_own: u64,
    /// End of the last mapping of a file and of the unnamed mappings that directly follow it, and
    /// whether the file is the executable. They are its `.bss`, unless the file is mapped as shared.
    file_end: Option<(u64, bool)>,
    /// End of the executable's last segment.
    program_end: Option<u64>,
}

impl<H, P, V> Sums<'_, H, P, V>
where
    H: Fn(u64) -> Option<Header>,
    P: Fn(Range<u64>) -> u64,
    V: FnMut(&[u8], u64),
{
    fn add(&mut self, m: &Mapping<'_>) {
        self.resident.total += m.resident;
        let size = m.end - m.start;
        // A mapping of the executable's file far from the others is not a segment: the program has
        // mapped it itself.
        let is_near = |end| m.start.saturating_sub(end) <= MAX_SEGMENT_GAP;
        let is_program = m.name == self.program && self.program_end.is_none_or(is_near);
        if is_program {
            self.program_end = Some(m.end);
        }
        let sum = if m.name.starts_with(b"[stack") {
            &mut self.resident.stacks
        } else if m.name == b"[heap]" {
            &mut self.resident.c_heap
        } else if m.name.starts_with(b"/") {
            self.file_end = m.private.then_some((m.end, is_program));
            self.file(is_program, m.name, size)
        } else if m.no_dump && m.no_reserve {
            self.like_own += size;
            &mut self.resident.tool
        } else if let Some((_, is_program)) = self.file_end.take().filter(|f| f.0 == m.start) {
            self.file_end = Some((m.end, is_program));
            match is_program {
                true => self.resident.program_zeroed += m.resident,
                false => self.resident.behind_files += m.resident,
            }
            self.file(is_program, m.name, size)
        } else if m.name.starts_with(b"[v") {
            &mut self.resident.files
        } else {
            return self.add_anonymous(*m);
        };
        *sum += m.resident;
    }

    /// Adds an anonymous mapping, which may contain heaps of arenas and the stacks of threads.
    fn add_anonymous(&mut self, m: Mapping<'_>) {
        let (mut bytes, mut resident) = (m.end - m.start, m.resident);
        let mut take = |part: Range<u64>| {
            bytes -= (part.end - part.start).min(bytes);
            let of_part = match part == (m.start..m.end) {
                true => resident,
                false => (self.present)(part).min(resident),
            };
            resident -= of_part;
            of_part
        };
        for heap in heaps(m.anonymous_range(), &self.header) {
            self.resident.c_heap += take(heap);
        }
        let stacks = heap::thread_stacks().map(|b| b.low as u64..b.high as u64);
        for stack in stacks.filter(|s| s.start >= m.start && s.end <= m.end) {
            self.resident.stacks += take(stack);
        }
        if m.accessible {
            self.add_mapped(m.name, bytes);
        }
        self.resident.anonymous += resident;
    }

    /// The sum for mappings of files. Those that are not the executable's add to `mapped`.
    fn file(&mut self, is_program: bool, name: &[u8], size: u64) -> &mut u64 {
        if is_program {
            return &mut self.resident.program;
        }
        self.add_mapped(name, size);
        &mut self.resident.files
    }

    fn add_mapped(&mut self, name: &[u8], bytes: u64) {
        self.resident.mapped += bytes;
        (self.visit)(name, bytes);
    }
}

/// Calls `visit` with each mapping in `text`.
pub(crate) fn for_each_mapping<'a>(text: &'a [u8], mut visit: impl FnMut(Mapping<'a>)) {
    let mut current: Option<Mapping<'a>> = None;
    for line in text.split(|&b| b == b'\n') {
        if let Some(next) = MapsLine::parse(line).map(Mapping::new) {
            if let Some(mapping) = current.replace(next) {
                visit(mapping);
            }
        } else if let Some(mapping) = &mut current {
            mapping.add_figure(line);
        }
    }
    if let Some(mapping) = current {
        visit(mapping);
    }
}

impl<'a> Mapping<'a> {
    /// Whether private pages were written: it has contents of its own.
    pub(crate) fn was_written(&self) -> bool {
        self.anonymous > 0 || self.swapped > 0
    }

    /// Its range if it may have heaps of glibc's arenas, and an empty one otherwise.
    pub(crate) fn anonymous_range(&self) -> Range<u64> {
        match self.writable && self.private && self.name.is_empty() {
            true => self.start..self.end,
            false => 0..0,
        }
    }

    /// Takes a line with a figure of the mapping, such as `Rss:    8 kB`.
    fn add_figure(&mut self, line: &[u8]) {
        let Some((name, value)) = str::from_utf8(line).ok().and_then(|l| l.split_once(':')) else {
            return;
        };
        let kib = || {
            value
                .trim()
                .strip_suffix(" kB")
                .and_then(|n| n.parse().ok())
        };
        let bytes = || kib().unwrap_or(0_u64) * 1024;
        match name {
            "Rss" => self.resident = bytes(),
            "Anonymous" => self.anonymous = bytes(),
            "Swap" => self.swapped = bytes(),
            "VmFlags" => {
                let has = |flag: &str| value.split(' ').any(|f| f == flag);
                (self.no_dump, self.no_reserve) = (has("dd"), has("nr"));
                self.may_write = has("mw");
                self.is_wiped = has("wf");
                self.is_droppable = has("dp");
                self.is_device = has("io") || has("pf");
            }
            _ => {}
        }
    }

    fn new(line: MapsLine<'a>) -> Self {
        Self {
            start: line.start,
            end: line.end,
            accessible: !line.access.starts_with(b"---"),
            readable: line.access.starts_with(b"r"),
            writable: line.access.starts_with(b"rw"),
            executable: line.access.contains(&b'x'),
            offset: line.offset,
            private: line.access.ends_with(b"p"),
            name: line.name,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const MAPPINGS: &str = "\
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
13ffe000-14021000 rw-p 00000000 00:00 0 
Rss:    28 kB
VmFlags: rd wr ac
14021000-18000000 ---p 00000000 00:00 0 
Rss:    0 kB
VmFlags:
fff00000-fff10000 rw-p 00000000 00:00 0      [stack]
Rss:    256 kB
VmFlags: rd wr gd
fffff000-fffff800 r-xp 00000000 00:00 0      [vdso]
Rss:    4 kB
VmFlags: rd ex
";

    #[test]
    fn each_mapping_counts_by_its_use() {
        let kib = |n: u64| n * 1024;
        let mut mapped = BTreeMap::new();
        let visit = |name: &[u8], bytes| {
            *mapped
                .entry(String::from_utf8(name.into()).unwrap())
                .or_insert(0) += bytes;
        };
        // Heaps of arenas, the second of which is merged with the mapping before it, of 8 KiB.
        let header = |at| match at {
            0xc00_0000 | 0x1400_0000 => Some([at + 48, 0, 0x2_0000, 0x2_1000]),
            _ => None,
        };
        let present = |part: Range<u64>| match part == (0x1400_0000..0x1402_1000) {
            true => kib(20),
            false => 0,
        };
        let program = b"/opt/a b/bin";
        let sums = sum(MAPPINGS.as_bytes(), program, 0x8000, header, present, visit);
        let expected = Resident {
            total: kib(592),
            tool: kib(16),
            stacks: kib(256),
            c_heap: kib(60),
            program: kib(12),
            files: kib(136),
            behind_files: 0,
            program_zeroed: kib(4),
            // With that of another allocator, aligned as an arena's heap is.
            anonymous: kib(72 + 32 + 8),
            // The library, the shared memory and the mapping after it, the mapping of 1 MiB, 32 KiB
            // beyond the recorder's own that are marked as its own, the other allocator's, and 8 KiB.
            mapped: 0x1_0000 + 0x1_0000 + 0x1_0000 + 0x10_0000 + 0x8000 + 0x2_1000 + 0x2000,
        };
        assert_eq!(sums, expected);
        let by_name = [
            ("", 0x1_0000 + 0x10_0000 + 0x8000 + 0x2_1000 + 0x2000),
            ("/dev/zero (deleted)", 0x1_0000),
            ("/lib/libc.so.6", 0x1_0000),
        ];
        assert_eq!(
            mapped,
            by_name.map(|(name, bytes)| (name.to_owned(), bytes)).into()
        );
        assert_eq!(
            sum(b"nonsense\n\nRss: 5 kB", b"", 0, |_| None, |_| 0, |_, _| ()),
            Resident::default()
        );
    }

    #[test]
    fn the_sum_is_the_resident_memory_of_the_process() {
        let sums = resident(&mut MappedVec::new()).unwrap();
        let whole = proc::resident_bytes().unwrap();
        // Other tests allocate meanwhile.
        assert!(sums.total.abs_diff(whole) < whole / 2, "{sums:?} {whole}");
        let parts = sums.tool + sums.stacks + sums.c_heap + sums.program;
        assert_eq!(parts + sums.files + sums.anonymous, sums.total);
        assert!(sums.program > 0 && sums.files > 0 && sums.stacks > 0);
    }
}
