//! The prefetch trace: the order in which a thread visits its stacks.
//!
//! A program that does the same in each cycle visits the same stacks in the same order. Where they
//! are many, each lookup in the stack cache is a cache miss of the processor. So the order is
//! recorded in a ring: while the thread follows it, the next stack and its row are in the entry that
//! is next in memory, which the processor has in its cache or prefetches.
//!
//! The thread is found on the trace again by *anchors*: of one key in 64, the position of its last
//! entry is kept. This is temporal streaming as in T. F. Wenisch et al., "Temporal Streaming of
//! Shared Memory", ISCA 2005.
//!
//! Recording costs time too, so a trace that predicts too few stacks pauses, for twice as long each
//! time.

use super::counter_row::RowId;
use super::mapped_ring::MappedRing;

/// One key in this many is an anchor.
const ANCHOR_EVERY: u64 = 64;
const ANCHORS: usize = 1 << 12;

/// Stacks in a row that may differ from the next entry before the thread has left the trace.
const PATIENCE: u32 = 8;

/// In place of the remaining patience, plus one: the thread has just been found on the trace by an
/// anchor, and the first stack that differs ends that.
const JUST_FOUND: u32 = 0;

/// A trace pauses if it predicts less than one stack for this many that it does not.
const MAX_MISSES_PER_HIT: usize = 8;

/// Longest pause, in rounds.
const MAX_PAUSE: u32 = 64;

/// A visit of a stack, and the row that its blocks were counted in last.
#[derive(Clone, Copy)]
pub(super) struct Visit {
    /// Key of the stack; 0 is no visit.
    pub(super) key: u64,
    pub(super) row: RowId,
}

/// A ring of the last visits that the trace did not predict: those that it did are in it already.
/// Valid if all its bytes are zero: then it is off.
///
/// A round is as many visits that the trace does not predict as the ring has entries.
pub(super) struct PrefetchTrace {
    visits: MappedRing<Visit>,
    /// Index of the next entry to be written. Indices count on beyond the length of the ring.
    head: usize,
    /// Index of the entry that was visited last, while the thread follows the trace.
    position: usize,
    /// [`JUST_FOUND`], or one more than the stacks that may still differ.
    patience: u32,
    is_following: bool,
    /// Visits in this round that were not predicted, and those that were.
    misses: usize,
    hits: usize,
    /// Remaining rounds of this pause, in which nothing is recorded, and length of the last pause.
    pause: u32,
    last_pause: u32,
    /// By key, the index of an anchor's entry.
    anchors: [u32; ANCHORS],
}

/// The slot of a key's anchor; `None` if the key is no anchor.
#[inline]
fn anchor_slot(key: u64) -> Option<usize> {
    // Other bits than those that choose a bucket of the stack cache.
    let is_anchor = (key >> 40).is_multiple_of(ANCHOR_EVERY);
    is_anchor.then_some((key >> 46) as usize % ANCHORS)
}

impl PrefetchTrace {
    /// Starts an empty trace of `capacity` entries, a power of two, or turns the trace off if that
    /// is 0.
    pub(super) fn reset(&mut self, capacity: usize) {
        self.visits = MappedRing::new(capacity).unwrap_or(MappedRing::empty());
        self.is_following = false;
        (self.misses, self.hits, self.pause, self.last_pause) = (0, 0, 0, 0);
    }

    /// The next entry of the trace, if it is a visit of the stack with this key, as it was the last
    /// time.
    #[inline]
    pub(super) fn next_if(&mut self, key: u64) -> Option<&mut Visit> {
        if !self.is_following {
            return None;
        }
        let next = self.position.wrapping_add(1);
        let visit = self.visits.get(next).filter(|visit| visit.key == key)?;
        (self.position, self.patience) = (next, PATIENCE + 1);
        self.hits += 1;
        Some(visit)
    }

