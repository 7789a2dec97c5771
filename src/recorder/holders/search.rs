//! The search: from each root along all pointers, which blocks are reached, from where, and by the
//! shortest way; then, of what is not reached, who is the cause of it.
//!
//! Roots are searched in the order of [`What`](super::regions::What): what a static and a stack hold
//! belongs to the static. Breadth first, so that the way to a block is the shortest from roots of its
//! kind. A block that two roots reach is *shared*; the rest of what a root reaches would be freed if it
//! were cleared. Words on stacks and in C code's memory, many of which are old, do not make shared what a
//! static or a thread-local has.
//!
//! What is not reached is *lost*. Its causes are the blocks that nothing points at, and the cycles that
//! only point at themselves: the sources of the graph of what is lost. They are found by searching it
//! twice (as in the algorithm of Kosaraju and Sharir for strongly connected components: a start of the
//! first search that no later start reaches is in a source).

use super::index::{Block, Found, Index};
use super::regions::{Region, Regions, What};
use crate::model::layout::RECORDER_MANGLED;
use crate::recorder::heap::{self, MappedVec, NoMemory};

/// Number of a root, or of a group of lost blocks; 0 is none.
pub(super) type Holder = u16;

const NONE: Holder = 0;
/// Holders that can be told apart; the last stands for the rest.
const MOST: usize = u16::MAX as usize - 1;

/// Bytes of live blocks from which on words that are not aligned are not looked at.
const MOST_PACKED: u64 = 256 << 20;

/// Blocks of a way that are kept.
pub(super) const LONGEST: usize = 24;

/// Code addresses of a stack that are kept with a root.
pub(super) const FRAMES: usize = 16;

/// Who holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Root {
    pub(super) what: Option<What>,
    /// The static's or thread-local's first byte, or the word on the stack; the address of the cause of
    /// what is lost.
    pub(super) at: usize,
    /// Of a static or thread-local: whether a symbol is known.
    pub(super) is_named: bool,
    /// Of a stack: the code of the frame that the word is in, and of its callers.
    pub(super) frames: [usize; FRAMES],
    /// Of what is lost: blocks of the cycle, or 0 where nothing points at the block.
    pub(super) cycle: u32,
    /// All that it reaches first, and of this what nobody else reaches.
    pub(super) bytes: u64,
    pub(super) blocks: u64,
    pub(super) alone_bytes: u64,
    pub(super) alone_blocks: u64,
    /// The key by which it is found again.
    key: u64,
}

pub(super) struct Search<'a> {
    pub(super) index: &'a Index,
    regions: &'a Regions,
    /// The size of the block at an address.
    size: fn(usize) -> usize,
    /// How far into it a word must point to be taken for a pointer to it.
    reach_into: fn(usize) -> usize,
    pub(super) roots: MappedVec<Root>,
    /// `key` and number of each root.
    by_key: MappedVec<(u64, Holder)>,
    pub(super) first: MappedVec<Holder>,
    /// Who pointed at a block first; itself, if that was the root.
    before: MappedVec<Block>,
    /// Blocks that more than one root reaches; of lost ones, those that the first search has seen.
    shared: MappedVec<u64>,
    queue: MappedVec<Block>,
    /// What [`Search::cycle`] has seen.
    seen: MappedVec<Block>,
    /// Words between the aligned ones are looked at.
    between: bool,
    /// Holders before this one are no rivals: what a static has is not shared for an old word on a
    /// stack.
    rivals_from: Holder,
    pub(super) words: u64,
}

fn is_set(bits: &MappedVec<u64>, block: Block) -> bool {
    bits.as_slice()[block as usize / 64] & 1 << (block % 64) != 0
}

fn set(bits: &mut MappedVec<u64>, block: Block) {
    bits.as_mut_slice()[block as usize / 64] |= 1 << (block % 64);
}

/// Whether a symbol is jemalloc's or the tool's own: their books have the addresses of what they know,
/// and hold nothing.
fn is_of_allocator(name: &str) -> bool {
    name.starts_with("_rjem_") || name.starts_with("je_") || name.contains(RECORDER_MANGLED)
}

