//! Folds stacks into call sites, by blame frame and phase, and keeps the history of each.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::analysis::journal::Journal;
use crate::analysis::symbols::{Symbolizer, blame_frame};
use crate::analysis::verdict::{Generation, Series};
use crate::base::order::sort_by_key;
use crate::base::vec_map::VecMap;
use crate::model::block::{CensusEntry, StackId};
use crate::model::frame::Frame;
use crate::model::profile::{Born, Excerpt};
use crate::model::run::Phase;

/// The maximum number of stacks of a call site that are reported beside the one that retains the
/// most.
const OTHER_STACKS: usize = 4;

/// The call sites of a journal that may still grow.
#[derive(Default)]
pub(crate) struct Folding {
    symbols: Symbolizer,
    sites: Vec<FoldedSite>,
    site_of_blame: HashMap<(Option<Frame>, Phase), usize>,
    site_of_stack: HashMap<(StackId, u8), usize>,
    /// What is live, by stack, birth cycle and phase.
    live: HashMap<(StackId, u32, u8), Live>,
    /// The number of code mappings of the journal that were taken in.
    mappings: usize,
    /// The number of locations of Python's of the journal that were taken in.
    locations: usize,
    /// The number of boundaries of the journal that were taken in.
    boundaries: usize,
}

/// A call site: all stacks with the same blame frame in the same phase.
pub(super) struct FoldedSite {
    pub(super) blame: Option<Frame>,
    pub(super) phase: Phase,
    /// What is live at the last boundary, warm-up included.
    pub(super) retained: Live,
    /// What is live of each birth cycle, warm-up included.
    births: VecMap<u32, Live>,
    /// The live bytes of each birth cycle, warm-up included: the cycle of each change, and the bytes
    /// from then on.
    generation_bytes: VecMap<u32, Vec<(u32, u64)>>,
    /// Generations born after the baseline, by birth.
    generations: VecMap<u32, Generation>,
    /// The live bytes of each stack.
    stacks: HashMap<StackId, u64>,
    /// As in [`Series`], up to the last boundary at which something changed.
    bytes: Vec<u64>,
    blocks: Vec<u64>,
    live_generations: Vec<u32>,
    warmup_lifetime: u32,
    /// What was live at the baseline, if that counts towards the series: the site existed before the windows of a
    /// service that are kept.
    baseline: Live,
    /// Blocks of the baseline at the last boundary.
    left_of_baseline: u64,
}

/// Live bytes and blocks.
#[derive(Clone, Copy, Default)]
pub(super) struct Live {
    pub(super) bytes: u64,
    pub(super) blocks: u64,
}

/// A stack of a call site.
pub(super) struct Stack {
    pub(super) frames: Vec<Frame>,
    /// It was cut off at its outer end.
    pub(super) cut: bool,
    /// Live bytes.
    pub(super) bytes: u64,
}

impl Folding {
    /// Takes in what was added to the journal since the last call.
    pub(crate) fn catch_up(&mut self, journal: &Journal) {
        if self.boundaries > journal.boundaries.len() {
            // Some were taken in that turned out to be wrong.
            *self = Self::default();
        }
        self.symbols.set_exec(journal.start.exec);
        for code in &journal.code[self.mappings..] {
            self.symbols.add_mapping(code);
        }
        self.mappings = journal.code.len();
        for location in &journal.python[self.locations..] {
            self.symbols.add_location(location);
        }
        self.locations = journal.python.len();
        let warmup = journal.start.warmup;
        for boundary in &journal.boundaries[self.boundaries..] {
            let cycle = boundary.counts.cycle;
            let mut changed: Vec<(usize, u32)> = Vec::new();
            for entry in &boundary.census {
                let site = self.site_of_entry(entry, journal);
                let now = Live {
                    bytes: entry.bytes,
                    blocks: entry.blocks,
                };
                let key = (entry.stack_id, entry.birth, entry.phase);
                let before = self.live.insert(key, now);
                self.sites[site].change(entry, before.unwrap_or_default());
                changed.push((site, entry.birth));
            }
            changed.sort_unstable();
            changed.dedup();
            for &(site, birth) in &changed {
                self.sites[site].record_generation(birth, cycle);
            }
            changed.dedup_by_key(|&mut (site, _)| site);
            for (site, _) in changed {
                let site = &mut self.sites[site];
                match cycle.saturating_sub(warmup) {
                    0 if journal.start.live => site.record_baseline(),
                    0 => {}
                    k => site.record_boundary(warmup, k),
                }
            }
        }
        self.boundaries = journal.boundaries.len();
    }

    fn site_of_entry(&mut self, entry: &CensusEntry, journal: &Journal) -> usize {
        let (symbols, sites) = (&mut self.symbols, &mut self.sites);
        let site_of_blame = &mut self.site_of_blame;
        *self
            .site_of_stack
            .entry((entry.stack_id, entry.phase))
            .or_insert_with(|| {
                let stack = journal.stacks.get(&entry.stack_id);
                let stack = stack.map(|s| symbols.stack(&s.stack)).unwrap_or_default();
                let (blame, phase) = Self::call_site(&stack, entry.phase);
                *site_of_blame
                    .entry((blame.clone(), phase))
                    .or_insert_with(|| {
                        sites.push(FoldedSite::new(blame, phase));
                        sites.len() - 1
                    })
            })
    }

