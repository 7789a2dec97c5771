//! Who still points at a survivor: the static, the thread, or the cycle that keeps it alive.
//!
//! Behind its last boundary, and at looks where something may be growing, the measured process makes a
//! frozen copy of itself ([`freeze`]), which looks up everything that may
//! be a pointer ([`regions`], [`index`], [`search`]) and writes what it found ([`FILE`]), while the
//! process goes on. The parent reads that back ([`found`]), and gives the holders their names.
//!
//! A word that looks like a pointer is taken for one: old words on stacks and in memory that was used
//! before make a block seem held that is not. So a stack's holder is who holds most of its blocks.

use crate::base::units::bytes;
use crate::model::holders::{Done, FILE, HolderRecord, Kind, Record, Way};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::recorder::heap::{self, MappedVec, NoMemory};
use crate::recorder::journal::Lines;

mod freeze;
mod index;
mod objects;
mod regions;
mod search;

use freeze::{Copy, Known, Refused, Thread};
use index::{Block, Index, size};
use regions::{Regions, What};
use search::{Holder, Root, Search};

/// Longest search.
const BOUND: Duration = Duration::from_secs(60);

type RecordRef<'a> = Record<&'a str, &'a [u64], &'a [(u32, u64)]>;

/// A search that goes on in the copy.
pub(crate) struct RunningSearch(Copy);

impl RunningSearch {
    /// For how long the process was held up.
    pub(crate) fn pause(&self) -> Duration {
        self.0.pause
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why nothing was found.
    pub(crate) fn wait(self) -> Result<(), String> {
        match self.0.wait(BOUND) {
            Ok(0) => Ok(()),
            Ok(NO_MEMORY) => Err("there was no memory for the search".into()),
            Ok(_) => Err("what was found could not be written".into()),
            Err(why) => Err(format!("the search did not end: {why}")),
        }
    }
}

const NO_MEMORY: u8 = 1;
const UNWRITTEN: u8 = 2;

/// Starts the search for whoever holds the live blocks, in a copy of this process that writes into a
/// folder.
///
/// # Errors
/// Why it cannot be, in words.
pub(crate) fn start_search(folder: &Path) -> Result<RunningSearch, String> {
    let _paused = heap::pause();
    if let Some(every) = heap::sampled_every() {
        return Err(format!(
            "only one block in {} was recorded: without --sample holders are found",
            bytes(every as f64)
        ));
    }
    if !heap::knows_sizes() {
        return Err(
            "the allocator does not say how large its blocks are: --heap jemalloc does".into(),
        );
    }
    // Made here, because the copy allocates nothing.
    let path = folder.join(FILE);
    let mut lines = Lines::create(&path).map_err(|e| format!("{FILE} cannot be written: {e}"))?;
    let mut known = Known::now();
    let copy = freeze::copied(&mut known, |known, threads, missed| {
        match write(&mut lines, known, threads, missed) {
            Ok(()) => 0,
            Err(Failed::Memory) => NO_MEMORY,
            Err(Failed::File) => UNWRITTEN,
        }
    });
    copy.map(RunningSearch).map_err(|refused| match refused {
        Refused::NoSignal => "the program handles every real-time signal itself".into(),
        Refused::Fork(error) => format!("the process cannot be copied: {error}"),
    })
}

enum Failed {
    Memory,
    File,
}

impl From<NoMemory> for Failed {
    fn from(NoMemory: NoMemory) -> Self {
        Self::Memory
    }
}

impl From<std::io::Error> for Failed {
    fn from(_: std::io::Error) -> Self {
        Self::File
    }
}

/// In the copy: searches, and writes what is found.
fn write(
    lines: &mut Lines,
    known: &Known,
    threads: &[Thread],
    missed: usize,
) -> Result<(), Failed> {
    let start = Instant::now();
    let each = |visit: &mut dyn FnMut(usize)| heap::for_each_block(visit);
    let index = Index::of(each, size)?;
    let regions = Regions::of(known, threads, &index)?;
    let mut search = Search::new(&index, &regions, size, index::reach)?;
    search.run()?;
    let nanos = start.elapsed().as_nanos() as u64;
    for (i, root) in search.roots.as_slice().iter().enumerate() {
        write_holder(lines, i as Holder + 1, root, &regions)?;
    }
    write_held(lines, &search)?;
    lines.write(&RecordRef::Done(Done {
        blocks: u64::from(index.count()),
        bytes: index.bytes(),
        searched_bytes: search.words * 8,
        nanos,
        own_bytes: search.own_bytes() as u64,
        missed_threads: missed as u32,
        saw_c_code: heap::is_separate_from_c(),
    }))?;
    Ok(())
}

fn write_holder(
    lines: &mut Lines,
    id: Holder,
    root: &Root,
    regions: &Regions,
) -> Result<(), Failed> {
    let thread_of = |thread: u16| Some(regions.threads.as_slice()[usize::from(thread)].id);
    let (kind, thread, symbol) = match root.what {
        None if root.cycle > 0 => (Kind::Cycle, None, None),
        None => (Kind::Lost, None, None),
        Some(What::Statics) => (Kind::Static, None, regions.objects.symbol_at(root.at)),
        Some(What::Locals { thread, module }) => {
            let tp = regions.threads.as_slice()[usize::from(thread)].tp;
            let module_start =
                tp.wrapping_add_signed(regions.modules.as_slice()[usize::from(module)].offset);
            let symbol = regions.local(module, root.at - module_start);
            (Kind::ThreadLocal, thread_of(thread), symbol)
        }
        Some(What::Stack { thread }) => (Kind::Stack, thread_of(thread), None),
        Some(What::ThreadRecord { thread }) => (Kind::Thread, thread_of(thread), None),
        Some(What::CHeap) => (Kind::CHeap, None, None),
        Some(What::Mapped) => (Kind::Mapped, None, None),
    };
    let symbol = symbol.filter(|_| root.is_named);
    let frames = root.frames.map(|pc| pc as u64);
    let count = frames.iter().take_while(|&&pc| pc != 0).count();
    let is_lost = kind.is_lost();
    let origin = is_lost.then(|| heap::origin(root.at)).flatten();
    lines.write(&RecordRef::Holder(HolderRecord {
        id,
        kind,
        symbol: symbol.as_ref().map_or("", |s| regions.objects.name(s)),
        thread,
        frames: &frames[..count],
        stack_id: origin.map(|(stack_id, _)| stack_id),
        cycle: root.cycle,
        bytes: root.bytes,
        blocks: root.blocks,
        alone_bytes: if is_lost {
            root.bytes
        } else {
            root.alone_bytes
        },
        alone_blocks: if is_lost {
            root.blocks
        } else {
            root.alone_blocks
        },
    }))?;
    Ok(())
}

/// Blocks of one stack, birth cycle, phase and holder.
#[derive(Clone, Copy)]
struct Sum {
    /// Of all four, packed; 0 is free.
    key: u64,
    blocks: u64,
    /// One of them.
    block: Block,
}

const NO_SUM: Sum = Sum {
    key: 0,
    blocks: 0,
    block: 0,
};

/// An open-addressing table of sums.
struct Sums {
    slots: MappedVec<Sum>,
    used: usize,
}

impl Sums {
    fn new() -> Result<Self, NoMemory> {
        let mut slots = MappedVec::new();
        slots.reset(1 << 12, NO_SUM)?;
        Ok(Self { slots, used: 0 })
    }

