//! Writes the result of a search as records of [`crate::model::holders`].

use super::error::SearchError;
use super::held_blocks::{Count, Counts, Key};
use super::holder_table::{Holder, HolderId, NO_HOLDER, Source};
use super::index::{BlockId, usable_bytes};
use super::objects::Objects;
use super::overlap::Overlap;
use super::path::MAX_BLOCKS;
use super::python::{Label, NO_TYPE, Python, TypeId};
use super::regions::{RegionKind, Regions};
use super::search::Search;
use crate::model::block::{Birth, NO_STACK, StackId};
use crate::model::holders::{HolderKind, HolderRecord, Record, RetainingPath};
use crate::recorder::heap::{self, MappedVec, NoMemory};
use crate::recorder::journal::JsonLines;

/// Longest name of a type, in bytes. A longer one is cut.
const LONGEST_NAME: usize = 128;

/// A record that borrows its parts, so that it can be written without allocating.
pub(super) type RecordRef<'a> = Record<&'a str, &'a [u64], &'a [(u32, u64, TypeId, &'a str)]>;

/// Writes all holders, in the order of their numbers.
pub(super) fn write_holders(
    lines: &mut JsonLines,
    search: &Search<'_>,
    regions: &Regions,
    python: Option<&Python<'_>>,
) -> Result<(), SearchError> {
    for (id, holder) in (1..).zip(search.holders.as_slice()) {
        match python {
            Some(python) => python.describe(holder.source, |name, file, line| {
                write_holder(lines, id, holder, regions, (name, file, line))
            })?,
            None => write_holder(lines, id, holder, regions, ("", "", 0))?,
        }
    }
    Ok(())
}

fn write_holder(
    lines: &mut JsonLines,
    id: HolderId,
    holder: &Holder,
    regions: &Regions,
    (name, file, line): (&str, &str, u32),
) -> Result<(), SearchError> {
    let thread_id = |thread: u16| Some(regions.thread(thread).id);
    let (kind, thread, cycle) = match holder.source {
        Source::Lost { cycle, is_owned } => match is_owned {
            true => (HolderKind::Cycle, None, cycle),
            false => (HolderKind::Lost, None, cycle),
        },
        #[cfg(any(feature = "preload", test))]
        Source::Python(source) => (source.kind(), None, 0),
        Source::Region(kind) => match kind {
            RegionKind::Statics => (HolderKind::Static, None, 0),
            RegionKind::ThreadLocals { thread, .. } => {
                (HolderKind::ThreadLocal, thread_id(thread), 0)
            }
            RegionKind::Stack { thread } => (HolderKind::Stack, thread_id(thread), 0),
            RegionKind::ThreadControlBlock { thread } => (HolderKind::Thread, thread_id(thread), 0),
            RegionKind::CHeap => (HolderKind::CHeap, None, 0),
            RegionKind::Mapped => (HolderKind::Mapped, None, 0),
        },
    };
    let objects: &Objects = &regions.objects;
    let frames = holder.frames.map(|pc| pc as u64);
    let count = frames.iter().take_while(|&&pc| pc != 0).count();
    let has_origin = kind.is_lost() || kind == HolderKind::Garbage;
    let origin = has_origin.then(|| heap::origin(holder.at)).flatten();
    lines.write(&RecordRef::Holder(HolderRecord {
        id,
        kind,
        symbol: holder.symbol.as_ref().map_or(name, |s| objects.name(s)),
        file,
        line,
        thread,
        frames: &frames[..count],
        stack_id: origin.map(|(stack_id, _)| stack_id),
        cycle,
        reached_bytes: holder.reached_bytes,
        reached_blocks: holder.reached_blocks,
        retained_bytes: holder.retained_bytes,
        retained_blocks: holder.retained_blocks,
    }))?;
    Ok(())
}

/// Writes how many blocks of each stack and birth each holder has, and the path to one of them.
/// Blocks from before the first cycle are left out.
pub(super) fn write_held_blocks(
    lines: &mut JsonLines,
    search: &mut Search<'_>,
    python: Option<&Python<'_>>,
) -> Result<(), SearchError> {
    let counts = count_blocks(search, |_, _| true)?;
    let mut with_path = Counts::new();
    let mut path = MappedVec::new();
    for count in counts.iter() {
        lines.write(&RecordRef::Held(count.record()))?;
        // One path is enough for blocks that differ only in their birth cycle.
        let key = count.key.of_any_cycle();
        if key.holder() != NO_HOLDER && with_path.add(Count { key, ..*count })? {
            write_path(lines, search, count, python, &mut path)?;
        }
    }
    write_overlap(lines, search, &counts)
}

/// Writes which blocks a holder reaches after another one.
fn write_overlap(
    lines: &mut JsonLines,
    search: &mut Search<'_>,
    counts: &Counts,
) -> Result<(), SearchError> {
    let overlap = Overlap::new(search, counts)?;
    for &holder in overlap.holders() {
        let reached = search.reached_by(holder)?;
        let is_later = |block, key: Key| {
            key.holder() != holder && reached.contains(block) && overlap.is_contested(key)
        };
        for count in count_blocks(search, is_later)?.iter() {
            let (stack_id, birth, phase, first, blocks) = count.record();
            let reached = (stack_id, birth, phase, holder, blocks);
            lines.write(&RecordRef::Reached((reached, first)))?;
        }
    }
    Ok(())
}

/// Counts the blocks that are wanted by their holder.
fn count_blocks(
    search: &Search<'_>,
    is_wanted: impl Fn(BlockId, Key) -> bool,
) -> Result<Counts, NoMemory> {
    count_by(|block, (stack_id, birth)| {
        let holder = search.holder(block);
        is_wanted(block, Key::new(stack_id, birth, holder)).then_some(holder)
    })
}

/// Counts blocks by stack, birth, and the number that `number_of` gives each; without one a block is left out, and
/// so is one from before the first cycle. `number_of` gets the block's number in the index and its origin.
fn count_by(
    number_of: impl Fn(BlockId, (StackId, Birth)) -> Option<u16>,
) -> Result<Counts, NoMemory> {
    let mut counts = Counts::new();
    let mut result = Ok(());
    // Numbers of the index are in the same order.
    let mut next: BlockId = 0;
    heap::for_each_block(|at| {
        let block = next;
        next += 1;
        let origin = heap::origin(at).filter(|(_, birth)| birth.cycle > 0);
        let number = origin.and_then(|origin| number_of(block, origin));
        if let (Some((stack_id, birth)), Some(number), Ok(())) = (origin, number, result) {
            let count = Count {
                key: Key::new(stack_id, birth, number),
                blocks: 1,
                example: block,
            };
            result = counts.add(count).map(drop);
        }
    });
    result.map(|()| counts)
}

/// Writes the path to the example of a count; `path` is scratch memory.
fn write_path(
    lines: &mut JsonLines,
    search: &Search<'_>,
    count: &Count,
    python: Option<&Python<'_>>,
    path: &mut MappedVec<BlockId>,
) -> Result<(), SearchError> {
    let total_blocks = search.path(count.example, path)?;
    let source = search.source(count.key.holder());
    let mut labels = [const { Label::NONE }; MAX_BLOCKS];
    if let (Some(python), Some(source)) = (python, source) {
        for (number, to) in labels.iter_mut().enumerate() {
            *to = python.label(source, path.as_slice(), number);
        }
    }
    let mut blocks = [(NO_STACK, 0, NO_TYPE, ""); MAX_BLOCKS];
    for ((to, &block), label) in blocks.iter_mut().zip(path.as_slice()).zip(&labels) {
        let start = search.start(block);
        let stack_id = heap::origin(start).map_or(NO_STACK, |(stack_id, _)| stack_id);
        let id = python.map_or(NO_TYPE, |python| python.graph().type_of(block));
        *to = (stack_id, usable_bytes(start) as u64, id, label.as_str());
    }
    lines.write(&RecordRef::Path(RetainingPath {
        stack_id: count.key.stack_id(),
        phase: count.key.birth().phase,
        holder: count.key.holder(),
        blocks: &blocks[..path.as_slice().len()],
        total_blocks,
    }))?;
    Ok(())
}

/// Writes how many objects of each type there are of each stack and birth, and the names of all types. Objects
/// from before the first cycle are left out.
pub(super) fn write_objects(lines: &mut JsonLines, python: &Python<'_>) -> Result<(), SearchError> {
    // A type in the place of a holder, whose numbers are as large.
    let counts = count_by(|block, _| {
        let id = python.graph().type_of(block);
        (id != NO_TYPE).then_some(id)
    })?;
    for count in counts.iter() {
        lines.write(&RecordRef::Objects(count.record()))?;
    }
    for id in python.graph().type_ids() {
        let mut buffer = [0; LONGEST_NAME];
        let name = python.graph().type_name(id, &mut buffer);
        lines.write(&RecordRef::Type((id, name)))?;
    }
    Ok(())
}