    /// The blame frame and the phase of the call site that a stack belongs to in a phase.
    pub(super) fn call_site(stack: &[Frame], phase: u8) -> (Option<Frame>, Phase) {
        let blame = blame_frame(stack).map(|i| stack[i].clone());
        // What the standard library keeps of a thread has one cause, in whichever phase the thread
        // allocates it.
        let phase = match &blame {
            Some(frame) if frame.starts_thread() => Phase::Outside,
            _ => Phase::from_number(phase),
        };
        (blame, phase)
    }

    /// The call sites, in the order of their first appearance.
    pub(super) fn sites(&self) -> &[FoldedSite] {
        &self.sites
    }

    /// The index of the call site that a stack belongs to in a phase.
    pub(super) fn site_of(&self, stack: StackId, phase: u8) -> Option<usize> {
        self.site_of_stack.get(&(stack, phase)).copied()
    }

    /// The frames of a stack.
    pub(super) fn stack(&mut self, stack: StackId, journal: &Journal) -> Vec<Frame> {
        let stack = journal.stacks.get(&stack);
        stack
            .map(|s| self.symbols.stack(&s.stack))
            .unwrap_or_default()
    }

    /// The frames at return addresses.
    pub(super) fn frames(&mut self, addresses: &[u64]) -> Vec<Frame> {
        self.symbols.stack(addresses)
    }

    /// The file name of the executable or shared library that is called from at a return address.
    pub(super) fn object(&self, return_address: u64) -> Option<String> {
        self.symbols.object(return_address)
    }

    /// Why frames lack lines; see [`Symbolizer::unread`].
    pub(super) fn unread(&self, even_if_not_found: bool) -> Vec<String> {
        self.symbols.unread(even_if_not_found)
    }

    /// The file and line at which a static is declared.
    pub(super) fn static_location(&self, name: &str) -> Option<(String, u32)> {
        self.symbols.static_location(name)
    }

    /// The source lines around a line.
    pub(super) fn excerpt(&self, file: &str, line: u32) -> Option<Excerpt> {
        let (first_line, lines) = self.symbols.excerpt(file, line)?;
        Some(Excerpt { first_line, lines })
    }

    /// What is live, by call site and stack, and within it by birth cycle.
    pub(super) fn live(&self) -> HashMap<(usize, StackId), VecMap<u32, Born>> {
        let mut live: HashMap<(usize, StackId), VecMap<u32, Born>> = HashMap::new();
        for (&(stack, birth, phase), now) in self.live.iter().filter(|(_, now)| now.blocks > 0) {
            let Some(site) = self.site_of(stack, phase) else {
                continue;
            };
            // Several phases of a stack may belong to one call site.
            let births = live.entry((site, stack)).or_default();
            let born = births.get_or_default(birth);
            born.cycle = birth;
            born.bytes += now.bytes;
            born.blocks += now.blocks;
        }
        live
    }

    /// The series of each call site, up to the last boundary that was taken in.
    pub(crate) fn series(&self, journal: &Journal) -> Vec<Series> {
        let last = journal.boundaries[..self.boundaries].last();
        let cycle = last.map_or(0, |b| b.counts.cycle);
        let n = cycle.saturating_sub(journal.start.warmup) as usize;
        let warmup = journal.start.warmup;
        self.sites
            .iter()
            .map(|site| site.series(n, warmup))
            .collect()
    }

    /// The stacks of a call site that retain the most, in descending order, and the number of all its
    /// stacks.
    pub(super) fn stacks(&mut self, site: usize, journal: &Journal) -> (Vec<Stack>, u32) {
        let stacks = &self.sites[site].stacks;
        let mut largest: Vec<(u64, StackId)> =
            stacks.iter().map(|(&id, &bytes)| (bytes, id)).collect();
        sort_by_key(&mut largest, |&(bytes, id)| (Reverse(bytes), id));
        let count = largest.len() as u32;
        let shown = largest.into_iter().take(1 + OTHER_STACKS);
        let stacks = shown.map(|(bytes, id)| Stack {
            frames: self.stack(id, journal),
            cut: journal.stacks.get(&id).is_some_and(|s| s.cut),
            bytes,
        });
        (stacks.collect(), count)
    }
}

impl FoldedSite {
    fn new(blame: Option<Frame>, phase: Phase) -> Self {
        Self {
            blame,
            phase,
            retained: Live::default(),
            births: VecMap::new(),
            generation_bytes: VecMap::new(),
            generations: VecMap::new(),
            stacks: HashMap::new(),
            bytes: Vec::new(),
            blocks: Vec::new(),
            live_generations: Vec::new(),
            warmup_lifetime: 0,
            baseline: Live::default(),
            left_of_baseline: 0,
        }
    }

    /// The number of birth cycles, warm-up included, with a live block.
    pub(super) fn generations_alive(&self) -> u32 {
        self.births.iter().filter(|(_, l)| l.blocks > 0).count() as u32
    }

