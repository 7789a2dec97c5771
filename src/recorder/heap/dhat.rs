//! dhat as the backend: its profiling window, and the blocks that dhat and the ledger are compared
//! by.
//!
//! dhat leaves a reallocated block with the stack that first allocated it, and the ledger gives it
//! to the stack that reallocated it last. So that dhat's file can be compared with the ledger stack
//! by stack, the first stack of every reallocated block is kept here while a window is open.

use std::path::Path;

use super::address_map::{AddressMap, Block};
use super::thread::pause;
use crate::model::block::{Birth, StackId};
use crate::recorder::primitive::{AtomicU32, Ordering::Relaxed};

pub(super) static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// All live blocks, as the ledger has them.
static LIVE: AddressMap = AddressMap::new();

/// Of each live block that was reallocated, the block that it was first.
static ORIGINS: AddressMap = AddressMap::new();

/// The last cycle before the window. dhat does not know the blocks born in it or before.
static WINDOW_AFTER: AtomicU32 = AtomicU32::new(u32::MAX);

/// A profiling window: dhat knows the blocks that are born in it. Closed when it is dropped.
pub(crate) struct Window(Option<dhat::Profiler>);

/// Opens a window after `cycle`. dhat writes its file to `path` when the window is closed.
///
/// Backtraces are not trimmed: by default dhat keeps ten frames, which in Burn are all inside the
/// backend.
pub(crate) fn open_window(path: &Path, cycle: u32) -> Window {
    let _paused = pause();
    WINDOW_AFTER.store(cycle, Relaxed);
    let profiler = dhat::Profiler::builder()
        .file_name(path)
        .trim_backtraces(None)
        .build();
    Window(Some(profiler))
}

impl Drop for Window {
    fn drop(&mut self) {
        let _paused = pause();
        drop(self.0.take());
    }
}

/// A block and, if it was reallocated, what it was first.
pub(super) type RemovedBlock = (Block, Option<Block>);

/// Keeps a block that the ledger has recorded.
#[inline]
pub(super) fn insert(address: usize, size: usize, stack_id: StackId, birth: u32) {
    LIVE.insert(&Block {
        address,
        size,
        stack_id,
        birth: Birth::unpacked(birth),
    });
}

/// Removes a block that is about to be freed or reallocated.
#[inline]
pub(super) fn remove(address: usize) -> Option<RemovedBlock> {
    let block = LIVE.remove(address)?;
    Some((block, ORIGINS.remove(address)))
}

/// Puts back what [`remove`] has removed.
#[inline]
pub(super) fn put_back((block, origin): RemovedBlock) {
    LIVE.insert(&block);
    if let Some(origin) = origin {
        ORIGINS.insert(&origin);
    }
}

/// After a successful `realloc`: keeps what the block was first under its new address.
#[inline]
pub(super) fn keep_origin((block, origin): RemovedBlock, new_address: usize) {
    let first = origin.unwrap_or(block);
    // A block from before the window is new to dhat at its first `realloc` in the window.
    if first.birth.cycle > WINDOW_AFTER.load(Relaxed) {
        ORIGINS.insert(&Block {
            address: new_address,
            ..first
        });
    }
}

/// Calls `visit` with every live block that dhat knows, with the stack under which dhat has it.
pub(crate) fn for_each_known_block(mut visit: impl FnMut(Block)) {
    let window_after = WINDOW_AFTER.load(Relaxed);
    LIVE.for_each(|block| {
        if block.birth.cycle > window_after {
            let origin = ORIGINS.get(block.address);
            visit(Block {
                stack_id: origin.map_or(block.stack_id, |o| o.stack_id),
                ..block
            });
        }
    });
}
