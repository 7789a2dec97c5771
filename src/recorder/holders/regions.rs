//! Where a pointer may be that keeps a block alive: statics, stacks and registers, thread-local memory,
//! and memory of C code or mapped by hand.

use std::ffi::CStr;

use super::freeze::{Known, Module, Thread};
use super::index::{Index, size};
use super::objects::{Objects, Symbol};
use super::search::FRAMES;
use crate::recorder::heap::{self, MappedVec, NoMemory};
use crate::recorder::proc;
use crate::recorder::smaps;

/// What a region is. In the order in which they are searched: what more than one holds belongs to the
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// Data of an executable or shared object.
    Statics,
    /// A thread's thread-local memory, in a module; the thread's index.
    Locals { thread: u16, module: u16 },
    /// A thread's stack, with its registers; the thread's index.
    Stack { thread: u16 },
    /// The control block of a thread.
    ThreadRecord { thread: u16 },
    /// Memory of the C library's allocator.
    CHeap,
    /// Anonymous memory that is nobody else's.
    Mapped,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) what: What,
}

#[derive(Default)]
pub(super) struct Regions {
    pub(super) regions: MappedVec<Region>,
    /// Where code is.
    pub(super) code: MappedVec<(usize, usize)>,
    /// Data of the C library, of which its allocator's books are a part that has no name.
    c_library: MappedVec<(usize, usize)>,
    /// Regions that other processes share, of which not every page may be there.
    pub(super) shared: MappedVec<(usize, usize)>,
    /// The number of the process that was copied.
    process: i32,
    pub(super) objects: Objects,
    pub(super) threads: MappedVec<Thread>,
    pub(super) modules: MappedVec<Module>,
}

/// Bytes of a thread's control block behind the thread pointer, more than glibc has (2.36: 2304).
const RECORD: usize = 4096;

impl Regions {
    /// Those of this copy. Nothing of it is from the heap.
    pub(super) fn of(known: &Known, threads: &[Thread], index: &Index) -> Result<Self, NoMemory> {
        let mut all = Self {
            process: known.process,
            ..Self::default()
        };
        // The one that makes the copy comes last: its stack is full of the tool's own old words.
        all.threads.extend_from_slice(threads)?;
        all.threads.push(known.here)?;
        all.modules.extend_from_slice(&known.modules)?;
        let mut text = MappedVec::new();
        proc::read_whole("/proc/self/smaps", &mut text).ok_or(NoMemory)?;
        let mut result = Ok(());
        let mut behind_file = 0;
        let mut file_start = (MappedVec::<u8>::new(), 0_usize);
        // Stacks first, so that they are not taken for memory of another kind.
        smaps::for_each_mapping(text.as_slice(), |m, _| {
            if result.is_ok() && m.writable {
                result = all.stacks(&m, index);
            }
        });
        all.locals()?;
        smaps::for_each_mapping(text.as_slice(), |m, next| {
            if result.is_err() {
                return;
            }
            result = all.mapping(&m, next, index, &mut behind_file, &mut file_start);
        });
        result?;
        all.objects.sort();
        all.regions
            .as_mut_slice()
            .sort_unstable_by_key(|r| (r.what, r.start));
        Ok(all)
    }

    /// The stacks that lie in a mapping.
    fn stacks(&mut self, m: &smaps::Mapping<'_>, index: &Index) -> Result<(), NoMemory> {
        let (start, end) = (m.start as usize, m.end as usize);
        for i in 0..self.threads.as_slice().len() {
            let thread = self.threads.as_slice()[i];
            let what = What::Stack { thread: i as u16 };
            if !(start..end).contains(&thread.low) {
                // It runs on another stack, as coroutines do: its own is live to its lowest end.
                let is_first = thread.id == self.process;
                let is_own = match is_first {
                    true => m.name == "[stack]",
                    false => (start..end).contains(&thread.tp),
                };
                if is_own {
                    let end = if is_first {
                        end
                    } else {
                        thread.tp - self.local_bytes()
                    };
                    self.regions.push(Region { start, end, what })?;
                }
                continue;
            }
            if let Some(block) = index.find(thread.low, size) {
                // A stack in a block of the program's own.
                let end = block.start + size(block.start);
                let start = thread.low;
                self.regions.push(Region { start, end, what })?;
                continue;
            }
            // A thread's control block lies at the end of its stack; the first thread's does not.
            let end = match (start..end).contains(&thread.tp) {
                true => thread.tp - self.local_bytes().min(thread.tp - thread.low),
                false => end,
            };
            self.regions.push(Region {
                start: thread.low,
                end,
                what,
            })?;
        }
        Ok(())
    }

    /// Bytes of thread-local memory below the thread pointer.
    fn local_bytes(&self) -> usize {
        let below = self.modules.as_slice().iter().map(|m| -m.offset);
        below.max().unwrap_or(0).max(0) as usize
    }

