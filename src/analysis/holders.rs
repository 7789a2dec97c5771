//! Which holder keeps the blocks of each call site, and what each holder retains.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::fold::Folding;
use super::holder_names::{NamedHolder, container_type};
use crate::analysis::holder_search::{FoundPath, Held, SearchResults};
use crate::analysis::journal::Journal;
use crate::analysis::symbols::UNATTRIBUTED;
use crate::base::order::{sort_by, sort_by_key};
use crate::base::text::one_line;
use crate::base::vec_map::VecMap;
use crate::model::block::StackId;
use crate::model::frame::relevant;
use crate::model::holder::{Holder, PathBlock, Root};
use crate::model::holders::HolderKind;

/// The share of a call site's blocks above which a holder is called its holder.
const MAJORITY: f64 = 0.5;

/// The maximum number of holders that are named as roots in the report.
const MAX_ROOTS: usize = 12;

/// The holder of a call site.
#[derive(Clone, Debug, Default)]
pub(super) struct SiteHolder {
    /// The holder of most of its blocks; `None` if there is no such holder.
    pub(super) holder: Option<Holder>,
    /// Why there is none.
    pub(super) unknown: Option<String>,
    /// If most of its blocks are lost: the birth cycles after the warm-up with lost blocks.
    pub(super) lost_generations: u32,
    /// If most of its blocks are garbage of Python's: the cycles since the first of them was allocated.
    pub(super) garbage_cycles: Option<u32>,
}

/// The results of a holder search, with the names of the holders.
pub(super) struct Holders<'a> {
    results: &'a SearchResults,
    /// The retaining paths by stack, phase and holder.
    paths: HashMap<(StackId, u8, u16), &'a FoundPath>,
    journal: &'a Journal,
    /// The holders that were named so far, by number.
    named: HashMap<u16, NamedHolder>,
}

/// The blocks of a call site.
#[derive(Default)]
struct BlocksOfSite {
    /// By the holder that has reached them first.
    held: Vec<Held>,
    /// Those that a holder reaches after another one, and the number of the latter.
    reached: Vec<(Held, u16)>,
}

/// What makes holders one in a report: kind, name (or thread) and line. The threads of a pool, for
/// example, hold alike.
type SiteKey = (HolderKind, Option<String>, Option<u32>);

impl<'a> Holders<'a> {
    pub(super) fn new(results: &'a SearchResults, journal: &'a Journal) -> Self {
        let paths = results.paths.iter();
        Self {
            results,
            paths: paths
                .map(|p| ((p.stack_id, p.phase, p.holder), p))
                .collect(),
            journal,
            named: HashMap::new(),
        }
    }