    /// The live bytes of each birth cycle, warm-up included: the cycle of each change, and the bytes
    /// from then on.
    pub(super) fn generation_bytes(&self) -> impl Iterator<Item = (u32, &[(u32, u64)])> {
        let all = self.generation_bytes.iter();
        all.map(|(birth, changes)| (*birth, &changes[..]))
    }

    /// Replaces what was live of a census entry by what is live now.
    fn change(&mut self, entry: &CensusEntry, before: Live) {
        let birth = self.births.get_or_default(entry.birth);
        let stack = self.stacks.entry(entry.stack_id).or_default();
        for (sum, old, new) in [
            (&mut birth.bytes, before.bytes, entry.bytes),
            (&mut birth.blocks, before.blocks, entry.blocks),
            (&mut self.retained.bytes, before.bytes, entry.bytes),
            (&mut self.retained.blocks, before.blocks, entry.blocks),
            (stack, before.bytes, entry.bytes),
        ] {
            *sum = *sum + new - old;
        }
    }

    /// Records the live bytes of a birth cycle at the boundary of `cycle`, if they have changed.
    fn record_generation(&mut self, birth: u32, cycle: u32) {
        let bytes = self.births.get(&birth).map_or(0, |live| live.bytes);
        let changes = self.generation_bytes.get_or_default(birth);
        if changes.last().map_or(0, |&(_, before)| before) != bytes {
            changes.push((cycle, bytes));
        }
    }

    /// Makes what is live a part of the series.
    fn record_baseline(&mut self) {
        self.baseline = self.retained;
        self.left_of_baseline = self.retained.blocks;
    }

    /// Records the state at boundary `k`, counted from 1 after the baseline. The boundaries since
    /// the last record had no change.
    fn record_boundary(&mut self, warmup: u32, k: u32) {
        self.repeat_last(k as usize - 1);
        let (mut bytes, mut blocks, mut live_generations) = (0, 0, 0);
        let counts_baseline = self.baseline.blocks > 0;
        for &(cycle, live) in self.births.iter() {
            if cycle <= warmup {
                // The baseline of a service has many generations, and some of them may have been freed.
                let is_freed =
                    live.blocks == 0 || counts_baseline && live.blocks < self.left_of_baseline;
                if is_freed {
                    self.warmup_lifetime = self.warmup_lifetime.max(warmup + k - cycle);
                }
                if counts_baseline {
                    self.left_of_baseline = live.blocks;
                    bytes += live.bytes;
                    blocks += live.blocks;
                }
                continue;
            }
            let born = cycle - warmup;
            if live.blocks > 0 {
                bytes += live.bytes;
                blocks += live.blocks;
                live_generations += 1;
                let new = Generation {
                    born,
                    freed: None,
                    bytes: 0,
                    blocks: 0,
                };
                let generation = self.generations.get_or_insert(born, new);
                // Another thread may have allocated in this birth cycle after all its blocks were
                // freed.
                generation.freed = None;
                (generation.bytes, generation.blocks) = (live.bytes, live.blocks);
            } else if let Some(generation) = self.generations.get_mut(&born) {
                generation.freed = Some(k);
            }
        }
        self.births.retain(|(_, live)| live.blocks > 0);
        self.bytes.push(bytes);
        self.blocks.push(blocks);
        self.live_generations.push(live_generations);
    }

    /// Repeats the last state up to `n` boundaries.
    fn repeat_last(&mut self, n: usize) {
        repeat_last(&mut self.bytes, n, self.baseline.bytes);
        repeat_last(&mut self.blocks, n, self.baseline.blocks);
        repeat_last(&mut self.live_generations, n, 0);
    }

    /// The live warm-up generations, as in [`Series`].
    fn warmup_generations(&self, warmup: u32) -> Vec<(i64, u64)> {
        let of_warmup = self
            .births
            .iter()
            .take_while(|&&(cycle, _)| cycle <= warmup);
        let live = of_warmup.filter(|(_, live)| live.blocks > 0);
        live.map(|(cycle, live)| (i64::from(*cycle) - i64::from(warmup), live.bytes))
            .collect()
    }

    fn series(&self, n: usize, warmup: u32) -> Series {
        fn repeated<T: Copy>(series: &[T], n: usize, first: T) -> Vec<T> {
            let mut series = series.to_vec();
            repeat_last(&mut series, n, first);
            series
        }
        Series {
            bytes: repeated(&self.bytes, n, self.baseline.bytes),
            blocks: repeated(&self.blocks, n, self.baseline.blocks),
            live_generations: repeated(&self.live_generations, n, 0),
            generations: self.generations.iter().map(|&(_, g)| g).collect(),
            warmup: self.warmup_generations(warmup),
            warmup_lifetime: self.warmup_lifetime,
            from_load: self.phase == Phase::Load,
        }
    }
}

/// Repeats the last value up to a length of `n`. An empty series is filled with `first`.
fn repeat_last<T: Copy>(series: &mut Vec<T>, n: usize, first: T) {
    let last = series.last().copied().unwrap_or(first);
    series.resize(n.max(series.len()), last);
}
