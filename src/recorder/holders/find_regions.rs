//! Finds the regions to search, from the mappings and the threads of the process.

use std::ffi::CStr;

use super::c_heaps::{self, CHeap};
use super::coverage::OwnMappings;
use super::error::SearchError;
use super::frozen_copy::{ProcessInfo, Threads};
use super::index::{Index, usable_bytes};
use super::regions::{Access, Region, RegionKind, Regions};
use crate::recorder::arena_heaps::ArenaHeaps;
use crate::recorder::heap::{self, MappedVec, NoMemory};
use crate::recorder::pagemap::PAGE;
use crate::recorder::proc::read_whole;
use crate::recorder::smaps::{self, Mapping};

/// Bytes of a thread's control block above the thread pointer, rounded up (glibc 2.36: 2304).
const CONTROL_BLOCK: usize = 4096;

/// Size of `/proc/self/smaps` at most, as a multiple of that of `/proc/self/maps`.
const SMAPS_SIZE: usize = 24;

/// A shared mapping of a file on a disk is read whole, also what is not in memory, if it has at most
/// this many bytes.
const MAX_FILE_BYTES: usize = 256 << 20;

/// Finds all regions. Runs in the copy.
pub(super) fn find(
    info: &ProcessInfo,
    threads: &Threads,
    index: &Index,
) -> Result<Regions, SearchError> {
    let mut finder = Finder {
        regions: Regions::default(),
        own: OwnMappings::default(),
        index,
        process: info.id,
        file: MappedVec::new(),
        file_start: 0,
        file_end: 0,
        c_heaps: MappedVec::new(),
    };
    let regions = &mut finder.regions;
    regions
        .threads
        .extend_from_slice(threads.states.as_slice())?;
    regions.modules.extend_from_slice(&info.modules)?;
    let not_copied = threads.not_copied.ok_or(SearchError::NoMappings)?;
    let mut text = MappedVec::new();
    read_whole("/proc/self/maps", &mut text).ok_or(SearchError::NoMappings)?;
    // Room for all of it, so that reading does not change the mappings.
    text.reset(text.as_slice().len() * SMAPS_SIZE, 0)?;
    read_whole("/proc/self/smaps", &mut text).ok_or(SearchError::NoMappings)?;
    let recorder_bytes = heap::mapped_bytes() as u64;
    let mut result = Ok(());
    // Threads first: the rest of the mappings that contain their memory is added without it.
    smaps::for_each_mapping(text.as_slice(), |mapping| {
        if result.is_ok() && mapping.writable {
            result = finder.add_stacks(&mapping);
        }
    });
    result?;
    finder.add_thread_locals()?;
    smaps::for_each_mapping(text.as_slice(), |mapping| {
        if result.is_ok() {
            result = finder.add_mapping(&mapping);
        }
    });
    result?;
    finder.add_parts_of_c_heaps()?;
    let mut regions = finder.regions;
    regions.unsearched.not_copied = not_copied;
    regions.unsearched.unknown_blocks = info.unknown_blocks;
    finder.own.add_others(
        recorder_bytes,
        info.allocator_bytes,
        &mut regions.unsearched,
    );
    regions.objects.sort();
    let all = regions.regions.as_mut_slice();
    all.sort_unstable_by_key(|r| (r.kind, r.start));
    Ok(regions)
}

struct Finder<'a> {
    regions: Regions,
    own: OwnMappings,
    index: &'a Index,
    /// The id of the original process, which is also the id of its main thread.
    process: i32,
    /// Path of the file whose first segment has been visited, with a null byte at the end. Empty
    /// once its symbols have been read.
    file: MappedVec<u8>,
    /// Address of its first segment.
    file_start: usize,
    /// End of the last segment of a file or of its `.bss`.
    file_end: usize,
    /// The C library's heaps, if the measured heap is in them.
    c_heaps: MappedVec<CHeap>,
}