    /// The holder of each call site that is wanted; nothing for the others.
    pub(super) fn of_sites(
        &mut self,
        folding: &mut Folding,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Vec<SiteHolder> {
        let mut sites: Vec<BlocksOfSite> = Vec::new();
        sites.resize_with(folding.sites().len(), BlocksOfSite::default);
        let site_of = |blocks: &Held| {
            let site = folding.site_of(blocks.stack_id, blocks.phase);
            site.filter(|&site| is_wanted(site))
        };
        for &held in &self.results.held {
            if let Some(site) = site_of(&held) {
                sites[site].held.push(held);
            }
        }
        for &reached in &self.results.reached {
            if let Some(site) = site_of(&reached.0) {
                sites[site].reached.push(reached);
            }
        }
        let sites = sites.into_iter();
        sites.map(|blocks| self.of_site(blocks, folding)).collect()
    }

    fn of_site(&mut self, blocks: BlocksOfSite, folding: &mut Folding) -> SiteHolder {
        let BlocksOfSite {
            mut held,
            mut reached,
        } = blocks;
        let warmup = self.journal.start.warmup;
        let is_after_warmup = |h: &Held| h.birth > warmup;
        if held.iter().any(is_after_warmup) {
            held.retain(is_after_warmup);
            reached.retain(|(h, _)| is_after_warmup(h));
        }
        let all = block_count(&held);
        if all == 0 {
            return SiteHolder::default();
        }
        let mut by_holder = self.by_holder(held, folding);
        let lost: Vec<Held> = by_holder
            .iter()
            .filter(|((kind, ..), _)| kind.is_lost())
            .flat_map(|(_, held)| held.iter().copied())
            .collect();
        let is_majority = |blocks: u64| blocks as f64 > MAJORITY * all as f64;
        let lost_generations = match is_majority(block_count(&lost)) {
            true => birth_cycles(&lost),
            false => 0,
        };
        let garbage_cycles = self.garbage_cycles(&by_holder, all);
        let holders = by_holder.len();
        for (key, reached) in self.by_later_holder(reached, folding) {
            by_holder.get_or_default(key).extend(reached);
        }
        let by_holder = by_holder.iter().map(|(_, held)| held);
        let largest = by_holder.max_by_key(|held| block_count(held));
        match largest.filter(|held| is_majority(block_count(held))) {
            Some(held) => SiteHolder {
                holder: self.holder(held, all, block_count(&lost), folding),
                unknown: None,
                lost_generations,
                garbage_cycles,
            },
            None => SiteHolder {
                holder: None,
                unknown: Some(format!(
                    "{holders} holders share its blocks, and none has most of them"
                )),
                lost_generations,
                garbage_cycles,
            },
        }
    }

    fn garbage_cycles(&self, by_holder: &VecMap<SiteKey, Vec<Held>>, all: u64) -> Option<u32> {
        let garbage = by_holder
            .iter()
            .filter(|((kind, ..), _)| *kind == HolderKind::Garbage);
        let garbage: Vec<Held> = garbage.flat_map(|(_, held)| held.iter().copied()).collect();
        let is_majority = block_count(&garbage) as f64 > MAJORITY * all as f64;
        let oldest = garbage
            .iter()
            .map(|held| held.birth)
            .min()
            .filter(|_| is_majority)?;
        let searched = self.journal.searched.as_ref()?;
        Some(searched.cycle.saturating_sub(oldest) + 1)
    }

    /// The blocks of a call site that a holder reaches and another one has reached first, by the former.
    /// If several holders are shown as one, only those of the one that reaches the most, because the
    /// others may reach the same blocks.
    fn by_later_holder(
        &mut self,
        reached: Vec<(Held, u16)>,
        folding: &mut Folding,
    ) -> VecMap<SiteKey, Vec<Held>> {
        let mut by_id: VecMap<u16, Vec<Held>> = VecMap::new();
        for (blocks, first) in reached {
            if self.key(blocks.holder, folding) != self.key(first, folding) {
                by_id.get_or_default(blocks.holder).push(blocks);
            }
        }
        let mut by_holder: VecMap<SiteKey, Vec<Held>> = VecMap::new();
        for (id, reached) in by_id {
            if let Some(key) = self.key(id, folding) {
                let most = by_holder.get_or_default(key);
                if block_count(&reached) > block_count(most) {
                    *most = reached;
                }
            }
        }
        by_holder
    }

    /// The blocks of a call site by holder. Blocks without a holder's record are left out.
    fn by_holder(&mut self, held: Vec<Held>, folding: &mut Folding) -> VecMap<SiteKey, Vec<Held>> {
        let mut by_holder: VecMap<SiteKey, Vec<Held>> = VecMap::new();
        for blocks in held {
            if let Some(key) = self.key(blocks.holder, folding) {
                by_holder.get_or_default(key).push(blocks);
            }
        }
        by_holder
    }

    fn key(&mut self, id: u16, folding: &mut Folding) -> Option<SiteKey> {
        let named = self.named(id, folding)?;
        Some((named.kind, named.name.or(named.thread), named.line))
    }

    /// The holder of these blocks, for the report. `all` and `lost` are numbers of blocks of the call
    /// site.
    fn holder(
        &mut self,
        held: &[Held],
        all: u64,
        lost: u64,
        folding: &mut Folding,
    ) -> Option<Holder> {
        // If several holders are shown as one, the one with the most blocks is described. Only blocks
        // that it has reached first have a path from it.
        let has_path = |h: &&Held| self.path_to(h).is_some();
        let largest = held.iter().max_by_key(|h| (has_path(h), h.blocks))?;
        let named = self.named(largest.holder, folding)?;
        let (path, path_blocks) = self.path(largest, folding);
        let record = self.results.holder(largest.holder)?;
        Some(Holder {
            kind: named.kind,
            name: named.name,
            file: named.file,
            line: named.line,
            thread: named.thread,
            blocks: block_count(held),
            of_blocks: all,
            share: block_count(held) as f64 / all as f64,
            generations: birth_cycles(held),
            lost_blocks: if named.kind.is_lost() { 0 } else { lost },
            searched_all: self.results.searched_all(),
            cycle_blocks: (record.cycle > 0).then_some(record.cycle),
            path,
            path_blocks,
        })
    }

    fn path_to(&self, held: &Held) -> Option<&'a FoundPath> {
        let key = (held.stack_id, held.phase, held.holder);
        self.paths.get(&key).copied()
    }

