//! dhat beneath the ledger: a profiling window, and the book that makes the two comparable.
//!
//! dhat leaves a reallocated block with the stack of its first allocation; the ledger gives it to
//! the place that grew it last. So that dhat's file can be compared with the ledger site by site,
//! the first site of every reallocated block is kept here while a window is open.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::path::Path;

use super::ledger::Block;
use super::{Backend, LEDGER, ORIGINS};

pub(super) static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The last cycle before the window: blocks born in it or earlier are unknown to dhat.
static WINDOW_AFTER: AtomicU32 = AtomicU32::new(u32::MAX);

/// A profiling window: dhat knows the blocks that are born in it.
pub(crate) struct Window(Option<dhat::Profiler>);

/// Opens a window after `cycle`. dhat writes its file to `path` when the window is closed.
///
/// Frames are not trimmed: dhat's default keeps ten, which in Burn are all inside the backend.
pub(crate) fn open_window(path: &Path, cycle: u32) -> Window {
    let _paused = super::pause();
    WINDOW_AFTER.store(cycle, Relaxed);
    let profiler = dhat::Profiler::builder()
        .file_name(path)
        .trim_backtraces(None)
        .build();
    Window(Some(profiler))
}

impl Drop for Window {
    fn drop(&mut self) {
        let _paused = super::pause();
        drop(self.0.take());
    }
}

/// Takes out what the block at `address` was before it was reallocated.
#[inline]
pub(super) fn take_origin(address: usize) -> Option<Block> {
    if WINDOW_AFTER.load(Relaxed) == u32::MAX {
        return None;
    }
    ORIGINS.remove(address)
}

/// After a successful `realloc`: remembers under the new address what dhat still takes the block
/// for. `old` is the block as the ledger had it and, if it was reallocated before, its origin.
#[inline]
pub(super) fn keep_origin(state: u8, old: Option<(Block, Option<Block>)>, new: usize) {
    if Backend::of_state(state) != Backend::Dhat {
        return;
    }
    let Some((block, origin)) = old else { return };
    let first = origin.unwrap_or(block);
    // A block from before the window is new to dhat at its first `realloc` inside it.
    if first.birth.cycle > WINDOW_AFTER.load(Relaxed) {
        ORIGINS.insert(&Block {
            address: new,
            ..first
        });
    }
}

/// Visits every live block that dhat knows, with the site that dhat has it under.
pub(crate) fn for_each_known_block(mut visit: impl FnMut(Block)) {
    let window_after = WINDOW_AFTER.load(Relaxed);
    LEDGER.for_each(|block| {
        if block.birth.cycle > window_after {
            // Taken out and put back: the table has no plain look-up, and this happens once.
            let origin = ORIGINS.remove(block.address);
            if let Some(origin) = &origin {
                ORIGINS.insert(origin);
            }
            visit(Block {
                site: origin.map_or(block.site, |o| o.site),
                ..block
            });
        }
    });
}