    fn locals(&mut self) -> Result<(), NoMemory> {
        for i in 0..self.threads.as_slice().len() {
            let thread = self.threads.as_slice()[i];
            if thread.tp == 0 {
                continue;
            }
            for (n, module) in self.modules.as_slice().iter().enumerate() {
                let start = thread.tp.wrapping_add_signed(module.offset);
                self.regions.push(Region {
                    start,
                    end: start + module.bytes,
                    what: What::Locals {
                        thread: i as u16,
                        module: n as u16,
                    },
                })?;
            }
            // To the end of its page, which is mapped.
            let end = (thread.tp + RECORD).next_multiple_of(4096) - 4096;
            self.regions.push(Region {
                start: thread.tp,
                end: end.max(thread.tp),
                what: What::ThreadRecord { thread: i as u16 },
            })?;
        }
        Ok(())
    }

    fn mapping(
        &mut self,
        m: &smaps::Mapping<'_>,
        next: Option<&smaps::Mapping<'_>>,
        index: &Index,
        behind_file: &mut usize,
        file: &mut (MappedVec<u8>, usize),
    ) -> Result<(), NoMemory> {
        let (start, end) = (m.start as usize, m.end as usize);
        let is_file = m.name.starts_with('/') && m.private;
        if m.executable {
            self.code.push((start, end))?;
        }
        if is_file && m.offset == 0 {
            file.0.clear();
            file.0.extend_from_slice(m.name.as_bytes())?;
            file.0.push(0)?;
            file.1 = start;
        }
        let is_c_library = is_file
            && m.name
                .rsplit('/')
                .next()
                .is_some_and(|n| n.starts_with("libc.so") || n.starts_with("libc-"));
        if is_c_library && m.writable {
            self.c_library.push((start, end))?;
        }
        if is_file && m.writable {
            *behind_file = end;
            let same = file.0.as_slice().strip_suffix(&[0]) == Some(m.name.as_bytes());
            if let Ok(path) = CStr::from_bytes_with_nul(file.0.as_slice())
                && same
            {
                self.objects.add(path, file.1)?;
                file.0.clear();
            }
            return self.add(start, end, What::Statics);
        }
        if is_file {
            *behind_file = end;
            return Ok(());
        }
        if !m.readable || m.executable || m.name.starts_with('[') && m.name != "[heap]" {
            return Ok(());
        }
        if !m.private {
            // What other processes have in a file is not this one's to hold; it may be cut short, too.
            if m.name.starts_with('/') && !m.name.starts_with("/dev/zero") {
                return Ok(());
            }
            self.shared.push((start, end))?;
        }
        if m.no_dump && m.no_reserve {
            // The tool's own.
            return Ok(());
        }
        if *behind_file == start && m.private && m.name.is_empty() && !m.no_reserve {
            *behind_file = end;
            if let Some(last) = self.c_library.as_mut_slice().last_mut()
                && last.1 == start
            {
                last.1 = end;
            }
            return self.add(start, end, What::Statics);
        }
        // What the allocator has; C code's is among it unless it is apart.
        let is_apart = heap::is_separate_from_c();
        if m.name == "[heap]" || m.is_arena(next) {
            return match is_apart {
                true => self.add(start, end, What::CHeap),
                false => Ok(()),
            };
        }
        // In what the allocator keeps for reuse there are only old words; where none of its blocks is, it
        // has books at the most, which point at few.
        if !is_apart || index.has_in(start, end) {
            return Ok(());
        }
        self.add(start, end, What::Mapped)
    }

    /// Adds a region, without what of threads lies in it.
    fn add(&mut self, start: usize, end: usize, what: What) -> Result<(), NoMemory> {
        let mut from = start;
        while from < end {
            let of_threads = self
                .regions
                .as_slice()
                .iter()
                .filter(|r| r.what.is_of_thread());
            let of_threads = of_threads.map(|r| (r.start, r.end));
            // Stacks of threads that have ended are kept for others, and full of old words.
            let stacks = heap::thread_stacks().map(|b| (b.low, b.high));
            let next = of_threads
                .chain(stacks)
                .filter(|&(low, high)| high > from && low < end && high > low)
                .min();
            let (low, high) = next.unwrap_or((end, end));
            if low > from {
                self.regions.push(Region {
                    start: from,
                    end: low,
                    what,
                })?;
            }
            from = high.max(from + 1);
        }
        Ok(())
    }
}

impl What {
    fn is_of_thread(self) -> bool {
        matches!(
            self,
            Self::Locals { .. } | Self::Stack { .. } | Self::ThreadRecord { .. }
        )
    }

    /// Its number among the kinds.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Statics => 0,
            Self::Locals { .. } => 1,
            Self::Stack { .. } => 2,
            Self::ThreadRecord { .. } => 3,
            Self::CHeap => 4,
            Self::Mapped => 5,
        }
    }
}

impl Regions {
    /// The thread-local at a place of a module's thread-local memory.
    pub(super) fn local(&self, module: u16, place: usize) -> Option<Symbol> {
        let module = self.modules.as_slice()[usize::from(module)];
        let object = self.objects.with_bias(module.bias)?;
        self.objects.local_at(object, place)
    }

