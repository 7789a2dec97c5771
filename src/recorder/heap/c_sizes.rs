//! The size that was asked for a block of C's, which its free has to know: nobody states it there.
//!
//! glibc knows how many bytes a block may use. The ledger's note of the block has the difference, as
//! far as it fits, which it does for all blocks but those in mappings of their own.

use libc::c_void;

use super::c_allocator::usable_bytes;
use super::ledger::Note;
use super::mapped_table::{MappedTable, TableSlot};
use super::spin_lock::SpinLock;

/// The note of a block whose size is in [`LARGE_SIZES`].
const LARGE: Note = Note::MAX;

/// The sizes of blocks whose difference does not fit into a note.
static LARGE_SIZES: SpinLock<MappedTable<SizeSlot>> = SpinLock::new(MappedTable::new());

#[derive(Clone, Copy)]
struct SizeSlot {
    address: usize,
    size: usize,
}

impl TableSlot for SizeSlot {
    type Key = usize;
    const FREE: Self = Self {
        address: 0,
        size: 0,
    };

    fn key(&self) -> Option<usize> {
        (self.address != 0).then_some(self.address)
    }

    fn hash(address: usize) -> u64 {
        address as u64 >> 4
    }
}

/// The note for a block of this size: never 0. Called inside a hook.
///
/// # Safety
/// `at` is a live block of glibc's, for which `size` was asked.
#[inline(always)]
pub(super) unsafe fn note_of(at: *mut c_void, size: usize) -> Note {
    // SAFETY: the contract of this function.
    let difference = unsafe { usable_bytes(at) }.wrapping_sub(size);
    if difference < usize::from(LARGE) - 1 {
        return difference as Note + 1;
    }
    note_large(at as usize, size)
}

#[cold]
#[inline(never)]
fn note_large(address: usize, size: usize) -> Note {
    let slot = SizeSlot { address, size };
    // Without memory for it, the size is taken to be what the block may use.
    let _ = LARGE_SIZES.lock().insert_or(slot, |old| old.size = size);
    LARGE
}

/// The size that was asked for a block with a note that is not 0, for the last time: its note is
/// removed from the ledger. Called inside a hook.
///
/// # Safety
/// `at` is a live block of glibc's.
#[inline(always)]
pub(super) unsafe fn take_size(at: *mut c_void, note: Note) -> usize {
    // SAFETY: the contract of this function.
    let usable = unsafe { usable_bytes(at) };
    if note != LARGE {
        return usable - usize::from(note - 1);
    }
    take_large(at as usize).unwrap_or(usable)
}

#[cold]
#[inline(never)]
fn take_large(address: usize) -> Option<usize> {
    Some(LARGE_SIZES.lock().remove(address)?.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::c_allocator::{alloc, free};

    #[test]
    fn the_size_is_what_was_asked_for() {
        for align in [8, 16, 32, 64, 4096, 1 << 20] {
            for size in [0, 1, 8, 24, 25, 40, 1000, 5000, 100_064, 200_000, 3_000_001] {
                // SAFETY: the alignment is a power of two, and the block is freed once.
                unsafe {
                    let at = alloc::<false>(align, size);
                    let note = note_of(at, size);
                    assert_ne!(note, 0);
                    assert_eq!(take_size(at, note), size, "aligned to {align}");
                    free(at);
                }
            }
        }
    }
}
