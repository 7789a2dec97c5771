//! The search in the frozen copy: which holder reaches each block, and on which path.
//!
//! 1. Kinds of roots are searched one after the other ([`roots`]). A block that is reachable from a
//!    static and from a stack is held by the static, which is searched first.
//! 2. A block that two holders reach is *shared*, and so is everything that is reachable from it. A
//!    holder *retains* the other blocks that it reaches: they would be freed if it were cleared.
//! 3. A block that no root reaches is *lost*. Its holder is the cause of the loss ([`lost`]).

use super::holder_table::{HolderId, HolderTable, Source};
use super::index::{BlockId, Index, Sizes};
use super::marks::{BlockSet, Marks};
use super::path::retaining_path;
use super::python::Python;
use super::regions::Regions;
use super::{lost, roots, unreadable};
use crate::model::holders::Unsearched;
use crate::recorder::heap::{MappedVec, NoMemory};

/// The result of a search.
pub(super) struct Search<'a> {
    marks: Marks<'a>,
    pub(super) holders: HolderTable,
}

impl<'a> Search<'a> {
    /// Searches all regions and all blocks.
    pub(super) fn run(
        index: &'a Index,
        regions: &Regions,
        sizes: Sizes,
        python: Option<&'a Python<'a>>,
    ) -> Result<Self, NoMemory> {
        let mut marks = Marks::new(index, sizes, python.map(Python::graph))?;
        let mut holders = HolderTable::new();
        if let Some(python) = python {
            python.mark_roots(&mut marks, &mut holders)?;
            // The interpreter's statics reach all of it, too.
            marks.first_shareable = holders.count() + 1;
        }
        roots::mark_reached(&mut marks, &mut holders, regions)?;
        marks.spread_shared()?;
        // From here on, a second holder does not make a block shared: an unaligned word may equal
        // an address by chance, and a lost block keeps nothing alive.
        marks.sharing_from = HolderId::MAX;
        roots::mark_reached_unaligned(&mut marks, &mut holders, regions)?;
        if let Some(python) = python {
            python.mark_garbage(&mut marks, &mut holders)?;
        }
        lost::mark_lost(&mut marks, &mut holders)?;
        let mut search = Self { marks, holders };
        search.add_up();
        Ok(search)
    }

    /// Adds the bytes of each block to the totals of its holder.
    fn add_up(&mut self) {
        let marks = &self.marks;
        for block in marks.blocks() {
            let Some(holder) = self.holders.get_mut(marks.holder(block)) else {
                continue;
            };
            let bytes = (marks.sizes.usable)(marks.index.get(block).start) as u64;
            holder.reached_bytes += bytes;
            holder.reached_blocks += 1;
            if !marks.shared.contains(block) {
                holder.retained_bytes += bytes;
                holder.retained_blocks += 1;
            }
        }
    }

    /// What a holder is; `None` if there is no such holder.
    pub(super) fn source(&self, holder: HolderId) -> Option<Source> {
        let index = usize::from(holder).checked_sub(1)?;
        Some(self.holders.as_slice().get(index)?.source)
    }

    /// The holder of a block.
    pub(super) fn holder(&self, block: BlockId) -> HolderId {
        self.marks.holder(block)
    }

    pub(super) fn block_count(&self) -> usize {
        self.marks.index.count() as usize
    }

    /// All blocks that a static or thread-local reaches, which its totals then include.
    pub(super) fn reached_by(&mut self, holder: HolderId) -> Result<BlockSet, NoMemory> {
        let reached = self.marks.reached_by(holder)?;
        let marks = &self.marks;
        if let Some(holder) = self.holders.get_mut(holder) {
            (holder.reached_bytes, holder.reached_blocks) = (0, 0);
            for block in marks.blocks().filter(|&block| reached.contains(block)) {
                let start = marks.index.get(block).start;
                holder.reached_bytes += (marks.sizes.usable)(start) as u64;
                holder.reached_blocks += 1;
            }
        }
        Ok(reached)
    }

