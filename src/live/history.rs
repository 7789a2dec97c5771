//! What the censuses of a service have said, window by window, on several time scales, in bounded memory.
//!
//! Each scale keeps its last [`MOST_WINDOWS`] windows, of which each is a multiple of those of the scale before.
//! What is older is one generation: the base. So a leak that began an hour ago is seen on the finest scale, and one of
//! some kilobytes an hour on the coarsest, however long the service runs.
//!
//! A window has what changed since the one before, by stack and birth window, as differences: those of windows that
//! are merged, or that move to the base, are added up.

use std::collections::{HashMap, VecDeque};

use crate::model::block::{CensusEntry, StackId};
use crate::model::journal::Counts;
use crate::model::run::Phase;

/// The windows of each scale, in windows of the finest one: minutes, half hours and half days, if that is a minute.
const WINDOWS: [u32; 3] = [1, 30, 720];

/// The most windows that a scale keeps: more than twice the horizon.
const MOST_WINDOWS: usize = 160;

/// The most changes that a scale keeps, 24 bytes each. If there are more, it keeps fewer windows.
const MOST_CHANGES: usize = 100_000;

/// The first windows of a service, in which it warms up, are part of the base.
const WARMUP: u32 = 2;

/// Live bytes and blocks, or what they gained or lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) bytes: i64,
    pub(super) blocks: i64,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.blocks += other.blocks;
    }

    fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// What the blocks of a stack that were born in one window gained or lost in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) stack: StackId,
    pub(super) born: u32,
    pub(super) by: Amount,
}

/// A window that has ended.
#[derive(Clone, Debug)]
struct Window {
    number: u32,
    counts: Counts,
    changes: Vec<Change>,
}

/// The history on all scales.
#[derive(Debug)]
pub(super) struct History {
    pub(super) scales: Vec<Scale>,
}

impl History {
    pub(super) fn new() -> Self {
        Self::with(&WINDOWS)
    }

    fn with(windows: &[u32]) -> Self {
        let scales = windows.iter().map(|&each| Scale::new(each));
        Self {
            scales: scales.collect(),
        }
    }

    /// Adds a window of the finest scale. `counts.cycle` is its number, from 1.
    pub(super) fn add(&mut self, counts: Counts, changes: &[Change]) {
        for scale in &mut self.scales {
            scale.add(counts, changes);
        }
    }
}

/// The history on one scale.
#[derive(Debug)]
pub(super) struct Scale {
    /// Windows of the finest scale in one of this.
    each: u32,
    /// The last window that is part of the base.
    base_window: u32,
    /// What is live of the blocks that were born up to that.
    base: HashMap<StackId, Amount>,
    windows: VecDeque<Window>,
    changes: usize,
    /// What changed in the window that has not ended, by stack and birth window.
    pending: HashMap<(StackId, u32), Amount>,
    pending_counts: Option<Counts>,
}

impl Scale {
    fn new(each: u32) -> Self {
        Self {
            each,
            base_window: 0,
            base: HashMap::new(),
            windows: VecDeque::new(),
            changes: 0,
            pending: HashMap::new(),
            pending_counts: None,
        }
    }

    /// Windows that have ended and are not part of the base.
    pub(super) fn len(&self) -> usize {
        self.windows.len()
    }

    /// The window of this scale that one of the finest scale is in.
    fn window_of(&self, finest: u32) -> u32 {
        finest.saturating_sub(1) / self.each + 1
    }

    fn add(&mut self, counts: Counts, changes: &[Change]) {
        for change in changes {
            let key = (change.stack, self.window_of(change.born));
            self.pending.entry(key).or_default().add(change.by);
        }
        let before = self.pending_counts.take();
        self.pending_counts = Some(before.map_or(counts, |before| merged(before, counts)));
        if counts.cycle.is_multiple_of(self.each) {
            self.end_window();
        }
    }

    fn end_window(&mut self) {
        let Some(counts) = self.pending_counts.take() else {
            return;
        };
        let changed = self.pending.drain().filter(|(_, by)| !by.is_zero());
        let changes: Vec<Change> = changed
            .map(|((stack, born), by)| Change { stack, born, by })
            .collect();
        // What a burst needed once is not kept for ever.
        self.pending.shrink_to(2 * changes.len());
        self.changes += changes.len();
        self.windows.push_back(Window {
            number: self.window_of(counts.cycle),
            counts,
            changes,
        });
        while self.base_window < WARMUP && !self.windows.is_empty() {
            self.move_to_base();
        }
        while self.windows.len() > MOST_WINDOWS || self.changes > MOST_CHANGES {
            self.move_to_base();
        }
    }