    /// Sets the row of the entry that was visited last.
    pub(super) fn set_row(&mut self, row: RowId) {
        if let Some(visit) = self.visits.get(self.position) {
            visit.row = row;
        }
    }

    /// Records a visit that was not predicted.
    #[inline]
    pub(super) fn record(&mut self, visit: Visit) {
        if self.visits.len() != 0 {
            self.record_miss(visit);
        }
    }

    #[inline(never)]
    fn record_miss(&mut self, visit: Visit) {
        if self.is_following {
            self.lose_patience();
        }
        if !self.is_following && !self.follow_anchor(visit.key) {
            self.append(visit);
        }
        self.misses += 1;
        if self.misses == self.visits.len() {
            self.end_round();
        }
    }

    fn lose_patience(&mut self) {
        match self.patience {
            JUST_FOUND => {
                // Another stack follows the anchor now: it is recorded again, and so is what
                // follows.
                self.is_following = false;
                let anchor = self.visits.get(self.position).copied();
                anchor.into_iter().for_each(|anchor| self.append(anchor));
            }
            1 => self.is_following = false,
            _ => self.patience -= 1,
        }
    }

    /// Follows the trace from the entry of an anchor on, if the key is one and its entry is still in
    /// the ring.
    fn follow_anchor(&mut self, key: u64) -> bool {
        let Some(slot) = anchor_slot(key) else {
            return false;
        };
        let index = self.anchors[slot] as usize;
        if self.visits.get(index).is_none_or(|visit| visit.key != key) {
            return false;
        }
        (self.position, self.patience, self.is_following) = (index, JUST_FOUND, true);
        true
    }

    fn append(&mut self, visit: Visit) {
        if self.pause > 0 {
            return;
        }
        let head = self.head;
        let Some(entry) = self.visits.get(head) else {
            return;
        };
        *entry = visit;
        if let Some(slot) = anchor_slot(visit.key) {
            self.anchors[slot] = head as u32;
        }
        self.head = head.wrapping_add(1);
    }