    /// The address of a block.
    pub(super) fn start(&self, block: BlockId) -> usize {
        self.marks.index.get(block).start
    }

    /// Finds the shortest path to a block from its holder: see [`retaining_path`].
    pub(super) fn path(
        &self,
        block: BlockId,
        path: &mut MappedVec<BlockId>,
    ) -> Result<u32, NoMemory> {
        retaining_path(self.marks.predecessors.as_slice(), block, path)
    }

    /// Bytes that were read, some more than once.
    pub(super) fn scanned_bytes(&self) -> u64 {
        self.marks.scanned_words * 8
    }

    /// What was not searched.
    pub(super) fn unsearched(&self, regions: &Regions) -> Unsearched {
        let mut unsearched = regions.unsearched;
        unsearched.unreadable += self.marks.unreadable_bytes + unreadable::bytes();
        unsearched.unaligned = self.marks.unsearched_unaligned;
        unsearched
    }

    /// Bytes of memory that the search has used.
    pub(super) fn own_bytes(&self) -> usize {
        self.marks.index.own_bytes() + self.marks.own_bytes() + self.holders.own_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::recorder::holders::holder_table::NO_HOLDER;
    use crate::recorder::holders::regions::{Access, Region, RegionKind};
    use std::collections::BTreeSet;

    const WORDS: usize = 8;

    type Memory = [usize; WORDS];

    /// A random graph in memory: blocks of [`WORDS`] words that point to each other, and roots of
    /// one word.
    #[allow(clippy::vec_box, reason = "each is to be an allocation of its own")]
    struct Graph {
        blocks: Vec<Box<Memory>>,
        edges: Vec<BTreeSet<usize>>,
        /// The edges that may own: those that do not lead to the third word of a block.
        owning: Vec<BTreeSet<usize>>,
        roots: Vec<Box<[usize]>>,
        /// The block that each root points to.
        rooted: Vec<usize>,
    }

    impl Graph {
        /// A word is a pointer to a block if it is less than `pointable` bytes past the block's
        /// start.
        fn random(random: &mut Random, pointable: usize) -> Self {
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
                // A pointer to the start, a tagged pointer, or an interior pointer.
                let offset = [0, 1, 5, 16, 55, 56, 63][random.index(7)];
                blocks[from][random.index(WORDS)] = at[to] + offset;
            }
            let mut owning = edges.clone();
            for (from, block) in blocks.iter().enumerate() {
                for &word in block.iter() {
                    let to = at.iter().position(|&a| word.wrapping_sub(a) < pointable);
                    edges[from].extend(to);
                    let may_own = |&to: &usize| (word - at[to]) / 8 != 2;
                    owning[from].extend(to.filter(may_own));
                }
            }
            let rooted: Vec<usize> = (0..random.index(4)).map(|_| random.index(n)).collect();
            let roots = rooted.iter().map(|&to| vec![at[to]].into()).collect();
            Self {
                blocks,
                edges,
                owning,
                roots,
                rooted,
            }
        }

        fn reachable(&self, from: usize) -> BTreeSet<usize> {
            let (mut seen, mut left) = (BTreeSet::from([from]), vec![from]);
            while let Some(block) = left.pop() {
                left.extend(self.edges[block].iter().filter(|&&to| seen.insert(to)));
            }
            seen
        }

        /// Blocks of the shortest cycle of these edges through a block; 0 if there is none.
        fn cycle(edges: &[BTreeSet<usize>], through: usize) -> u32 {
            let mut front = edges[through].clone();
            let mut seen = front.clone();
            let mut length = 1;
            while !front.is_empty() {
                if front.contains(&through) {
                    return length;
                }
                length += 1;
                let next = front.iter().flat_map(|&b| &edges[b]).copied();
                front = next.filter(|&b| seen.insert(b)).collect();
            }
            0
        }

        fn index(&self, sizes: Sizes) -> Index {
            let each = |visit: &mut dyn FnMut(usize)| {
                self.blocks.iter().for_each(|b| visit(b.as_ptr().addr()));
            };
            Index::new(each, sizes.usable).unwrap()
        }

        fn regions(&self) -> Regions {
            let mut regions = Regions::default();
            for root in &self.roots {
                let start = root.as_ptr().expose_provenance();
                let region = Region {
                    start,
                    end: start + 8,
                    kind: RegionKind::Statics,
                    access: Access::Private,
                };
                regions.regions.push(region).unwrap();
            }
            regions
        }
    }

