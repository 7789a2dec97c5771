//! Rings of twenty entries whose pointers are in memory of an unusual kind. None is a leak, although a
//! search of the heap, the statics and the stacks finds no pointer to an entry.
//!
//! This executable is its own `afterdrop` command.

mod common;

use std::ffi::c_int;
use std::ops::Range;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use afterdrop::report::{HolderKind, RunVerdict};
use afterdrop::workloads::Entry;
use common::{Folder, Ran, trial, trials};
use libtest_mimic::Arguments;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

const ENTRIES: usize = 20;
const PAGE: usize = 4096;

/// Bytes of an entry: a size class of jemalloc, so that the block has no byte beyond them.
const ENTRY_BYTES: usize = 1024;

/// How a pointer is stored in a slot.
#[derive(Clone, Copy)]
enum Stored {
    Start,
    /// One past the end of the entry.
    End,
}

/// The memory of the ring, and the access to it while no entry is replaced.
struct Memory {
    slots: *mut usize,
    protection: c_int,
    stored: Stored,
}

const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;

fn map(flags: c_int, descriptor: c_int) -> *mut usize {
    map_bytes(PAGE, flags, descriptor)
}

fn map_bytes(bytes: usize, flags: c_int, descriptor: c_int) -> *mut usize {
    // SAFETY: the kernel chooses the address of the new mapping, so that it overlaps no other.
    let at = unsafe { libc::mmap(null_mut(), bytes, READ_WRITE, flags, descriptor, 0) };
    assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    at.cast()
}

fn anonymous(more: c_int) -> *mut usize {
    map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | more, -1)
}

/// Memory that is mapped like jemalloc's own, directly beside it, so that the kernel has one mapping for
/// both.
fn beside_the_allocators() -> *mut usize {
    const BLOCK: usize = 8 << 20;
    // The first mappings may lie between others. Each block of this size needs a new one, and the kernel
    // soon places one where a page beside it is free.
    let mut blocks = Vec::new();
    let (block, beside) = (0..64)
        .find_map(|_| {
            blocks.push(Vec::<u8>::with_capacity(BLOCK));
            let block = blocks.last().unwrap().as_ptr().addr();
            Some((block, map_beside(mapping_of(block))?))
        })
        .expect("a free page beside the allocator's memory");
    assert_eq!(mapping_of(beside.addr()), mapping_of(block));
    // A mapping without a block is searched.
    std::mem::forget(blocks.pop());
    beside.cast()
}

/// A page directly after or before a mapping, if one of the two is free.
fn map_beside(own: Range<usize>) -> Option<*mut libc::c_void> {
    let flags =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    [own.end, own.start - PAGE].into_iter().find_map(|at| {
        let at = std::ptr::without_provenance_mut(at);
        // SAFETY: the call fails if there is a mapping at this address.
        let at = unsafe { libc::mmap(at, PAGE, READ_WRITE, flags, -1, 0) };
        (at != libc::MAP_FAILED).then_some(at)
    })
}

/// The addresses of the mapping with an address.
fn mapping_of(address: usize) -> Range<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut ranges = maps.lines().map(|line| {
        let (start, rest) = line.split_once('-').unwrap();
        let (end, _) = rest.split_once(' ').unwrap();
        let address = |text| usize::from_str_radix(text, 16).unwrap();
        address(start)..address(end)
    });
    ranges.find(|r| r.contains(&address)).unwrap()
}

fn advised(more: c_int, advice: c_int) -> *mut usize {
    let at = anonymous(more);
    // SAFETY: the range is the mapping that was just created.
    assert_eq!(unsafe { libc::madvise(at.cast(), PAGE, advice) }, 0);
    at
}

/// Maps a file, or memory that has a descriptor, as shared. The descriptor is closed.
fn shared(descriptor: c_int) -> *mut usize {
    assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was just opened, and is used nowhere else.
    unsafe { assert_eq!(libc::ftruncate(descriptor, PAGE as i64), 0) };
    let at = map(libc::MAP_SHARED, descriptor);
    // SAFETY: as above; the mapping does not need it.
    unsafe { libc::close(descriptor) };
    at
}