/// Where a key is looked for first, among so many slots.
fn key_slot(key: u64, slots: usize) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize & (slots - 1)
}

/// Calls `visit` with each aligned word of a range and its address; with `between`, with all those
/// between them.
fn each_word(start: usize, end: usize, between: bool, mut visit: impl FnMut(usize, usize)) {
    let mut at = start.next_multiple_of(8);
    while at + 8 <= end {
        if between {
            for at in (at + 1..at + 8).take_while(|at| at + 8 <= end) {
                // SAFETY: as below.
                let word =
                    unsafe { core::ptr::with_exposed_provenance::<usize>(at).read_unaligned() };
                visit(at, word);
            }
            at += 8;
            continue;
        }
        // SAFETY: inside a live block or a mapping that may be read; nobody unmaps it, because the copy
        // has one thread (fixtures/holders: every case reads all of them).
        let word = unsafe { core::ptr::with_exposed_provenance::<usize>(at).read_volatile() };
        visit(at, word);
        at += 8;
    }
}

impl<'a> Search<'a> {
    pub(super) fn new(
        index: &'a Index,
        regions: &'a Regions,
        size: fn(usize) -> usize,
        reach_into: fn(usize) -> usize,
    ) -> Result<Self, NoMemory> {
        let count = index.count() as usize;
        let mut search = Self {
            index,
            regions,
            size,
            reach_into,
            roots: MappedVec::new(),
            by_key: MappedVec::new(),
            first: MappedVec::new(),
            before: MappedVec::new(),
            shared: MappedVec::new(),
            queue: MappedVec::new(),
            seen: MappedVec::new(),
            between: false,
            rivals_from: NONE,
            words: 0,
        };
        search.by_key.reset(1 << 12, (0, NONE))?;
        search.first.reset(count, NONE)?;
        search.before.reset(count, 0)?;
        search.shared.reset(count / 64 + 1, 0)?;
        Ok(search)
    }

    /// Bytes of the search's own memory.
    pub(super) fn own_bytes(&self) -> usize {
        let count = self.first.as_slice().len();
        self.index.own_bytes()
            + count * (2 + 4 + 4)
            + count / 8
            + size_of_val(self.by_key.as_slice())
    }

    /// Searches all of it.
    pub(super) fn run(&mut self) -> Result<(), NoMemory> {
        let regions = self.regions.regions.as_slice();
        let here = self.regions.threads.as_slice().len() as u16;
        let is_here = |what| matches!(what, What::Stack { thread } if thread + 1 == here);
        let kind = |r: &Region| (core::mem::discriminant(&r.what), is_here(r.what));
        for same in regions.chunk_by(|a, b| kind(a) == kind(b)) {
            self.queue.clear();
            // Statics and thread-locals are what they are; of the rest many words are old ones.
            self.rivals_from = match same[0].what {
                What::Statics | What::Locals { .. } => NONE,
                _ => self.roots.as_slice().len() as Holder + 1,
            };
            for region in same {
                self.root_words(region)?;
            }
            self.follow()?;
        }
        self.share()?;
        // From here on nothing is shared: what is lost leaves alone what a root holds.
        self.rivals_from = Holder::MAX;
        self.packed()?;
        self.lost()?;
        self.sum_up();
        Ok(())
    }

    /// Of what no root reaches, finds what packed structures hold: their pointers lie between words. Only
    /// where that is not too much.
    fn packed(&mut self) -> Result<(), NoMemory> {
        let reached = |search: &Self, b: Block| search.first.as_slice()[b as usize] != NONE;
        let blocks = self.index.count();
        if (0..blocks).all(|b| reached(self, b)) || self.index.bytes() > MOST_PACKED {
            return Ok(());
        }
        self.between = true;
        self.queue.clear();
        let regions = self.regions.regions.as_slice();
        let is_exact =
            |r: &&Region| matches!(r.what, What::Statics | What::Locals { .. } | What::CHeap);
        for region in regions.iter().filter(is_exact) {
            self.root_words(region)?;
        }
        for block in 0..blocks {
            let holder = self.first.as_slice()[block as usize];
            if holder == NONE {
                continue;
            }
            self.pointers(block, |search, to| search.reach(holder, Some(block), to))?;
        }
        self.between = false;
        self.follow()
    }

