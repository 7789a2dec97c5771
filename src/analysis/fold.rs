//! Stacks folded by blame frame and phase, and the series of each fold, boundary by boundary.

use std::collections::{BTreeMap, HashMap};

use crate::analysis::journal::Journal;
use crate::analysis::symbols::{self, Symbolizer};
use crate::analysis::verdict::{Generation, Series};
use crate::model::block::CensusEntry;
use crate::model::frame::Frame;
use crate::model::profile::{Born, Excerpt};
use crate::model::run::Phase;

/// Stacks of a group that are kept besides the one that retains the most.
const OTHER_STACKS: usize = 4;

/// The groups of a journal, as far as it was taken in. It may grow meanwhile.
#[derive(Default)]
pub(crate) struct Folding {
    symbols: Symbolizer,
    groups: Vec<Group>,
    by_blame: HashMap<(Option<Frame>, Phase), usize>,
    by_stack: HashMap<(u32, u8), usize>,
    rows: HashMap<(u32, u32, u8), Live>,
    /// Code mappings and boundaries taken in.
    code: usize,
    boundaries: usize,
}

/// All stacks with one blame frame in one phase.
pub(super) struct Group {
    pub(super) blame: Option<Frame>,
    pub(super) phase: Phase,
    pub(super) retained: Live,
    /// Of every birth cycle, warm-up included, what is alive now.
    births: BTreeMap<u32, Live>,
    /// By birth cycle, what was alive from which boundary on.
    lives: BTreeMap<u32, Vec<(u32, u64)>>,
    /// Generations after the baseline, by birth.
    generations: BTreeMap<u32, Generation>,
    /// Live bytes of each of its stacks now.
    stacks: BTreeMap<u32, u64>,
    bytes: Vec<u64>,
    blocks: Vec<u64>,
    living: Vec<u32>,
    earlier_life: u32,
}

/// Bytes and blocks that are alive.
#[derive(Clone, Copy, Default)]
pub(super) struct Live {
    pub(super) bytes: u64,
    pub(super) blocks: u64,
}

/// A backtrace of a group.
pub(super) struct Stack {
    pub(super) frames: Vec<Frame>,
    pub(super) cut: bool,
    pub(super) bytes: u64,
}

impl Folding {
    /// Takes in what the journal has more than at the last call.
    pub(crate) fn catch_up(&mut self, journal: &Journal) {
        for code in &journal.code[self.code..] {
            self.symbols.add_mapping(code);
        }
        self.code = journal.code.len();
        let warmup = journal.start.warmup;
        for boundary in &journal.boundaries[self.boundaries..] {
            let cycle = boundary.counts.cycle;
            let mut changed: Vec<(usize, u32)> = Vec::new();
            for row in &boundary.census {
                let group = self.group_of(row, journal);
                let live = Live {
                    bytes: row.bytes,
                    blocks: row.blocks,
                };
                let key = (row.stack_id, row.birth, row.phase);
                let before = self.rows.insert(key, live);
                self.groups[group].change(row, before.unwrap_or_default());
                changed.push((group, row.birth));
            }
            changed.sort_unstable();
            changed.dedup();
            for &(group, birth) in &changed {
                self.groups[group].end_birth(birth, cycle);
            }
            changed.dedup_by_key(|&mut (group, _)| group);
            if let Some(k) = cycle.checked_sub(warmup).filter(|&k| k > 0) {
                for (group, _) in changed {
                    self.groups[group].end_boundary(warmup, k);
                }
            }
        }
        self.boundaries = journal.boundaries.len();
    }

    fn group_of(&mut self, row: &CensusEntry, journal: &Journal) -> usize {
        let (symbols, groups, by_blame) = (&mut self.symbols, &mut self.groups, &mut self.by_blame);
        *self
            .by_stack
            .entry((row.stack_id, row.phase))
            .or_insert_with(|| {
                let site = journal.stacks.get(&row.stack_id);
                let stack = site.map(|s| symbols.stack(&s.stack)).unwrap_or_default();
                let blame = symbols::blame_frame(&stack).map(|i| stack[i].clone());
                let phase = match &blame {
                    Some(frame) if frame.starts_thread() => Phase::Outside,
                    _ => Phase::from_number(row.phase),
                };
                *by_blame.entry((blame.clone(), phase)).or_insert_with(|| {
                    groups.push(Group::new(blame, phase));
                    groups.len() - 1
                })
            })
    }