    #[cold]
    fn end_round(&mut self) {
        let is_useful = self.hits >= self.misses / MAX_MISSES_PER_HIT;
        (self.misses, self.hits) = (0, 0);
        if is_useful {
            self.last_pause = 0;
        } else if self.pause > 0 {
            self.pause -= 1;
        } else {
            self.last_pause = (2 * self.last_pause).clamp(1, MAX_PAUSE);
            self.pause = self.last_pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::HashMap;

    fn off() -> PrefetchTrace {
        // SAFETY: a trace is valid if all its bytes are zero.
        unsafe { core::mem::zeroed() }
    }

    /// A trace of 4096 entries, and 3000 stacks to visit.
    fn trace_and_visits(seed: u64) -> (PrefetchTrace, Vec<Visit>, Random) {
        let mut random = Random::new(seed);
        let mut trace = off();
        trace.reset(4096);
        let visits = visits(3000, &mut random);
        (trace, visits, random)
    }

    fn visits(count: usize, random: &mut Random) -> Vec<Visit> {
        (0..count as u32)
            .map(|row| Visit {
                key: random.any() | 1,
                row,
            })
            .collect()
    }

    fn shuffled(visits: &[Visit], random: &mut Random) -> Vec<Visit> {
        let mut other = visits.to_vec();
        (1..other.len()).for_each(|i| other.swap(i, random.index(i + 1)));
        other
    }

    /// Makes these visits in order. How many the trace predicted.
    fn count_hits(trace: &mut PrefetchTrace, visits: &[Visit]) -> usize {
        let mut count = 0;
        for visit in visits {
            if let Some(next) = trace.next_if(visit.key) {
                assert!(next.key == visit.key && next.row == visit.row);
                count += 1;
            } else {
                trace.record(*visit);
            }
        }
        count
    }

    #[test]
    fn the_same_order_is_predicted_and_a_new_one_soon() {
        let (mut trace, mut visits, mut random) = trace_and_visits(3);
        for _ in 0..3 {
            let hits: Vec<_> = (0..6).map(|_| count_hits(&mut trace, &visits)).collect();
            assert!(hits[0] < 100, "{hits:?}");
            assert!(hits[1..].iter().all(|&n| n > 2500), "{hits:?}");
            visits = shuffled(&visits, &mut random);
        }
    }

    #[test]
    fn a_new_row_of_a_stack_is_predicted() {
        let (mut trace, visits, _) = trace_and_visits(8);
        count_hits(&mut trace, &visits);
        let mut new_rows = HashMap::new();
        for visit in &visits {
            match trace.next_if(visit.key) {
                Some(_) => {
                    trace.set_row(visit.row + 10_000);
                    new_rows.insert(visit.key, visit.row + 10_000);
                }
                None => trace.record(*visit),
            }
        }
        assert!(new_rows.len() > 2500, "{}", new_rows.len());
        let mut predicted = 0;
        for visit in &visits {
            match trace.next_if(visit.key) {
                Some(next) => {
                    predicted += usize::from(new_rows.get(&visit.key) == Some(&next.row));
                }
                None => trace.record(*visit),
            }
        }
        assert!(predicted > 2500, "{predicted}");
    }

    #[test]
    fn stacks_that_occur_twice_in_an_order_do_not_end_it() {
        let (mut trace, visits, _) = trace_and_visits(7);
        let order = [&visits[..1200], &visits[800..1200], &visits[1200..]].concat();
        let hits: Vec<_> = (0..20).map(|_| count_hits(&mut trace, &order)).collect();
        // The second entries of the stacks that occur twice fill the ring sooner. When it wraps
        // around, a round is recorded again.
        assert!(hits.iter().sum::<usize>() > hits.len() * 2200, "{hits:?}");
    }

    #[test]
    fn a_few_other_stacks_in_between_do_not_end_the_order() {
        let (mut trace, all, mut random) = trace_and_visits(4);
        count_hits(&mut trace, &all);
        let mut with_others = Vec::new();
        for some in all.chunks(50) {
            with_others.extend_from_slice(some);
            with_others.extend(visits(PATIENCE as usize, &mut random));
        }
        assert!(count_hits(&mut trace, &with_others) > 2800);
    }

    #[test]
    fn without_an_order_little_is_recorded() {
        let mut random = Random::new(5);
        let mut trace = off();
        trace.reset(1024);
        let visits = visits(800, &mut random);
        let mut recorded = 0;
        for round in 0..1000 {
            for visit in &shuffled(&visits, &mut random) {
                // The first rounds are needed to find out.
                recorded += usize::from(trace.pause == 0 && round >= 200);
                if trace.next_if(visit.key).is_none() {
                    trace.record(*visit);
                }
            }
        }
        assert!(recorded < 800 * 800 / 20, "{recorded}");
    }

    #[test]
    fn every_prediction_is_of_the_right_row() {
        let mut random = Random::new(6);
        let mut predicted = 0;
        for capacity in [0, 1, 2, 64, 1024] {
            let mut trace = off();
            trace.reset(capacity);
            let visits = visits(700, &mut random);
            let truth: HashMap<u64, u32> = visits.iter().map(|v| (v.key, v.row)).collect();
            for _ in 0..2000 {
                // A stretch of the order, often one that was visited before.
                let start = random.index(visits.len()) / 100 * 100;
                let len = random.index(visits.len() - start) + 1;
                for visit in &visits[start..][..len] {
                    if let Some(next) = trace.next_if(visit.key) {
                        assert_eq!((next.key, next.row), (visit.key, truth[&visit.key]));
                        predicted += 1;
                    } else {
                        trace.record(*visit);
                    }
                }
                if random.below(200) == 0 {
                    trace.reset(capacity);
                }
            }
        }
        assert!(predicted > 100_000, "{predicted}");
    }
}
