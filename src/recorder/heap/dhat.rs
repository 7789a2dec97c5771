//! dhat beneath the ledger: a profiling window, and the book that makes the two comparable.
//!
//! dhat leaves a reallocated block with the stack of its first allocation; the ledger gives it to
//! the place that grew it last. So that dhat's file can be compared with the ledger stack by stack,
//! the first stack of every reallocated block is kept here while a window is open.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::path::Path;

use super::Backend;
use super::address_map::{AddressMap, Block};
use crate::model::block::Birth;
use crate::model::block::StackId;

pub(super) static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// All live blocks, as the ledger has them.
static KNOWN: AddressMap = AddressMap::new();

/// Of each block that dhat knows by an earlier `realloc` the first one.
static ORIGINS: AddressMap = AddressMap::new();

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

/// A block and, if it was reallocated, what it was first.
pub(super) type Taken = (Block, Option<Block>);

/// Keeps a block that the ledger has recorded in a row of this stack and birth.
#[inline]
pub(super) fn record(state: u8, address: usize, size: usize, key: impl FnOnce() -> (StackId, u32)) {
    if Backend::of_state(state) == Backend::Dhat {
        let (stack_id, birth) = key();
        KNOWN.insert(&Block {
            address,
            size,
            stack_id,
            birth: Birth::unpacked(birth),
        });
    }
}

/// Takes a block out that is about to be freed or reallocated.
#[inline]
pub(super) fn take(state: u8, address: usize) -> Option<Taken> {
    if Backend::of_state(state) != Backend::Dhat {
        return None;
    }
    let block = KNOWN.remove(address)?;
    Some((block, ORIGINS.remove(address)))
}

/// Puts back what [`take`] took out.
#[inline]
pub(super) fn put_back(taken: Option<Taken>) {
    let Some((block, origin)) = taken else { return };
    KNOWN.insert(&block);
    if let Some(origin) = origin {
        ORIGINS.insert(&origin);
    }
}

/// After a successful `realloc`: remembers under the new address what dhat still takes the block
/// for.
#[inline]
pub(super) fn keep_origin(taken: Option<Taken>, new: usize) {
    let Some((block, origin)) = taken else { return };
    let first = origin.unwrap_or(block);
    // A block from before the window is new to dhat at its first `realloc` inside it.
    if first.birth.cycle > WINDOW_AFTER.load(Relaxed) {
        ORIGINS.insert(&Block {
            address: new,
            ..first
        });
    }
}

/// Visits every live block that dhat knows, with the stack that dhat has it under.
pub(crate) fn for_each_known_block(mut visit: impl FnMut(Block)) {
    let window_after = WINDOW_AFTER.load(Relaxed);
    KNOWN.for_each(|block| {
        if block.birth.cycle > window_after {
            // Taken out and put back: the table has no plain look-up, and this happens once.
            let origin = ORIGINS.remove(block.address);
            if let Some(origin) = &origin {
                ORIGINS.insert(origin);
            }
            visit(Block {
                stack_id: origin.map_or(block.stack_id, |o| o.stack_id),
                ..block
            });
        }
    });
}