    /// The group of a call site and a phase.
    pub(super) fn group(&self, site: u32, phase: u8) -> Option<usize> {
        self.by_stack.get(&(site, phase)).copied()
    }

    /// The frames of a call site.
    pub(super) fn stack_of(&mut self, site: u32, journal: &Journal) -> Vec<Frame> {
        let site = journal.stacks.get(&site);
        site.map(|s| self.symbols.stack(&s.stack))
            .unwrap_or_default()
    }

    /// The frames at addresses in code, such as return addresses.
    pub(super) fn frames(&mut self, addresses: &[u64]) -> Vec<Frame> {
        self.symbols.stack(addresses)
    }

    /// Where a static of this name is declared: file and line.
    pub(super) fn static_location(&self, name: &str) -> Option<(String, u32)> {
        self.symbols.static_location(name)
    }

    /// The lines of a source file around this one.
    pub(super) fn excerpt(&self, file: &str, line: u32) -> Option<Excerpt> {
        let (first_line, lines) = self.symbols.excerpt(file, line)?;
        Some(Excerpt { first_line, lines })
    }

    /// What is alive of each call site in the journal and the group that it belongs to, by birth; each call site's
    /// together.
    pub(super) fn live(&self) -> BTreeMap<(usize, u32), Vec<Born>> {
        let mut live: BTreeMap<(usize, u32), BTreeMap<u32, Born>> = BTreeMap::new();
        for (&(site, birth, phase), now) in self.rows.iter().filter(|(_, now)| now.blocks > 0) {
            let Some(group) = self.group(site, phase) else {
                continue;
            };
            // Two phases of a call site may be of one group.
            let births = live.entry((group, site)).or_default();
            let born = births.entry(birth).or_default();
            born.cycle = birth;
            born.bytes += now.bytes;
            born.blocks += now.blocks;
        }
        let by_birth = live.into_iter();
        by_birth
            .map(|(key, births)| (key, births.into_values().collect()))
            .collect()
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The series of each group, up to the last boundary that was taken in.
    pub(crate) fn series(&self, journal: &Journal) -> Vec<Series> {
        let last = journal.boundaries[..self.boundaries].last();
        let cycle = last.map_or(0, |b| b.counts.cycle);
        let n = cycle.saturating_sub(journal.start.warmup) as usize;
        self.groups.iter().map(|g| g.series(n)).collect()
    }

    /// The stacks of a group that retain the most, the worst first, and how many there are.
    pub(super) fn stacks(&mut self, group: usize, journal: &Journal) -> (Vec<Stack>, u32) {
        let stacks = &self.groups[group].stacks;
        let mut worst: Vec<(u64, u32)> = stacks.iter().map(|(&site, &b)| (b, site)).collect();
        worst.sort_unstable_by_key(|&(bytes, site)| (std::cmp::Reverse(bytes), site));
        let count = worst.len() as u32;
        let shown = worst.into_iter().take(1 + OTHER_STACKS);
        let stacks = shown.map(|(bytes, site)| match journal.stacks.get(&site) {
            Some(site) => Stack {
                frames: self.symbols.stack(&site.stack),
                cut: site.cut,
                bytes,
            },
            None => Stack {
                frames: Vec::new(),
                cut: false,
                bytes,
            },
        });
        (stacks.collect(), count)
    }
}

impl Group {
    fn new(blame: Option<Frame>, phase: Phase) -> Self {
        Self {
            blame,
            phase,
            retained: Live::default(),
            births: BTreeMap::new(),
            lives: BTreeMap::new(),
            generations: BTreeMap::new(),
            stacks: BTreeMap::new(),
            bytes: Vec::new(),
            blocks: Vec::new(),
            living: Vec::new(),
            earlier_life: 0,
        }
    }

