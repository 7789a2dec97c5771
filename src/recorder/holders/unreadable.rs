//! Pages that cannot be read in place. Where one would end the copy of the process, its own handler makes the page
//! readable, or puts an empty page in its place: the copy has one thread, and nobody else sees its memory.

use core::ptr::null_mut;
use std::fs::File;
use std::os::fd::IntoRawFd;

use crate::recorder::pagemap::{Entry, PAGE};
use crate::recorder::primitive::{AtomicI32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// `si_code` where a protection key forbids the access (`asm-generic/siginfo.h`).
const SEGV_PKUERR: libc::c_int = 4;

/// The page that was made readable last. If it still cannot be read, the kernel has nothing for it.
static PERMITTED: AtomicUsize = AtomicUsize::new(0);
/// Bytes of pages that may have contents, and cannot be read.
static BYTES: AtomicU64 = AtomicU64::new(0);
/// Descriptor of `/proc/self/pagemap`; negative if there is none.
static PAGEMAP: AtomicI32 = AtomicI32::new(-1);

/// Installs the handler. Runs in the copy, whose handlers are its own.
pub(super) fn survive() {
    let pagemap = File::open("/proc/self/pagemap").map_or(-1, IntoRawFd::into_raw_fd);
    PAGEMAP.store(pagemap, Relaxed);
    BYTES.store(0, Relaxed);
    // SAFETY: structures of integers are valid if all their bytes are zero. The calls read the two locals, and set
    // handlers and the mask of the only thread (tests/memory_kinds.rs: `guarded`, `truncated`, `protected-block`).
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = replace_page as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        let mut signals: libc::sigset_t = core::mem::zeroed();
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            libc::sigaction(signal, &action, null_mut());
            libc::sigaddset(&mut signals, signal);
        }
        // The kernel ends a process that blocks the signal of its own fault.
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &signals, null_mut());
    }
}

/// Bytes of pages that could not be read so far, and may have contents.
pub(super) fn bytes() -> u64 {
    BYTES.load(Relaxed)
}

/// Makes the page readable whose access has failed, so that the access can be repeated.
extern "C" fn replace_page(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid pointer, and these signals have an address.
    let (at, code) = unsafe { ((*info).si_addr().addr(), (*info).si_code) };
    let at = at / PAGE * PAGE;
    let page = core::ptr::with_exposed_provenance_mut(at);
    let is_permitted = PERMITTED.load(Relaxed) == at;
    // SAFETY: the copy has one thread, which only reads memory that is not the recorder's own. It may read this page
    // then, and nothing else changes.
    let permit = || unsafe { libc::mprotect(page, PAGE, libc::PROT_READ) };
    if signal == libc::SIGSEGV && !is_permitted && permit() == 0 {
        PERMITTED.store(at, Relaxed);
        return;
    }
    let is_empty = match signal {
        // A page that may be read, and ends its readers all the same, is a guard (`MADV_GUARD_INSTALL`), which has
        // no contents.
        libc::SIGSEGV => is_permitted && code != SEGV_PKUERR,
        // Beyond the end of its file, private memory has nothing of its own.
        _ => is_untouched(at),
    };
    const FLAGS: libc::c_int =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: the page could not be read, and so nothing of the recorder's is in it.
    let replaced = unsafe { libc::mmap(page, PAGE, libc::PROT_READ, FLAGS, -1, 0) };
    if replaced == libc::MAP_FAILED {
        // The access is repeated, and ends the copy.
        // SAFETY: resets a handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    if !is_empty {
        BYTES.fetch_add(PAGE as u64, Relaxed);
    }
}

/// Whether a page of private memory was never written, or is gone.
fn is_untouched(at: usize) -> bool {
    let mut entry = [0_u8; size_of::<u64>()];
    let offset = (at / PAGE * entry.len()) as libc::off_t;
    let pagemap = PAGEMAP.load(Relaxed);
    // SAFETY: the call writes at most `entry.len()` bytes to `entry`.
    let read = unsafe { libc::pread(pagemap, entry.as_mut_ptr().cast(), entry.len(), offset) };
    read == entry.len() as isize && !Entry::of(u64::from_ne_bytes(entry)).is_touched()
}