    /// Makes the oldest window a part of the base.
    fn move_to_base(&mut self) {
        let Some(oldest) = self.windows.pop_front() else {
            return;
        };
        self.base_window = oldest.number;
        self.changes -= oldest.changes.len();
        for change in oldest.changes {
            // Blocks of an older birth may be freed, and all births are up to this window.
            self.base.entry(change.stack).or_default().add(change.by);
        }
        self.base.retain(|_, live| !live.is_zero());
        self.base.shrink_to(2 * self.base.len());
    }

    /// Calls `visit` with the counters and the changed entries of each boundary, as the journal of a run has them: the
    /// base is cycle 1, which is the warm-up, and the windows follow. A block that was born in the base has birth 1.
    pub(super) fn for_each_boundary<E>(
        &self,
        mut visit: impl FnMut(Counts, &[CensusEntry]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(first) = self.windows.front() else {
            return Ok(());
        };
        let entry = |stack_id: StackId, birth: u32, live: Amount| CensusEntry {
            stack_id,
            birth,
            phase: Phase::Cycle as u8,
            bytes: live.bytes.max(0) as u64,
            blocks: live.blocks.max(0) as u64,
        };
        let mut live: HashMap<(StackId, u32), Amount> = HashMap::new();
        let mut entries: Vec<CensusEntry> = Vec::new();
        for (&stack, &amount) in &self.base {
            live.insert((stack, 1), amount);
            entries.push(entry(stack, 1, amount));
        }
        visit(
            Counts {
                cycle: 1,
                ..first.counts
            },
            &entries,
        )?;
        for (cycle, window) in (2..).zip(&self.windows) {
            entries.clear();
            let mut changed: Vec<(StackId, u32)> = Vec::new();
            for change in &window.changes {
                let birth = change.born.saturating_sub(self.base_window) + 1;
                live.entry((change.stack, birth))
                    .or_default()
                    .add(change.by);
                changed.push((change.stack, birth));
            }
            changed.sort_unstable();
            changed.dedup();
            for (stack, birth) in changed {
                let now = live.get(&(stack, birth)).copied().unwrap_or_default();
                entries.push(entry(stack, birth, now));
                if now.is_zero() {
                    live.remove(&(stack, birth));
                }
            }
            let counts = Counts {
                cycle,
                ..window.counts
            };
            visit(counts, &entries)?;
        }
        Ok(())
    }
}

/// The counters of two windows that follow each other, as one.
fn merged(before: Counts, now: Counts) -> Counts {
    Counts {
        allocations: before.allocations + now.allocations,
        allocated_bytes: before.allocated_bytes + now.allocated_bytes,
        cycle_nanos: before.cycle_nanos + now.cycle_nanos,
        peak_bytes: before.peak_bytes.max(now.peak_bytes),
        ..now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    type Live = BTreeMap<(StackId, u32), Amount>;

    fn counts(window: u32) -> Counts {
        Counts {
            cycle: window,
            allocations: 1,
            cycle_nanos: 10,
            ..Counts::default()
        }
    }

    fn change(stack: StackId, born: u32, bytes: i64, blocks: i64) -> Change {
        let by = Amount { bytes, blocks };
        Change { stack, born, by }
    }

    /// What is live at each boundary, as a reader of the journal sums it up.
    fn boundaries(scale: &Scale) -> Vec<(Counts, Live)> {
        let mut all = Vec::new();
        let mut live = Live::new();
        let read: Result<(), Infallible> = scale.for_each_boundary(|counts, entries| {
            for e in entries {
                let key = (e.stack_id, e.birth);
                let (bytes, blocks) = (e.bytes as i64, e.blocks as i64);
                match blocks {
                    0 => live.remove(&key),
                    _ => live.insert(key, Amount { bytes, blocks }),
                };
            }
            all.push((counts, live.clone()));
            Ok(())
        });
        let Ok(()) = read;
        all
    }

    #[test]
    fn the_first_windows_and_those_that_are_too_old_are_one_generation() {
        let mut history = History::with(&[1]);
        for window in 1..=MOST_WINDOWS as u32 + 10 {
            history.add(counts(window), &[change(7, window, 100, 1)]);
        }
        let all = boundaries(&history.scales[0]);
        assert_eq!(all.len(), MOST_WINDOWS + 1);
        let base = Amount {
            bytes: 1000,
            blocks: 10,
        };
        assert_eq!(all[0].1, Live::from([((7, 1), base)]));
        let (last, live) = all.last().unwrap();
        assert_eq!(last.cycle, MOST_WINDOWS as u32 + 1);
        assert_eq!(live.len(), MOST_WINDOWS + 1);
        assert!(live.keys().all(|&(_, born)| born <= last.cycle));
    }

    #[test]
    fn what_is_born_and_freed_within_a_coarse_window_leaves_no_trace_there() {
        let mut history = History::with(&[1, 5]);
        for window in 1..=40 {
            let mut changes = vec![change(1, window, 64, 1)];
            if window > 1 && window % 5 != 1 {
                changes.push(change(1, window - 1, -64, -1));
            }
            history.add(counts(window), &changes);
        }
        // One block of each five windows is left.
        let coarse = boundaries(&history.scales[1]);
        assert_eq!(coarse.len(), 8 - WARMUP as usize + 1);
        let (last, live) = coarse.last().unwrap();
        assert_eq!((last.allocations, last.cycle_nanos), (5, 50));
        assert_eq!(live.values().map(|a| a.blocks).sum::<i64>(), 8);
        assert!(
            live.iter()
                .all(|(&(_, born), a)| born == 1 || a.blocks == 1)
        );
    }

    #[test]
    fn every_scale_sums_up_to_what_is_live_after_any_changes() {
        let mut random = Random::new(3);
        for round in 0..8 {
            let each = [1, 2 + round % 5];
            let mut history = History::with(&each);
            let mut truth = Live::new();
            for window in 1..=300_u32 {
                let before = truth.clone();
                for _ in 0..random.below(6) {
                    let key = (random.below(4) as StackId, window);
                    let live = truth.entry(key).or_default();
                    live.add(Amount {
                        bytes: 8,
                        blocks: 1,
                    });
                }
                let keys: Vec<_> = truth.keys().copied().collect();
                for key in keys {
                    if random.below(40) == 0 {
                        truth.remove(&key);
                    }
                }
                let changes: Vec<Change> = before
                    .keys()
                    .chain(truth.keys())
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .map(|key| {
                        let of = |live: &Live| live.get(key).copied().unwrap_or_default();
                        let (old, new) = (of(&before), of(&truth));
                        change(key.0, key.1, new.bytes - old.bytes, new.blocks - old.blocks)
                    })
                    .filter(|change| !change.by.is_zero())
                    .collect();
                history.add(counts(window), &changes);
                for scale in &history.scales {
                    if !window.is_multiple_of(scale.each) || scale.len() == 0 {
                        continue;
                    }
                    let mut by_stack: BTreeMap<StackId, Amount> = BTreeMap::new();
                    for (&(stack, _), &amount) in &truth {
                        by_stack.entry(stack).or_default().add(amount);
                    }
                    let mut read: BTreeMap<StackId, Amount> = BTreeMap::new();
                    let all = boundaries(scale);
                    for (&(stack, _), &amount) in &all.last().unwrap().1 {
                        read.entry(stack).or_default().add(amount);
                    }
                    assert_eq!(read, by_stack, "window {window}, scale {}", scale.each);
                }
            }
        }
    }

    #[test]
    fn many_changes_shorten_the_history_and_not_its_truth() {
        let mut history = History::with(&[1]);
        let stacks = MOST_CHANGES as u32 / 20;
        for window in 1..=60 {
            let changes: Vec<Change> = (1..=stacks).map(|s| change(s, window, 8, 1)).collect();
            history.add(counts(window), &changes);
        }
        let scale = &history.scales[0];
        assert!(scale.changes <= MOST_CHANGES && scale.len() == 20);
        let (_, live) = boundaries(scale).pop().unwrap();
        assert_eq!(
            live.values().map(|a| a.blocks).sum::<i64>(),
            60 * i64::from(stacks)
        );
    }
}