    /// Birth cycles, warm-up included, of which something is alive.
    pub(super) fn living_generations(&self) -> u32 {
        self.births.values().filter(|l| l.blocks > 0).count() as u32
    }

    fn change(&mut self, row: &CensusEntry, before: Live) {
        let birth = self.births.entry(row.birth).or_default();
        let stack = self.stacks.entry(row.stack_id).or_default();
        for (sum, old, new) in [
            (&mut birth.bytes, before.bytes, row.bytes),
            (&mut birth.blocks, before.blocks, row.blocks),
            (&mut self.retained.bytes, before.bytes, row.bytes),
            (&mut self.retained.blocks, before.blocks, row.blocks),
            (stack, before.bytes, row.bytes),
        ] {
            *sum = *sum + new - old;
        }
    }

    /// Generations, warm-up included, and what became of them: from which cycle's boundary on how many
    /// bytes were alive.
    pub(super) fn lives(&self) -> impl Iterator<Item = (u32, &[(u32, u64)])> {
        self.lives.iter().map(|(&birth, live)| (birth, &live[..]))
    }

    /// Takes the state of a generation after a cycle's boundary in.
    fn end_birth(&mut self, birth: u32, cycle: u32) {
        let bytes = self.births.get(&birth).map_or(0, |live| live.bytes);
        let live = self.lives.entry(birth).or_default();
        if live.last().map_or(0, |&(_, before)| before) != bytes {
            live.push((cycle, bytes));
        }
    }

    /// Takes the state after boundary `k` (from 1 after the baseline) in. Boundaries at which
    /// nothing changed are made up for.
    fn end_boundary(&mut self, warmup: u32, k: u32) {
        self.pad(k as usize - 1);
        let (mut bytes, mut blocks, mut living) = (0, 0, 0);
        for (&cycle, live) in self.births.range(warmup + 1..) {
            let born = cycle - warmup;
            if live.blocks > 0 {
                bytes += live.bytes;
                blocks += live.blocks;
                living += 1;
                let generation = self.generations.entry(born).or_insert(Generation {
                    born,
                    freed: None,
                    bytes: 0,
                    blocks: 0,
                });
                // Another stack of the group may bring a generation back that was gone.
                generation.freed = None;
                (generation.bytes, generation.blocks) = (live.bytes, live.blocks);
            } else if let Some(generation) = self.generations.get_mut(&born) {
                generation.freed = Some(k);
            }
        }
        let warm_up = self.births.range(..=warmup);
        for (&cycle, _) in warm_up.filter(|(_, live)| live.blocks == 0) {
            self.earlier_life = self.earlier_life.max(warmup + k - cycle);
        }
        self.births.retain(|_, live| live.blocks > 0);
        self.bytes.push(bytes);
        self.blocks.push(blocks);
        self.living.push(living);
    }

    /// Repeats the last state up to `n` boundaries. Before it appeared a group was empty.
    fn pad(&mut self, n: usize) {
        pad(&mut self.bytes, n);
        pad(&mut self.blocks, n);
        pad(&mut self.living, n);
    }

    fn series(&self, n: usize) -> Series {
        fn padded<T: Copy + Default>(series: &[T], n: usize) -> Vec<T> {
            let mut series = series.to_vec();
            pad(&mut series, n);
            series
        }
        Series {
            bytes: padded(&self.bytes, n),
            blocks: padded(&self.blocks, n),
            live_generations: padded(&self.living, n),
            generations: self.generations.values().copied().collect(),
            warmup_lifetime: self.earlier_life,
            from_load: self.phase == Phase::Load,
        }
    }
}

/// Repeats the last value up to a length of `n`.
fn pad<T: Copy + Default>(series: &mut Vec<T>, n: usize) {
    let last = series.last().copied().unwrap_or_default();
    series.resize(n.max(series.len()), last);
}