    /// The retaining path to these blocks, and the number of its blocks. The middle of a long path
    /// is left out.
    fn path(&self, held: &Held, folding: &mut Folding) -> (Vec<PathBlock>, u32) {
        let Some(path) = self.path_to(held) else {
            return (Vec::new(), 0);
        };
        let blocks = path.blocks.iter().map(|(stack_id, bytes, of_type, via)| {
            let stack = folding.stack(*stack_id, self.journal);
            // In a dependency, its own frame says more than the same line of the user again.
            let frame = relevant(&stack).first().cloned();
            let python = self.results.types.get(of_type).cloned();
            let what = python.or_else(|| container_type(&stack).map(str::to_owned));
            let (function, file, line) = match frame {
                Some(frame) => (frame.function, frame.file, frame.line),
                None => (UNATTRIBUTED.into(), None, None),
            };
            PathBlock {
                what,
                via: Some(one_line(via)).filter(|via| !via.is_empty()),
                function,
                file,
                line,
                bytes: *bytes,
            }
        });
        let blocks = without_parts(blocks.collect());
        let left_out = path.blocks.len() - blocks.len();
        (blocks, path.total_blocks.saturating_sub(left_out as u32))
    }

    /// What each holder retains, in descending order.
    pub(super) fn roots(&mut self, folding: &mut Folding) -> Vec<Root> {
        type RootKey = (HolderKind, Option<String>, Option<u32>, Option<String>);
        let mut roots: VecMap<RootKey, Root> = VecMap::new();
        let holders = self.results.holders.iter();
        let mut holders: Vec<_> = holders.filter(|h| h.reached_bytes > 0).collect();
        sort_by_key(&mut holders, |h| {
            Reverse((h.retained_bytes, h.reached_bytes))
        });
        for holder in holders.into_iter().take(MAX_ROOTS) {
            let Some(named) = self.named(holder.id, folding) else {
                continue;
            };
            let key = (
                named.kind,
                named.name.clone(),
                named.line,
                named.thread.clone(),
            );
            let new = Root {
                kind: named.kind,
                name: named.name,
                file: named.file,
                line: named.line,
                thread: named.thread,
                retained_bytes: 0,
                retained_blocks: 0,
                reached_bytes: 0,
                reached_blocks: 0,
            };
            let root = roots.get_or_insert(key, new);
            root.retained_bytes += holder.retained_bytes;
            root.retained_blocks += holder.retained_blocks;
            root.reached_bytes += holder.reached_bytes;
            root.reached_blocks += holder.reached_blocks;
        }
        let roots = roots.into_iter();
        let mut roots: Vec<Root> = roots.map(|(_, root)| root).collect();
        sort_by_key(&mut roots, |r| Reverse((r.retained_bytes, r.reached_bytes)));
        roots
    }

    /// A holder with its name; each is named once.
    fn named(&mut self, id: u16, folding: &mut Folding) -> Option<NamedHolder> {
        let record = self.results.holder(id)?;
        if let Some(named) = self.named.get(&id) {
            return Some(named.clone());
        }
        let mut named = NamedHolder::new(record, self.journal, folding);
        let needs_all = matches!(named.kind, HolderKind::Lost | HolderKind::Garbage);
        if needs_all && !self.results.searched_all() {
            named.kind = HolderKind::NotFound;
        }
        self.named.insert(id, named.clone());
        Some(named)
    }
}

/// A path without the blocks that say nothing where the next one is named: the parts of a Python object, such as the
/// items of a list, and the dict that has an object's attributes.
fn without_parts(mut blocks: Vec<PathBlock>) -> Vec<PathBlock> {
    let mut next: Option<String> = None;
    blocks.reverse();
    blocks.retain(|block| {
        let is_named = next
            .as_ref()
            .is_some_and(|via| match block.what.as_deref() {
                None => true,
                Some("dict") => via.starts_with('.'),
                Some(_) => false,
            });
        let is_kept = !is_named || block.via.is_some();
        if is_kept {
            next.clone_from(&block.via);
        }
        is_kept
    });
    blocks.reverse();
    blocks
}

fn block_count(held: &[Held]) -> u64 {
    held.iter().map(|h| h.blocks).sum()
}

/// The number of birth cycles of these blocks.
fn birth_cycles(held: &[Held]) -> u32 {
    let mut births: Vec<u32> = held.iter().map(|h| h.birth).collect();
    sort_by(&mut births, Ord::cmp);
    births.dedup();
    births.len() as u32
}