    fn root_words(&mut self, region: &Region) -> Result<(), NoMemory> {
        let (index, reach) = (self.index, self.reach_into);
        let mut result = Ok(());
        let between = self.between;
        self.regions.each_present(region, |start, end| {
            each_word(start, end, between, |at, word| {
                if let (Ok(()), Some(found)) = (result, index.find(word, reach)) {
                    result = self.root_word(region, at, found);
                }
            });
            self.words += ((end - start) / 8) as u64;
        });
        result
    }

    fn root_word(&mut self, region: &Region, at: usize, to: Found) -> Result<(), NoMemory> {
        match self.root_of(region, at)? {
            NONE => Ok(()),
            root => self.reach(root, None, to.block),
        }
    }

    /// The root that a word of a region belongs to; [`NONE`] if it is the allocator's own.
    fn root_of(&mut self, region: &Region, at: usize) -> Result<Holder, NoMemory> {
        let regions = self.regions;
        let mut root = Root {
            what: Some(region.what),
            at: region.start,
            ..Root::default()
        };
        match region.what {
            What::Statics => {
                if let Some(symbol) = regions.objects.symbol_at(at) {
                    if is_of_allocator(regions.objects.name(&symbol)) {
                        return Ok(NONE);
                    }
                    (root.at, root.is_named) = (symbol.start, true);
                } else if regions.is_of_system_allocator(at) {
                    return Ok(NONE);
                }
            }
            What::Locals { module, .. } => {
                if let Some(symbol) = regions.local(module, at - region.start) {
                    if is_of_allocator(regions.objects.name(&symbol)) {
                        return Ok(NONE);
                    }
                    (root.at, root.is_named) = (region.start + symbol.start, true);
                }
            }
            What::Stack { thread } => {
                regions.frames(usize::from(thread), region, at, &mut root.frames);
                root.at = at;
            }
            _ => {}
        }
        // A frame is one root, however many words of it point somewhere.
        let place = match region.what {
            What::Stack { thread } => root.frames[0] ^ usize::from(thread) << 48,
            _ => root.at,
        };
        root.key = (place as u64).wrapping_mul(8) + 1 + region.what.number();
        self.holder(root)
    }

    /// The number of a root, which is new or known by its key.
    fn holder(&mut self, root: Root) -> Result<Holder, NoMemory> {
        let mask = self.by_key.as_slice().len() - 1;
        let mut i = key_slot(root.key, mask + 1);
        loop {
            match self.by_key.as_slice()[i] {
                (key, number) if key == root.key => return Ok(number),
                (0, _) => break,
                _ => i = (i + 1) & mask,
            }
        }
        let count = self.roots.as_slice().len();
        if count >= MOST {
            return Ok(MOST as Holder);
        }
        self.roots.push(root)?;
        let number = count as Holder + 1;
        self.by_key.as_mut_slice()[i] = (root.key, number);
        if count * 2 > mask {
            self.grow_keys()?;
        }
        Ok(number)
    }

    fn grow_keys(&mut self) -> Result<(), NoMemory> {
        let len = self.by_key.as_slice().len() * 4;
        self.by_key.reset(len, (0, NONE))?;
        for (number, root) in (1..).zip(self.roots.as_slice()) {
            let mut i = key_slot(root.key, len);
            while self.by_key.as_slice()[i].0 != 0 {
                i = (i + 1) & (len - 1);
            }
            self.by_key.as_mut_slice()[i] = (root.key, number);
        }
        Ok(())
    }

