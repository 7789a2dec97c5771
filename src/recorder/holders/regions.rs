//! Regions of memory outside of the heap that may contain pointers to blocks: the roots of the
//! search.

use super::main_arena;
use super::objects::{Objects, Symbol};
use super::suspend::ThreadState;
use super::tls::TlsModule;
use crate::model::holders::Unsearched;
use crate::recorder::heap::{self, MappedVec, NoMemory};

/// Kinds of regions, in the order in which they are searched. A block that is reachable from
/// several of them is held by the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RegionKind {
    /// Statics of the executable or of a shared object.
    Statics,
    /// Thread-local memory of a thread for a module.
    ThreadLocals {
        /// Index of the thread.
        thread: u16,
        /// Index of the module.
        module: u16,
    },
    /// A thread's stack, with its registers.
    Stack {
        /// Index of the thread.
        thread: u16,
    },
    /// The C library's control block of a thread, which has the argument that the thread was
    /// started with.
    ThreadControlBlock {
        /// Index of the thread.
        thread: u16,
    },
    /// Memory of the C library's allocator, if the measured heap is another one.
    CHeap,
    /// Other anonymous memory.
    Mapped,
}

impl RegionKind {
    /// Whether the region belongs to a thread.
    pub(super) fn is_of_thread(self) -> bool {
        matches!(
            self,
            Self::ThreadLocals { .. } | Self::Stack { .. } | Self::ThreadControlBlock { .. }
        )
    }

    /// Position among the kinds.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Statics => 0,
            Self::ThreadLocals { .. } => 1,
            Self::Stack { .. } => 2,
            Self::ThreadControlBlock { .. } => 3,
            Self::CHeap => 4,
            Self::Mapped => 5,
        }
    }
}

/// How the memory of a region is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Private memory, in place.
    Private,
    /// Private memory that the process itself may not read now, through the kernel.
    Protected,
    /// Shared memory, through the kernel: another process may truncate the file.
    Shared,
    /// The same, and pages that are not in memory too.
    SharedWhole,
    /// Shared memory that the kernel does not read, in place: `memfd_secret`. It cannot be truncated.
    Secret,
}

impl Access {
    /// Whether it is read through the kernel, which reports an error where a read in place would
    /// end the process.
    pub(super) fn is_through_kernel(self) -> bool {
        matches!(self, Self::Protected | Self::Shared | Self::SharedWhole)
    }
}

/// A range of addresses that is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: RegionKind,
    pub(super) access: Access,
}

/// All regions, with what is needed to name an address in them.
#[derive(Default)]
pub(super) struct Regions {
    /// Sorted by kind, then by address.
    pub(super) regions: MappedVec<Region>,
    /// Executable mappings.
    pub(super) code: MappedVec<(usize, usize)>,
    /// Statics of the C library.
    pub(super) c_library: MappedVec<(usize, usize)>,
    /// Of these, the main arena of its allocator.
    main_arenas: MappedVec<(usize, usize)>,
    /// What is not searched.
    pub(super) unsearched: Unsearched,
    pub(super) objects: Objects,
    /// The forking thread is the last one.
    pub(super) threads: MappedVec<ThreadState>,
    pub(super) modules: MappedVec<TlsModule>,
}

impl Regions {
    pub(super) fn thread(&self, index: u16) -> &ThreadState {
        &self.threads.as_slice()[usize::from(index)]
    }

    /// Whether a thread is the forking one.
    pub(super) fn is_forking(&self, thread: u16) -> bool {
        usize::from(thread) + 1 == self.threads.as_slice().len()
    }

    /// The thread-local at an offset in the thread-local memory of a module.
    pub(super) fn thread_local_at(&self, module: u16, offset: usize) -> Option<Symbol> {
        let module = self.modules.as_slice()[usize::from(module)];
        self.objects.thread_local_at(module.bias, offset)
    }

    /// Finds the main arena in the C library's statics, if the measured heap is in it, and returns the address of the
    /// chunk at its top. Where it is not found, all of them are searched, and the top is not known.
    pub(super) fn find_main_arenas(&mut self) -> Result<Option<usize>, NoMemory> {
        let mut top = None;
        if heap::is_separate_from_c() {
            return Ok(top);
        }
        for &(start, end) in self.c_library.as_slice() {
            // SAFETY: the range is a writable segment of a file with the `.bss` behind it; a page that cannot be read
            // is replaced, and the copy unmaps nothing (main_arena.rs, test:
            // `the_main_arena_of_this_process_is_found`).
            if let Some(arena) = unsafe { main_arena::find(start, end) } {
                self.main_arenas.push(arena)?;
                // SAFETY: as above.
                top = Some(unsafe { main_arena::top(arena.0) });
            }
        }
        Ok(top)
    }

    /// Whether an address is in the main arena of the C library's allocator, which has addresses of free memory.
    /// Always false if the measured heap is another allocator.
    pub(super) fn is_of_c_allocator(&self, address: usize) -> bool {
        is_in(&self.main_arenas, address)
    }

    /// Whether an address is in executable memory.
    pub(super) fn is_code(&self, address: usize) -> bool {
        is_in(&self.code, address)
    }
}

fn is_in(ranges: &MappedVec<(usize, usize)>, address: usize) -> bool {
    let mut ranges = ranges.as_slice().iter();
    ranges.any(|&(start, end)| (start..end).contains(&address))
}
