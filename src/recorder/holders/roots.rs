//! Marks everything that is reachable from the roots: the regions outside of the heap.
//!
//! One kind of region is searched after the other, each breadth first, so that the path to a block
//! is the shortest one from roots of that kind.

use super::backtrace;
use super::holder_table::{Holder, HolderId, HolderTable, NO_HOLDER};
use super::kernel_copies::KernelCopies;
use super::marks::{Marks, Pointer};
use super::regions::{Region, RegionKind, Regions};
use super::resident_parts;
use super::scan::Words;
use crate::model::layout::RECORDER_MANGLED;
use crate::recorder::heap::NoMemory;

/// Unaligned words are searched only if the live blocks have at most this many bytes, and so the other memory.
const MAX_UNALIGNED_BYTES: u64 = 256 << 20;

/// Marks all blocks that are reachable through aligned words.
pub(super) fn mark_reached(
    marks: &mut Marks<'_>,
    holders: &mut HolderTable,
    regions: &Regions,
) -> Result<(), NoMemory> {
    // The stack of the forking thread is searched after all others: it is full of stale words that
    // the recorder has left there.
    let is_forking_stack =
        |kind| matches!(kind, RegionKind::Stack { thread } if regions.is_forking(thread));
    let group = |r: &Region| (core::mem::discriminant(&r.kind), is_forking_stack(r.kind));
    let all = regions.regions.as_slice();
    for regions_of_kind in all.chunk_by(|a, b| group(a) == group(b)) {
        marks.queue.clear();
        let before = marks.scanned_words;
        // Statics and thread-locals are precise roots. In other regions many words are stale: they
        // do not make a block shared that an earlier kind of region reaches.
        marks.sharing_from = match regions_of_kind[0].kind {
            RegionKind::Statics | RegionKind::ThreadLocals { .. } => marks.first_shareable,
            _ => holders.count() + 1,
        };
        for region in regions_of_kind {
            mark_region(marks, holders, regions, region)?;
        }
        marks.region_words += marks.scanned_words - before;
        marks.follow()?;
    }
    Ok(())
}

/// Marks blocks that are reachable only through an unaligned word, such as a field of a packed
/// struct. Does nothing if the heap is too large.
pub(super) fn mark_reached_unaligned(
    marks: &mut Marks<'_>,
    holders: &mut HolderTable,
    regions: &Regions,
) -> Result<(), NoMemory> {
    let is_complete = marks.blocks().all(|block| marks.is_reached(block));
    if is_complete {
        return Ok(());
    }
    let sizes = [marks.index.bytes(), 8 * marks.region_words];
    let too_large = sizes
        .into_iter()
        .filter(|&bytes| bytes > MAX_UNALIGNED_BYTES);
    marks.unsearched_unaligned = too_large.sum();
    if marks.unsearched_unaligned > 0 {
        return Ok(());
    }
    marks.words = Words::Unaligned;
    marks.queue.clear();
    for region in regions.regions.as_slice() {
        mark_region(marks, holders, regions, region)?;
    }
    for block in marks.blocks() {
        let holder = marks.holder(block);
        if holder != NO_HOLDER {
            marks.for_each_pointer(block, |marks, to| marks.reach(holder, Some(block), to))?;
        }
    }
    marks.words = Words::Aligned;
    marks.follow()
}

/// Marks the blocks to which a region points.
fn mark_region(
    marks: &mut Marks<'_>,
    holders: &mut HolderTable,
    regions: &Regions,
    region: &Region,
) -> Result<(), NoMemory> {
    let mut result = Ok(());
    // Of C's heap and its mappings, what is in no recorded block is a root.
    let has_blocks = matches!(region.kind, RegionKind::CHeap | RegionKind::Mapped);
    let mut copies = match region.access.is_through_kernel() {
        true => Some(KernelCopies::new()),
        false => None,
    };
    resident_parts::for_each(region, |start, end| {
        if result.is_err() {
            return;
        }
        let visit = |marks: &mut Marks<'_>, pointer: Pointer| {
            if has_blocks && marks.index.contains(pointer.at, marks.sizes.usable) {
                return Ok(());
            }
            match holder_of_word(holders, regions, region, pointer.at)? {
                NO_HOLDER => Ok(()),
                holder => marks.reach(holder, None, pointer.block.id),
            }
        };
        result = match &mut copies {
            Some(copies) => copies.scan(marks, start, end, visit),
            // SAFETY: every such region is readable: `find_regions` takes it from a readable mapping
            // that no other process can truncate, or it is thread-local memory or the control block
            // of a thread that has not ended, which the C library keeps mapped. The copy has one
            // thread, this one, and it removes no mapping (tests/holders.rs and
            // tests/memory_kinds.rs read all kinds of regions).
            None => unsafe { marks.scan(start, end, visit) },
        };
    });
    result
}

/// The holder that a word of a region belongs to; [`NO_HOLDER`] for data of an allocator or of the
/// recorder, which contain addresses of blocks without owning the blocks.
fn holder_of_word(
    holders: &mut HolderTable,
    regions: &Regions,
    region: &Region,
    at: usize,
) -> Result<HolderId, NoMemory> {
    let kind = region.kind;
    let of_symbol = |at, symbol| Holder::of_region(kind, at).with_symbol(symbol);
    let without_symbol = || Holder::of_region(kind, region.start);
    let holder = match kind {
        RegionKind::Statics => match regions.objects.static_at(at) {
            Some(symbol) if is_of_allocator(regions.objects.name(&symbol)) => return Ok(NO_HOLDER),
            Some(symbol) => of_symbol(symbol.start, symbol),
            None if regions.is_of_c_allocator(at) => return Ok(NO_HOLDER),
            None => without_symbol(),
        },
        RegionKind::ThreadLocals { module, .. } => {
            match regions.thread_local_at(module, at - region.start) {
                Some(symbol) if is_of_allocator(regions.objects.name(&symbol)) => {
                    return Ok(NO_HOLDER);
                }
                Some(symbol) => of_symbol(region.start + symbol.start, symbol),
                None => without_symbol(),
            }
        }
        RegionKind::Stack { thread } => {
            let frames = backtrace::of_word(regions, thread, region, at);
            Holder::of_frame(kind, thread, at, frames)
        }
        _ => without_symbol(),
    };
    holders.intern(holder)
}

/// Whether a symbol belongs to jemalloc or to the recorder.
fn is_of_allocator(name: &str) -> bool {
    name.starts_with("_rjem_") || name.starts_with("je_") || name.contains(RECORDER_MANGLED)
}