    /// A pointer to a block, from a root or from another block.
    fn reach(&mut self, holder: Holder, from: Option<Block>, to: Block) -> Result<(), NoMemory> {
        let first = &mut self.first.as_mut_slice()[to as usize];
        match *first {
            NONE => {
                *first = holder;
                self.before.as_mut_slice()[to as usize] = from.unwrap_or(to);
                self.queue.push(to)
            }
            other if other != holder && other >= self.rivals_from => {
                set(&mut self.shared, to);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Goes on from all blocks in the queue, along all pointers.
    fn follow(&mut self) -> Result<(), NoMemory> {
        let mut next = 0;
        while let Some(&block) = self.queue.as_slice().get(next) {
            next += 1;
            let holder = self.first.as_slice()[block as usize];
            self.pointers(block, |search, to| search.reach(holder, Some(block), to))?;
        }
        Ok(())
    }

    /// Goes on from all blocks in the queue, and marks in `shared` those that are reached or lost.
    fn mark(&mut self, lost: bool) -> Result<(), NoMemory> {
        let mut next = 0;
        while let Some(&block) = self.queue.as_slice().get(next) {
            next += 1;
            self.pointers(block, |search, to| {
                let is_lost = search.first.as_slice()[to as usize] == NONE;
                if is_lost != lost || is_set(&search.shared, to) {
                    return Ok(());
                }
                set(&mut search.shared, to);
                search.queue.push(to)
            })?;
        }
        Ok(())
    }

    /// Calls `visit` with each block that a block points at.
    fn pointers(
        &mut self,
        block: Block,
        mut visit: impl FnMut(&mut Self, Block) -> Result<(), NoMemory>,
    ) -> Result<(), NoMemory> {
        let (index, reach) = (self.index, self.reach_into);
        let start = index.block(block).start;
        let bytes = (self.size)(start);
        let mut result = Ok(());
        each_word(start, start + bytes, self.between, |_, word| {
            if let (Ok(()), Some(found)) = (result, index.find(word, reach)) {
                result = visit(self, found.block);
            }
        });
        self.words += (bytes / 8) as u64;
        result
    }

    /// What a shared block points at is shared.
    fn share(&mut self) -> Result<(), NoMemory> {
        self.queue.clear();
        for block in 0..self.index.count() {
            if is_set(&self.shared, block) {
                self.queue.push(block)?;
            }
        }
        self.mark(false)
    }

    /// Finds the causes of what no root reaches.
    fn lost(&mut self) -> Result<(), NoMemory> {
        let mut starts: MappedVec<Block> = MappedVec::new();
        for block in 0..self.index.count() {
            if self.first.as_slice()[block as usize] != NONE || is_set(&self.shared, block) {
                continue;
            }
            starts.push(block)?;
            self.queue.clear();
            self.queue.push(block)?;
            set(&mut self.shared, block);
            self.mark(true)?;
        }
        for i in (0..starts.as_slice().len()).rev() {
            let block = starts.as_slice()[i];
            if self.first.as_slice()[block as usize] == NONE {
                self.cause(block)?;
            }
        }
        Ok(())
    }

    /// A block that is a cause: nothing points at it but what it points at itself.
    fn cause(&mut self, cause: Block) -> Result<(), NoMemory> {
        let start = self.index.block(cause).start;
        let cycle = self.cycle(cause)?;
        let (stack_id, birth) =
            heap::origin(start).map_or((0, 0), |(s, b)| (s, u32::from(b.cycle > 0)));
        let holder = self.holder(Root {
            at: start,
            cycle,
            // Causes of one stack, and of one length of their cycles, are one holder.
            key: u64::from(stack_id) << 24
                | u64::from(cycle.min(1 << 20)) << 3
                | u64::from(birth) << 2
                | 2,
            ..Root::default()
        })?;
        self.queue.clear();
        self.reach(holder, None, cause)?;
        self.follow()
    }

    /// Blocks of the shortest cycle through a block of what is lost; 0 if there is none, because then
    /// nothing points at it.
    fn cycle(&mut self, cause: Block) -> Result<u32, NoMemory> {
        // `before` of what is lost and not taken is free to be used: the way from the cause.
        let mut seen = core::mem::take(&mut self.seen);
        seen.clear();
        let mut last = None;
        self.before.as_mut_slice()[cause as usize] = cause;
        seen.push(cause)?;
        // Taken for now, so that each is seen once.
        const SEEN: Holder = Holder::MAX;
        self.first.as_mut_slice()[cause as usize] = SEEN;
        let mut next = 0;
        while let (None, Some(&block)) = (last, seen.as_slice().get(next)) {
            next += 1;
            self.pointers(block, |search, to| {
                if to == cause {
                    last = last.or(Some(block));
                }
                if search.first.as_slice()[to as usize] != NONE {
                    return Ok(());
                }
                search.first.as_mut_slice()[to as usize] = SEEN;
                search.before.as_mut_slice()[to as usize] = block;
                seen.push(to)
            })?;
        }
        let mut cycle = 0;
        while let Some(block) = last {
            let before = self.before.as_slice()[block as usize];
            last = (block != cause).then_some(before);
            cycle += 1;
        }
        for &block in seen.as_slice() {
            self.first.as_mut_slice()[block as usize] = NONE;
        }
        self.seen = seen;
        Ok(cycle)
    }

    fn sum_up(&mut self) {
        for block in 0..self.index.count() {
            let holder = self.first.as_slice()[block as usize];
            let Some(i) = usize::from(holder).checked_sub(1) else {
                continue;
            };
            let bytes = (self.size)(self.index.block(block).start) as u64;
            let is_shared = is_set(&self.shared, block);
            let Some(root) = self.roots.as_mut_slice().get_mut(i) else {
                continue;
            };
            root.bytes += bytes;
            root.blocks += 1;
            if !is_shared {
                root.alone_bytes += bytes;
                root.alone_blocks += 1;
            }
        }
    }

    /// The way to a block from its root: the blocks between, the one next to the root first, itself last.
    /// Of a longer way its ends. Gives how many there are in all.
    pub(super) fn way(&self, block: Block, to: &mut MappedVec<Block>) -> Result<u32, NoMemory> {
        to.clear();
        let mut at = block;
        let mut count = 0;
        loop {
            count += 1;
            to.push(at)?;
            if to.as_slice().len() > LONGEST {
                // The ones in the middle go.
                let half = LONGEST / 2;
                let end = to.as_slice().len() - 1;
                to.as_mut_slice().copy_within(half + 1..=end, half);
                to.truncate(end);
            }
            let before = self.before.as_slice()[at as usize];
            if before == at {
                break;
            }
            at = before;
        }
        to.as_mut_slice().reverse();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeSet;

    const WORDS: usize = 8;

    type Memory = [usize; WORDS];

    /// A graph in memory: blocks of so many words, which point at each other, and roots of one word.
    #[allow(clippy::vec_box, reason = "each is to be a block of its own")]
    struct Graph {
        blocks: Vec<Box<Memory>>,
        edges: Vec<BTreeSet<usize>>,
        roots: Vec<Box<[usize]>>,
        rooted: Vec<usize>,
    }

    impl Graph {
        /// Words that lead less than `reach` bytes into a block are pointers to it.
        fn random(random: &mut Random, reach: usize) -> Self {
            let n = 1 + random.index(40);
            let mut blocks: Vec<_> = (0..n).map(|_| Box::new([0; WORDS])).collect();
            blocks.sort_unstable_by_key(|b| b.as_ptr().addr());
            let at: Vec<usize> = blocks
                .iter()
                .map(|b| b.as_ptr().expose_provenance())
                .collect();
            let mut edges = vec![BTreeSet::new(); n];
            for _ in 0..random.index(2 * n) {
                let (from, to) = (random.index(n), random.index(n));
                // Into it, or to its beginning, with a tag.
                let inside = [0, 1, 5, 16, 55, 56, 63][random.index(7)];
                blocks[from][random.index(WORDS)] = at[to] + inside;
            }
            for (from, block) in blocks.iter().enumerate() {
                let to_block =
                    |&word: &usize| at.iter().position(|&a| word.wrapping_sub(a) < reach);
                let to = block.iter().filter_map(to_block);
                edges[from].extend(to);
            }
            let rooted: Vec<usize> = (0..random.index(4)).map(|_| random.index(n)).collect();
            let roots = rooted.iter().map(|&to| vec![at[to]].into()).collect();
            Self {
                blocks,
                edges,
                roots,
                rooted,
            }
        }

        fn reach(&self, from: usize) -> BTreeSet<usize> {
            let (mut seen, mut left) = (BTreeSet::from([from]), vec![from]);
            while let Some(block) = left.pop() {
                left.extend(self.edges[block].iter().filter(|&&to| seen.insert(to)));
            }
            seen
        }

        /// Blocks of the shortest cycle through a block; 0 if there is none.
        fn cycle(&self, through: usize) -> u32 {
            let mut front = self.edges[through].clone();
            let mut seen = front.clone();
            let mut length = 1;
            while !front.is_empty() {
                if front.contains(&through) {
                    return length;
                }
                length += 1;
                let next = front.iter().flat_map(|&b| &self.edges[b]).copied();
                front = next.filter(|&b| seen.insert(b)).collect();
            }
            0
        }
    }

    #[test]
    fn what_is_found_is_what_a_naive_search_finds() {
        let mut random = Random::new(23);
        for round in 0..400 {
            // As over jemalloc, or over glibc, whose chunks begin in the blocks before them.
            let reach: fn(usize) -> usize = match round % 2 {
                0 => |_| WORDS * 8,
                _ => |_| WORDS * 8 - 8,
            };
            let graph = Graph::random(&mut random, reach(0));
            let n = graph.blocks.len();
            let at = |b: &[usize; WORDS]| b.as_ptr().addr();
            let each = |visit: &mut dyn FnMut(usize)| {
                graph.blocks.iter().for_each(|b| visit(at(b)));
            };
            let size: fn(usize) -> usize = |_| WORDS * 8;
            let index = Index::of(each, size).unwrap();
            let mut regions = Regions::default();
            for root in &graph.roots {
                let start = root.as_ptr().expose_provenance();
                let region = Region {
                    start,
                    end: start + 8,
                    what: What::Statics,
                };
                regions.regions.push(region).unwrap();
            }
            let mut search = Search::new(&index, &regions, size, reach).unwrap();
            search.run().unwrap();

            let by_root: Vec<_> = graph.rooted.iter().map(|&b| graph.reach(b)).collect();
            let holders = search.first.as_slice();
            for (block, &holder) in holders.iter().enumerate() {
                let reached = by_root.iter().filter(|r| r.contains(&block)).count();
                assert_ne!(holder, NONE, "{round}: every block is somebody's");
                let root = search.roots.as_slice()[usize::from(holder) - 1];
                assert_eq!(root.what.is_some(), reached > 0, "{round}: {block}");
                let mut way = MappedVec::new();
                search.way(block as Block, &mut way).unwrap();
                let way: Vec<usize> = way.as_slice().iter().map(|&b| b as usize).collect();
                assert_eq!(way.last(), Some(&block));
                assert!(way.windows(2).all(|w| graph.edges[w[0]].contains(&w[1])));
                if reached > 0 {
                    assert!(graph.rooted.contains(&way[0]), "{round}");
                    continue;
                }
                // The cause: who reaches it, it reaches as well.
                let cause = way[0];
                let reaches = graph.reach(cause);
                let causes_of_it = (0..n).filter(|&b| graph.reach(b).contains(&cause));
                assert!(
                    causes_of_it.clone().all(|b| reaches.contains(&b)),
                    "{round}"
                );
                assert_eq!(root.cycle, graph.cycle(cause), "{round}: {cause}");
            }
            for root in search.roots.as_slice().iter().filter(|r| r.what.is_some()) {
                let i = graph
                    .roots
                    .iter()
                    .position(|r| r.as_ptr().addr() == root.at);
                let own = &by_root[i.unwrap()];
                let alone = own
                    .iter()
                    .filter(|b| by_root.iter().filter(|r| r.contains(b)).count() == 1);
                assert_eq!(root.alone_blocks, alone.count() as u64, "{round}");
            }
        }
    }
}