impl Finder<'_> {
    /// Adds the stacks in a mapping.
    fn add_stacks(&mut self, mapping: &Mapping<'_>) -> Result<(), NoMemory> {
        let (start, end) = (mapping.start as usize, mapping.end as usize);
        for i in 0..self.regions.threads.as_slice().len() {
            let kind = RegionKind::Stack { thread: i as u16 };
            let thread = *self.regions.thread(i as u16);
            let tp = thread.thread_pointer;
            let is_main = thread.id == self.process;
            // At the end of a thread's stack are its thread-local memory and its control block,
            // except for the main thread.
            let (start, end) = if (start..end).contains(&thread.low) {
                if let Some(block) = self.index.find(thread.low, usable_bytes) {
                    // The program has allocated this stack on the heap, as for a coroutine.
                    (thread.low, block.start + usable_bytes(block.start))
                } else if (start..end).contains(&tp) {
                    let locals = self.thread_local_bytes().min(tp - thread.low);
                    (thread.low, tp - locals)
                } else {
                    (thread.low, end)
                }
            } else {
                // The thread runs on another stack, as with coroutines. All of its own stack may be
                // live.
                match is_main {
                    true if mapping.name == b"[stack]" => (start, end),
                    false if (start..end).contains(&tp) => (start, tp - self.thread_local_bytes()),
                    _ => continue,
                }
            };
            self.regions.regions.push(Region {
                start,
                end,
                kind,
                access: Access::Private,
            })?;
        }
        Ok(())
    }

    /// Bytes of thread-local memory below the thread pointer.
    fn thread_local_bytes(&self) -> usize {
        let below = self.regions.modules.as_slice().iter().map(|m| -m.offset);
        below.max().unwrap_or(0).max(0) as usize
    }

    /// Adds the thread-local memory and the control block of each thread.
    fn add_thread_locals(&mut self) -> Result<(), NoMemory> {
        let Regions {
            regions,
            threads,
            modules,
            ..
        } = &mut self.regions;
        for (thread, state) in (0..).zip(threads.as_slice()) {
            let tp = state.thread_pointer;
            if tp == 0 {
                continue;
            }
            for (module, tls) in (0..).zip(modules.as_slice()) {
                let start = tp.wrapping_add_signed(tls.offset);
                regions.push(Region {
                    start,
                    end: start + tls.bytes,
                    kind: RegionKind::ThreadLocals { thread, module },
                    access: Access::Private,
                })?;
            }
            // At most to the end of the page in which it starts: the next page may not be mapped.
            let end = (tp + CONTROL_BLOCK).next_multiple_of(PAGE) - PAGE;
            regions.push(Region {
                start: tp,
                end: end.max(tp),
                kind: RegionKind::ThreadControlBlock { thread },
                access: Access::Private,
            })?;
        }
        Ok(())
    }

    /// Adds the parts of a mapping that are searched and do not belong to threads.
    fn add_mapping(&mut self, mapping: &Mapping<'_>) -> Result<(), NoMemory> {
        if mapping.executable {
            let range = (mapping.start as usize, mapping.end as usize);
            self.regions.code.push(range)?;
        }
        let size = mapping.end - mapping.start;
        if is_of_kernel(mapping.name) {
            return Ok(());
        }
        if mapping.is_device {
            self.regions.unsearched.devices += size;
            return Ok(());
        }
        match (mapping.private, mapping.name.starts_with(b"/")) {
            (false, _) => self.add_shared(mapping),
            (true, true) => self.add_segment(mapping),
            (true, false) => self.add_memory(mapping),
        }
    }

    /// Adds a segment of a file, if it contains statics.
    fn add_segment(&mut self, mapping: &Mapping<'_>) -> Result<(), NoMemory> {
        let (start, end) = (mapping.start as usize, mapping.end as usize);
        self.file_end = end;
        if mapping.offset == 0 {
            self.file.clear();
            self.file.extend_from_slice(mapping.name)?;
            self.file.push(0)?;
            self.file_start = start;
        }
        // Pages that were never written have only what is in the file.
        if !mapping.writable && !mapping.was_written() {
            return Ok(());
        }
        if mapping.writable && is_c_library(mapping.name) {
            self.regions.c_library.push((start, end))?;
        }
        if let Ok(path) = CStr::from_bytes_with_nul(self.file.as_slice())
            && path.to_bytes() == mapping.name
        {
            self.regions.objects.add(path, self.file_start)?;
            self.file.clear();
        }
        self.add(start, end, RegionKind::Statics, access_of_private(mapping))
    }

    /// Adds a mapping that is shared, if this process may have written to it.
    fn add_shared(&mut self, mapping: &Mapping<'_>) -> Result<(), NoMemory> {
        // What it wrote through another mapping is found there.
        if !mapping.may_write {
            return Ok(());
        }
        let (start, end) = (mapping.start as usize, mapping.end as usize);
        let unsearched = &mut self.regions.unsearched;
        unsearched.evicted += mapping.swapped;
        let access = if mapping.name.starts_with(b"/secretmem") {
            Access::Secret
        } else if is_only_in_memory(mapping.name) {
            Access::Shared
        } else if end - start <= MAX_FILE_BYTES {
            Access::SharedWhole
        } else {
            unsearched.evicted += (mapping.end - mapping.start) - mapping.resident;
            Access::Shared
        };
        self.add(start, end, RegionKind::Mapped, access)
    }

    /// Adds a mapping that is anonymous and private, if it may contain roots.
    fn add_memory(&mut self, mapping: &Mapping<'_>) -> Result<(), NoMemory> {
        let (start, end) = (mapping.start as usize, mapping.end as usize);
        // No program keeps an address where it may be gone at any time.
        if mapping.is_droppable {
            return Ok(());
        }
        if mapping.no_dump && mapping.no_reserve {
            self.own.add_of_recorder(mapping);
            return Ok(());
        }
        if mapping.is_wiped {
            self.regions.unsearched.wiped += mapping.end - mapping.start;
            return Ok(());
        }
        let access = access_of_private(mapping);
        let is_bss = self.file_end == start
            && mapping.readable
            && mapping.name.is_empty()
            && !mapping.no_reserve;
        if is_bss {
            self.file_end = end;
            if let Some((_, library_end)) = self.regions.c_library.as_mut_slice().last_mut()
                && *library_end == start
            {
                *library_end = end;
            }
            return self.add(start, end, RegionKind::Statics, access);
        }
        if mapping.name == b"[heap]" {
            return self.add_c_heap(start, end, access, false);
        }
        let mut rest = *mapping;
        for heap in ArenaHeaps::new().within(mapping.anonymous_range()) {
            rest.end = heap.start;
            self.add_anonymous(&rest)?;
            self.add_c_heap(heap.start as usize, heap.end as usize, access, true)?;
            (rest.start, rest.end) = (heap.end, mapping.end);
        }
        self.add_anonymous(&rest)
    }

    /// Adds memory of C's allocator.
    fn add_c_heap(
        &mut self,
        start: usize,
        end: usize,
        access: Access,
        is_of_arena: bool,
    ) -> Result<(), NoMemory> {
        // If the measured heap is the C library's, its memory contains no roots: only blocks, which
        // are searched when they are reached, and free memory.
        match heap::is_separate_from_c() {
            true => self.add(start, end, RegionKind::CHeap, access),
            false => self.c_heaps.push(CHeap {
                start,
                end,
                access,
                is_of_arena,
            }),
        }
    }

    /// Adds a mapping, or a part of it, that is of no file and not C's allocator's.
    fn add_anonymous(&mut self, mapping: &Mapping<'_>) -> Result<(), NoMemory> {
        let (start, end) = (mapping.start as usize, mapping.end as usize);
        let access = access_of_private(mapping);
        // Guard pages and reserved address space have no contents.
        if start == end || !heap::is_apart() || (!mapping.readable && !mapping.was_written()) {
            return Ok(());
        }
        // A mapping that contains a block belongs to the measured heap; the rest of it is free
        // memory. A mapping without a block may be the allocator's own data, which contains few
        // addresses of blocks. A large block of C's has a mapping of its own, which may be merged with
        // others.
        let is_of_heap = self.index.any_in(start, end, |at| !heap::is_of_c(at));
        self.own.add_of_allocator(mapping, is_of_heap);
        match is_of_heap {
            true => Ok(()),
            false => self.add(start, end, RegionKind::Mapped, access),
        }
    }

    /// Adds what is in the C library's heaps, and not its allocator's.
    fn add_parts_of_c_heaps(&mut self) -> Result<(), NoMemory> {
        let top = self.regions.find_main_arenas()?;
        if !heap::is_apart() {
            return Ok(());
        }
        let heaps = core::mem::take(&mut self.c_heaps);
        for &heap in heaps.as_slice() {
            let Some(top) = top else {
                self.regions.unsearched.c_heaps += (heap.end - heap.start) as u64;
                continue;
            };
            let index = self.index;
            let add = |from, to| self.add(from, to, RegionKind::Mapped, heap.access);
            // SAFETY: the ranges are mapped; a page that cannot be read is replaced, and the copy has one thread, which
            // writes to none of them (tests/exec_holders.rs: `sbrk`).
            unsafe { c_heaps::for_each_other_part(heap, heaps.as_slice(), top, index, add)? };
        }
        Ok(())
    }

    /// Adds a region without the parts that belong to threads.
    fn add(
        &mut self,
        start: usize,
        end: usize,
        kind: RegionKind,
        access: Access,
    ) -> Result<(), NoMemory> {
        let mut from = start;
        while from < end {
            let regions = self.regions.regions.as_slice().iter();
            let of_threads = regions.filter(|r| r.kind.is_of_thread());
            let of_threads = of_threads.map(|r| (r.start, r.end));
            // The C library reuses the stacks of threads that have ended. They are full of stale
            // words.
            let stacks = heap::thread_stacks().map(|b| (b.low, b.high));
            let next = of_threads
                .chain(stacks)
                .filter(|&(low, high)| high > from && low < end && high > low)
                .min();
            let (low, high) = next.unwrap_or((end, end));
            if low > from {
                self.regions.regions.push(Region {
                    start: from,
                    end: low,
                    kind,
                    access,
                })?;
            }
            from = high.max(from + 1);
        }
        Ok(())
    }
}

/// How private memory is read.
fn access_of_private(mapping: &Mapping<'_>) -> Access {
    match mapping.readable {
        true => Access::Private,
        false => Access::Protected,
    }
}

/// Whether a mapping is made by the kernel, or is the main thread's stack, which is among the stacks.
fn is_of_kernel(name: &[u8]) -> bool {
    [&b"[v"[..], b"[uprobes]", b"[stack"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Whether a shared mapping has no file on a disk.
fn is_only_in_memory(name: &[u8]) -> bool {
    let prefixes = [
        &b"/dev/zero"[..],
        b"/dev/shm/",
        b"/memfd:",
        b"/SYSV",
        b"[anon",
    ];
    name.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a path is that of the C library.
fn is_c_library(path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').next();
    name.is_some_and(|n| n.starts_with(b"libc.so") || n.starts_with(b"libc-"))
}