    #[test]
    fn the_search_finds_what_a_naive_search_finds() {
        let mut random = Random::new(23);
        for round in 0..400 {
            // As with jemalloc; and as with glibc, where the last word of a block may be the header
            // of the next chunk.
            let pointable: fn(usize) -> usize = match round % 2 {
                0 => |_| WORDS * 8,
                _ => |_| WORDS * 8 - 8,
            };
            let graph = Graph::random(&mut random, pointable(0));
            let sizes = Sizes {
                usable: |_| WORDS * 8,
                pointable,
            };
            let index = graph.index(sizes);
            let mut search = Search::run(&index, &graph.regions(), sizes, None).unwrap();
            let by_root: Vec<_> = graph.rooted.iter().map(|&b| graph.reachable(b)).collect();
            for block in 0..graph.blocks.len() {
                check_block(&graph, &search, &by_root, block);
            }
            for id in 1..=search.holders.count() {
                let holder = search.holders.as_slice()[usize::from(id) - 1];
                if let Source::Lost { .. } = holder.source {
                    assert_eq!(holder.retained_blocks, holder.reached_blocks, "{round}");
                    continue;
                }
                let mut roots = graph.roots.iter();
                let i = roots.position(|r| r.as_ptr().addr() == holder.at).unwrap();
                let is_alone = |b: &&usize| by_root.iter().filter(|r| r.contains(b)).count() == 1;
                let alone = by_root[i].iter().filter(is_alone).count() as u64;
                assert_eq!(holder.retained_blocks, alone, "{round}");
                let reached = search.reached_by(id).unwrap();
                let all = 0..graph.blocks.len();
                let reached: BTreeSet<_> =
                    all.filter(|&b| reached.contains(b as BlockId)).collect();
                assert_eq!(reached, by_root[i], "{round}");
            }
        }
    }

    /// Checks a block's holder and its path; `by_root` has the blocks that each root reaches.
    fn check_block(graph: &Graph, search: &Search, by_root: &[BTreeSet<usize>], block: usize) {
        let is_reached = by_root.iter().any(|r| r.contains(&block));
        let id = search.holder(block as BlockId);
        assert_ne!(id, NO_HOLDER, "each block has a holder");
        let holder = search.holders.as_slice()[usize::from(id) - 1];
        let mut path = MappedVec::new();
        search.path(block as BlockId, &mut path).unwrap();
        let path: Vec<usize> = path.as_slice().iter().map(|&b| b as usize).collect();
        assert_eq!(path.last(), Some(&block));
        assert!(path.windows(2).all(|w| graph.edges[w[0]].contains(&w[1])));
        match holder.source {
            Source::Region(_) => {
                assert!(is_reached, "{block}");
                assert!(graph.rooted.contains(&path[0]));
            }
            Source::Lost { cycle, is_owned } => {
                assert!(!is_reached, "{block}");
                // The cause reaches every block that reaches it.
                let cause = path[0];
                let reached = graph.reachable(cause);
                let mut blocks = 0..graph.blocks.len();
                assert!(
                    blocks.all(|b| reached.contains(&b) || !graph.reachable(b).contains(&cause))
                );
                let owned = Graph::cycle(&graph.owning, cause);
                assert_eq!(is_owned, owned > 0, "{cause}");
                let expected = match is_owned {
                    true => owned,
                    false => Graph::cycle(&graph.edges, cause),
                };
                assert_eq!(cycle, expected, "{cause}");
            }
            other => panic!("{block}: {other:?}"),
        }
    }
}