fn file() -> *mut usize {
    let path = std::env::temp_dir().join(format!("afterdrop-ring-{}", std::process::id()));
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    shared(file.into_raw_fd())
}

fn memfd() -> *mut usize {
    // SAFETY: the name ends in a null byte.
    shared(unsafe { libc::memfd_create(c"ring".as_ptr(), 0) })
}

/// A descriptor of memory that even the kernel does not read.
fn secret_descriptor() -> c_int {
    const MEMFD_SECRET: libc::c_long = 447;
    // SAFETY: the call takes only a number.
    unsafe { libc::syscall(MEMFD_SECRET, 0) as c_int }
}

fn system_v() -> *mut usize {
    // SAFETY: the segment is new, attached where the kernel chooses, and removed when it is detached.
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, PAGE, libc::IPC_CREAT | 0o600);
        assert!(id >= 0, "{}", std::io::Error::last_os_error());
        let at = libc::shmat(id, null_mut(), 0);
        libc::shmctl(id, libc::IPC_RMID, null_mut());
        assert_ne!(at.addr() as isize, -1);
        at.cast()
    }
}

/// The ring that a search sees.
static IN_A_STATIC: [AtomicUsize; ENTRIES] = [const { AtomicUsize::new(0) }; ENTRIES];

/// The ring whose pointers are not aligned, which are searched for only in a heap that is not large.
static NOT_ALIGNED: [AtomicUsize; ENTRIES + 1] = [const { AtomicUsize::new(0) }; ENTRIES + 1];

/// Makes the heap large. Its pages are never written.
static LARGE: OnceLock<Vec<u8>> = OnceLock::new();

fn not_aligned() -> *mut usize {
    LARGE.get_or_init(|| vec![0; 300 << 20]);
    NOT_ALIGNED
        .as_ptr()
        .cast_mut()
        .cast::<usize>()
        .wrapping_byte_add(1)
}

/// Memory that the program has taken by the program break, in which C's heap is, too.
fn of_sbrk() -> *mut usize {
    // SAFETY: the memory is the program's, and C's allocator keeps away from it.
    let at = unsafe { libc::sbrk(PAGE as isize) };
    assert_ne!(at.addr() as isize, -1);
    at.cast()
}