    /// Whether a word may be of the system allocator's own books, which have the addresses of free
    /// memory beside what is live.
    pub(super) fn is_of_system_allocator(&self, at: usize) -> bool {
        let mut library = self.c_library.as_slice().iter();
        !heap::is_separate_from_c() && library.any(|&(start, end)| (start..end).contains(&at))
    }

    fn is_code(&self, word: usize) -> bool {
        let mut code = self.code.as_slice().iter();
        code.any(|&(start, end)| (start..end).contains(&word))
    }

    /// The code of the frame that a word of a stack is in, and of its callers, as far as there is room:
    /// by frame pointers, where there are any, else by the words that point at code.
    pub(super) fn frames(
        &self,
        thread: usize,
        stack: &Region,
        at: usize,
        to: &mut [usize; FRAMES],
    ) {
        let thread = self.threads.as_slice()[thread];
        let read = |at: usize| {
            // SAFETY: inside the stack, which is mapped from where it is live to its end.
            unsafe { core::ptr::with_exposed_provenance::<usize>(at).read_volatile() }
        };
        let inside = |at: usize| at.is_multiple_of(8) && (stack.start..stack.end - 8).contains(&at);
        let mut count = 0;
        let mut add = |pc: usize| {
            if pc != 0 && count < FRAMES {
                to[count] = pc;
                count += 1;
            }
        };
        // Registers lie below the stack pointer, and are the innermost frame's.
        let (mut bp, mut pc) = (thread.bp, thread.pc);
        let mut found = false;
        while inside(bp) && bp >= thread.sp {
            let (saved, ret) = (read(bp), read(bp + 8));
            if !self.is_code(ret) {
                break;
            }
            if found || at < bp + 16 {
                add(pc);
                found = true;
            }
            (pc, bp) = (ret, if saved > bp { saved } else { 0 });
        }
        if found {
            return add(pc);
        }
        // The nearest word below that returns into the frame, and those above it into its callers.
        let below = (stack.start..at).rev().step_by(8).map(|at| at & !7);
        let callee = below.take(512).map(read).find(|&word| self.is_code(word));
        add(callee.unwrap_or(thread.pc));
        let above = (at.next_multiple_of(8)..stack.end - 8).step_by(8);
        above
            .take(2048)
            .map(read)
            .filter(|&word| self.is_code(word))
            .for_each(add);
    }
}

/// Pages whose presence is asked for at a time.
const AT_ONCE: usize = 512;
const PAGE: usize = 4096;
/// Regions from this size on may be mostly untouched.
const LARGE: usize = 1 << 20;

impl Regions {
    /// Calls `visit` with the parts of a region that may hold anything: of a large one, pages that were
    /// never touched are left out, because to read them would take long, and make those of shared memory.
    pub(super) fn each_present(&self, region: &Region, mut visit: impl FnMut(usize, usize)) {
        let mut shared = self.shared.as_slice().iter();
        let is_shared = shared.any(|&(start, end)| (start..end).contains(&region.start));
        if region.end - region.start < LARGE && !is_shared {
            return visit(region.start, region.end);
        }
        let mut at = region.start / PAGE * PAGE;
        while at < region.end {
            let pages = (region.end - at).div_ceil(PAGE).min(AT_ONCE);
            let mut present = [true; AT_ONCE];
            match is_shared {
                true => in_core(at, &mut present[..pages]),
                false => touched(at, &mut present[..pages]),
            }
            for (i, _) in present[..pages]
                .iter()
                .enumerate()
                .filter(|(_, present)| **present)
            {
                let page = at + i * PAGE;
                visit(page.max(region.start), (page + PAGE).min(region.end));
            }
            at += pages * PAGE;
        }
    }
}

/// Which pages of shared memory exist (mincore(2)).
fn in_core(at: usize, present: &mut [bool]) {
    let mut states = [0_u8; AT_ONCE];
    let start = core::ptr::with_exposed_provenance_mut(at);
    // SAFETY: fills as many bytes as there are pages, and no more than the array has.
    let told = unsafe { libc::mincore(start, present.len() * PAGE, states.as_mut_ptr()) } == 0;
    if told {
        present
            .iter_mut()
            .zip(states)
            .for_each(|(p, state)| *p = state & 1 != 0);
    }
}

/// Which pages of private memory were ever touched: those that are present or swapped
/// (Documentation/admin-guide/mm/pagemap.rst).
fn touched(at: usize, present: &mut [bool]) {
    let mut entries = [0_u64; AT_ONCE];
    let bytes = present.len() * 8;
    // SAFETY: system calls on a path that ends in a null byte, and into an array of as many bytes.
    let read = unsafe {
        let file = libc::open(
            c"/proc/self/pagemap".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        );
        let read = libc::pread(
            file,
            entries.as_mut_ptr().cast(),
            bytes,
            (at / PAGE * 8) as i64,
        );
        libc::close(file);
        read
    };
    if read == bytes as isize {
        present
            .iter_mut()
            .zip(entries)
            .for_each(|(p, entry)| *p = entry >> 62 != 0);
    }
}