    /// Adds to the sum of a key, and says whether it is new.
    fn add(&mut self, sum: Sum) -> Result<bool, NoMemory> {
        if (self.used + 1) * 2 > self.slots.as_slice().len() {
            let mut grown = Self {
                slots: MappedVec::new(),
                used: 0,
            };
            grown.slots.reset(self.slots.as_slice().len() * 4, NO_SUM)?;
            for sum in self.slots.as_slice().iter().filter(|s| s.key != 0) {
                grown.add(*sum)?;
            }
            *self = grown;
        }
        let mask = self.slots.as_slice().len() - 1;
        let mut i = (sum.key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & mask;
        loop {
            let slot = &mut self.slots.as_mut_slice()[i];
            if slot.key == sum.key {
                slot.blocks += sum.blocks;
                return Ok(false);
            }
            if slot.key == 0 {
                *slot = sum;
                self.used += 1;
                return Ok(true);
            }
            i = (i + 1) & mask;
        }
    }
}

/// Writes which holders have the blocks that were born in the cycles, and a way to one of each.
fn write_held(lines: &mut Lines, search: &Search<'_>) -> Result<(), Failed> {
    let mut sums = Sums::new()?;
    let mut result = Ok(());
    let mut block = 0;
    heap::for_each_block(|at| {
        let this = block;
        block += 1;
        let Some((stack_id, birth)) = heap::origin(at).filter(|(_, b)| b.cycle > 0) else {
            return;
        };
        let holder = search.first.as_slice()[this as usize];
        // 24 bits of a stack, 19 of a cycle, 3 of a phase, 16 of a holder; the highest says that it is
        // there.
        let key = 1 << 63
            | u64::from(stack_id) << 38
            | u64::from(birth.cycle) << 19
            | u64::from(birth.phase) << 16
            | u64::from(holder);
        let sum = Sum {
            key,
            blocks: 1,
            block: this,
        };
        if result.is_ok() {
            result = sums.add(sum).map(drop);
        }
    });
    result?;
    let unpacked = |key: u64| {
        let part = |shift: u32, bits: u32| (key >> shift) & ((1 << bits) - 1);
        (
            part(38, 24) as u32,
            part(19, 19) as u32,
            part(16, 3) as u8,
            part(0, 16) as Holder,
        )
    };
    let mut ways = Sums::new()?;
    let mut way = MappedVec::new();
    let mut shown: MappedVec<(u32, u64)> = MappedVec::new();
    for sum in sums.slots.as_slice().iter().filter(|s| s.key != 0) {
        let (stack_id, birth, phase, holder) = unpacked(sum.key);
        lines.write(&RecordRef::Held((
            stack_id, birth, phase, holder, sum.blocks,
        )))?;
        // Without the cycle: one way of each holder to each stack.
        let key = sum.key & !(((1 << 19) - 1) << 19);
        if holder == 0 || !ways.add(Sum { key, ..*sum })? {
            continue;
        }
        let in_all = search.way(sum.block, &mut way)?;
        shown.clear();
        for &block in way.as_slice() {
            let start = search.index.block(block).start;
            let stack_id = heap::origin(start).map_or(0, |o| o.0);
            shown.push((stack_id, size(start) as u64))?;
        }
        lines.write(&RecordRef::Way(Way {
            stack_id,
            phase,
            holder,
            blocks: shown.as_slice(),
            in_all,
        }))?;
    }
    Ok(())
}