/// A page behind which is one that ends whoever reads it.
fn before_a_guard() -> *mut usize {
    let at = map_bytes(2 * PAGE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
    install_guard(at.wrapping_byte_add(PAGE));
    at
}

/// Whether the kernel has guard pages: Linux 6.13.
fn install_guard(at: *mut usize) -> bool {
    const MADV_GUARD_INSTALL: c_int = 102;
    // SAFETY: the page is one of a new mapping, and has nothing.
    unsafe { libc::madvise(at.cast(), PAGE, MADV_GUARD_INSTALL) == 0 }
}

/// A page of a file, behind which the file was cut.
fn before_the_end_of_a_file() -> *mut usize {
    // SAFETY: the name ends in a null byte.
    let descriptor = unsafe { libc::memfd_create(c"cut".as_ptr(), 0) };
    let resize = |bytes| {
        // SAFETY: the descriptor is open, and nothing reads the file through it.
        assert_eq!(unsafe { libc::ftruncate(descriptor, bytes as i64) }, 0);
    };
    resize(2 * PAGE);
    let at = map_bytes(2 * PAGE, libc::MAP_PRIVATE, descriptor);
    // SAFETY: the page is in the mapping, which is writable.
    unsafe { at.wrapping_byte_add(PAGE).write(1) };
    resize(PAGE);
    at
}

/// A page within a block of the heap that may not be read between two cycles.
fn in_a_block() -> *mut usize {
    let block = BLOCK.get_or_init(|| vec![0; 4 * PAGE]).as_ptr().addr();
    let page = block.next_multiple_of(PAGE);
    std::ptr::with_exposed_provenance_mut(page)
}

static BLOCK: OnceLock<Vec<u8>> = OnceLock::new();

type Kind = (&'static str, fn() -> Memory);

const fn plain(slots: *mut usize) -> Memory {
    Memory {
        slots,
        protection: READ_WRITE,
        stored: Stored::Start,
    }
}

const KINDS: &[Kind] = &[
    ("static", || plain(IN_A_STATIC.as_ptr().cast_mut().cast())),
    ("shared-file", || plain(file())),
    ("memfd", || plain(memfd())),
    ("system-v", || plain(system_v())),
    ("secret", || plain(shared(secret_descriptor()))),
    ("shared-anonymous", || {
        plain(map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1))
    }),
    ("protected", || Memory {
        protection: libc::PROT_NONE,
        ..plain(anonymous(0))
    }),
    ("read-only", || Memory {
        protection: libc::PROT_READ,
        ..plain(anonymous(0))
    }),
    ("executable", || Memory {
        protection: READ_WRITE | libc::PROT_EXEC,
        ..plain(anonymous(0))
    }),
    ("protected-memfd", || Memory {
        protection: libc::PROT_NONE,
        ..plain(memfd())
    }),
    ("not-forked", || plain(advised(0, libc::MADV_DONTFORK))),
    ("wiped-on-fork", || plain(advised(0, libc::MADV_WIPEONFORK))),
    ("not-reserved", || plain(anonymous(libc::MAP_NORESERVE))),
    ("beside-the-allocators", || plain(beside_the_allocators())),
    ("not-reserved-not-dumped", || {
        plain(advised(libc::MAP_NORESERVE, libc::MADV_DONTDUMP))
    }),
    ("not-aligned-in-a-large-heap", || plain(not_aligned())),
    ("sbrk", || plain(of_sbrk())),
    ("not-aligned-in-a-mapping", || {
        plain(anonymous(0).wrapping_byte_add(1))
    }),
    ("guarded", || plain(before_a_guard())),
    ("truncated", || plain(before_the_end_of_a_file())),
    ("protected-block", || Memory {
        protection: libc::PROT_NONE,
        ..plain(in_a_block())
    }),
    ("one-past-the-end", || Memory {
        stored: Stored::End,
        ..plain(anonymous(0))
    }),
];

impl Memory {
    fn protect(&self, protection: c_int) {
        if self.protection != READ_WRITE {
            // SAFETY: the range is a mapping of this size that only this workload uses.
            let result = unsafe { libc::mprotect(self.slots.cast(), PAGE, protection) };
            assert_eq!(result, 0);
        }
    }

    /// Replaces the oldest entry.
    #[inline(never)]
    fn replace(&self, cycle: usize) {
        self.protect(READ_WRITE);
        let shift = match self.stored {
            Stored::Start => 0,
            Stored::End => ENTRY_BYTES,
        };
        let slot = self.slots.wrapping_add(cycle % ENTRIES);
        let entry = Box::new([cycle as u8; ENTRY_BYTES]);
        // SAFETY: the slot is in memory of the ring's own, which was made readable and writable. What is in it is 0,
        // or the address of an entry, `shift` bytes higher, that was stored there by this function.
        unsafe {
            let old = slot.read_unaligned();
            if old != 0 {
                let start = std::ptr::with_exposed_provenance_mut(old - shift);
                drop(Box::<[u8; ENTRY_BYTES]>::from_raw(start));
            }
            slot.write_unaligned(Box::into_raw(entry).expose_provenance() + shift);
        }
        self.protect(self.protection);
    }
}

fn workloads() -> Vec<Entry> {
    let entry = |&(name, make): &Kind| {
        let mut ring: Option<Memory> = None;
        let mut cycle = 0;
        Entry::from_fn(name, "", move || {
            ring.get_or_insert_with(make).replace(cycle);
            cycle += 1;
            // Much larger than an entry, so that the ring does not grow by whole models.
            let model = vec![1.0; 25_000];
            Ok(move || Ok(model.clone()))
        })
    };
    KINDS.iter().map(entry).collect()
}

// SAFETY: the pointer is to a mapping that is never removed, and one thread at a time uses it.
unsafe impl Send for Memory {}

/// `run <name> <args>` in this executable.
fn run(name: &str, args: &[&str]) -> Ran {
    let program = std::env::current_exe().unwrap();
    common::run_with(&program, [&[name, "--heap", "jemalloc"], args].concat())
}

fn is_no_leak(name: &str, args: &[&str]) {
    let ran = run(name, args).exits(0);
    assert_eq!(ran.report().verdict, RunVerdict::Clean, "{}", ran.out);
}

/// In its first twenty cycles the ring still grows: then it must not be called a leak for being lost.
fn is_growing_in_between(name: &str, says: &str) {
    let ran = run(name, &["--cycles", "18"]).exits(1);
    assert_eq!(ran.report().verdict, RunVerdict::Growing, "{}", ran.out);
    assert!(ran.words().contains(says), "{}", ran.out);
}

/// In its first twenty cycles, the search finds what holds the ring.
fn is_held_in_between(name: &str, kind: HolderKind) {
    let ran = run(name, &["--cycles", "18"]).exits(1);
    let report = ran.report();
    assert_eq!(report.verdict, RunVerdict::Growing, "{}", ran.out);
    let holder = report.call_sites[0].holder.as_ref().map(|h| h.kind);
    assert_eq!(holder, Some(kind), "{}", ran.out);
}

fn a_ring_is_no_leak_below_a_folder_whose_name_is_not_utf_8() {
    let folder = Folder::new();
    let below = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
    std::fs::create_dir(&below).unwrap();
    let program = below.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let args = ["static", "--heap", "jemalloc", "--cycles", "83"];
    let ran = common::run_with(&program, args).exits(0);
    assert_eq!(ran.report().verdict, RunVerdict::Clean, "{}", ran.out);
}

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "run")
    {
        return afterdrop::main(workloads());
    }
    let mut trials = trials![a_ring_is_no_leak_below_a_folder_whose_name_is_not_utf_8];
    for &(name, _) in KINDS {
        let is_missing = name == "secret" && secret_descriptor() < 0;
        trials.extend([
            trial(format!("{name}::is_no_leak_at_83"), move || {
                is_no_leak(name, &["--cycles", "83"]);
            })
            .with_ignored_flag(is_missing),
            trial(format!("{name}::is_no_leak_in_auto"), move || {
                is_no_leak(name, &[]);
            })
            .with_ignored_flag(is_missing),
        ]);
    }
    for (name, says) in [
        ("not-forked", "that a fork does not copy (MADV_DONTFORK)"),
        ("wiped-on-fork", "that a fork empties (MADV_WIPEONFORK)"),
        ("beside-the-allocators", "mapped like the allocator's own"),
        ("not-reserved-not-dumped", "marked like the recorder's own"),
        (
            "not-aligned-in-a-large-heap",
            "pointers that are not aligned",
        ),
    ] {
        trials.push(trial(
            format!("{name}::says_why_it_is_unknown"),
            move || {
                is_growing_in_between(name, says);
            },
        ));
    }
    for (name, kind) in [
        ("static", HolderKind::Static),
        ("sbrk", HolderKind::CHeap),
        ("not-aligned-in-a-mapping", HolderKind::Mapped),
        ("guarded", HolderKind::Mapped),
        ("truncated", HolderKind::Static),
        ("protected-block", HolderKind::Static),
    ] {
        let has_guards = || install_guard(anonymous(0));
        trials.push(
            trial(format!("{name}::is_held"), move || {
                is_held_in_between(name, kind)
            })
            .with_ignored_flag(name == "guarded" && !has_guards()),
        );
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
