//! The order in which a thread comes to its stacks.
//!
//! A program that does the same in each cycle comes to the same stacks in the same order. Where they are
//! many, each look into a table of them is one into memory that the processor has not near. The order is
//! kept, so that the next one is at hand, behind the last. After T. F. Wenisch et al., "Temporal Streaming
//! of Shared Memory", ISCA 2005: there, too, the order is found again by a few of those that are met.

use super::mapped_ring::MappedRing;
use super::rows::RowId;

/// One key in so many is a sign: where it was met is kept, so that the thread is found on its trail again.
const SIGN_EVERY: u64 = 64;
const SIGNS: usize = 1 << 12;

/// So many in a row may be others than the next step before the thread has left the trail; none where it was
/// just found on it, by a sign.
const PATIENCE: u32 = 8;
const JUST_FOUND: u32 = 0;

/// The trail is of use if, for each stack that is not the next one, so much of one is.
const OF_USE: usize = 8;

/// Where it is of no use it is left as it is for one round, then for twice as many, up to so many.
const MOST_ROUNDS: u32 = 64;

/// A stack that a thread has come to, and the row that its blocks were counted in last.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// 0 if there is none.
    pub(super) key: u64,
    pub(super) row: RowId,
}

/// The last steps off the trail, in a ring: what is on it is there already. Valid if all its bytes are zero:
/// then it has room for none.
pub(super) struct Trail {
    steps: MappedRing<Step>,
    /// Where the next one is kept; these are numbers of steps, counted on beyond the room.
    head: usize,
    /// The step that was met last.
    at: usize,
    /// [`JUST_FOUND`], or one more than the steps that may be others from now on.
    patience: u32,
    is_on: bool,
    /// Steps off it in this round, which has as many as there is room for, and those on it.
    off: usize,
    on: usize,
    /// Rounds in which nothing is kept, still, and when they were begun last.
    rest: u32,
    rested: u32,
    /// By key, the number of a sign's step.
    signs: [u32; SIGNS],
}

/// Where the number of a key's step is, if it is a sign.
fn sign(key: u64) -> Option<usize> {
    // Not by the bits that lines are chosen by.
    let is_sign = (key >> 40).is_multiple_of(SIGN_EVERY);
    is_sign.then_some((key >> 46) as usize % SIGNS)
}

impl Trail {
    /// Begins anew, with room for so many steps, a power of two, or for none.
    pub(super) fn begin(&mut self, room: usize) {
        self.steps = MappedRing::new(room).unwrap_or(MappedRing::empty());
        self.is_on = false;
        (self.off, self.on, self.rest, self.rested) = (0, 0, 0, 0);
    }

    /// The next step, if it leads to the stack with a key, as it did before.
    #[inline]
    pub(super) fn goes_on_to(&mut self, key: u64) -> Option<&mut Step> {
        if !self.is_on {
            return None;
        }
        let next = self.at.wrapping_add(1);
        let step = self.steps.get(next).filter(|step| step.key == key)?;
        (self.at, self.patience) = (next, PATIENCE + 1);
        self.on += 1;
        Some(step)
    }

    /// The stack of the last step is counted in another row from now on.
    pub(super) fn is_now_in(&mut self, row: RowId) {
        if let Some(step) = self.steps.get(self.at) {
            step.row = row;
        }
    }

    /// A stack was met that was not the next one.
    #[inline]
    pub(super) fn meet(&mut self, step: Step) {
        if self.steps.len() != 0 {
            self.look_for(step);
        }
    }

    #[inline(never)]
    fn look_for(&mut self, step: Step) {
        if self.is_on {
            self.miss();
        }
        if !self.is_on && !self.finds_itself_at(step.key) {
            self.keep(step);
        }
        self.off += 1;
        if self.off == self.steps.len() {
            self.end_round();
        }
    }

    fn miss(&mut self) {
        match self.patience {
            JUST_FOUND => {
                // What came behind this sign does no longer.
                self.is_on = false;
                let sign = self.steps.get(self.at).copied();
                sign.into_iter().for_each(|sign| self.keep(sign));
            }
            1 => self.is_on = false,
            _ => self.patience -= 1,
        }
    }

    /// Whether a key is a sign that was met.
    fn finds_itself_at(&mut self, key: u64) -> bool {
        let Some(sign) = sign(key) else { return false };
        let number = self.signs[sign] as usize;
        if self.steps.get(number).is_none_or(|step| step.key != key) {
            return false;
        }
        (self.at, self.patience, self.is_on) = (number, JUST_FOUND, true);
        true
    }

    fn keep(&mut self, step: Step) {
        if self.rest > 0 {
            return;
        }
        let head = self.head;
        let Some(kept) = self.steps.get(head) else {
            return;
        };
        *kept = step;
        if let Some(sign) = sign(step.key) {
            self.signs[sign] = head as u32;
        }
        self.head = head.wrapping_add(1);
    }

    #[cold]
    fn end_round(&mut self) {
        let is_of_use = self.on >= self.off / OF_USE;
        (self.off, self.on) = (0, 0);
        if is_of_use {
            self.rested = 0;
        } else if self.rest > 0 {
            self.rest -= 1;
        } else {
            self.rested = (2 * self.rested).clamp(1, MOST_ROUNDS);
            self.rest = self.rested;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::HashMap;

    fn nothing() -> Trail {
        // SAFETY: valid if all its bytes are zero.
        unsafe { core::mem::zeroed() }
    }

    /// A trail with room for 4096 steps, and steps to come to.
    fn begun(seed: u64) -> (Trail, Vec<Step>, Random) {
        let mut random = Random::new(seed);
        let mut trail = nothing();
        trail.begin(4096);
        let all = steps(3000, &mut random);
        (trail, all, random)
    }

    fn steps(count: usize, random: &mut Random) -> Vec<Step> {
        (0..count as u32)
            .map(|row| Step {
                key: random.any() | 1,
                row,
            })
            .collect()
    }

    fn in_another_order(steps: &[Step], random: &mut Random) -> Vec<Step> {
        let mut other = steps.to_vec();
        (1..other.len()).for_each(|i| other.swap(i, random.index(i + 1)));
        other
    }

    /// Comes to these in turn; how many were the next one.
    fn follow(trail: &mut Trail, steps: &[Step]) -> usize {
        let mut count = 0;
        for step in steps {
            if let Some(found) = trail.goes_on_to(step.key) {
                assert!(found.key == step.key && found.row == step.row);
                count += 1;
            } else {
                trail.meet(*step);
            }
        }
        count
    }

    #[test]
    fn the_same_order_is_followed_and_another_one_soon() {
        let (mut trail, mut all, mut random) = begun(3);
        for _ in 0..3 {
            let rounds: Vec<_> = (0..6).map(|_| follow(&mut trail, &all)).collect();
            assert!(rounds[0] < 100, "{rounds:?}");
            assert!(rounds[1..].iter().all(|&n| n > 2500), "{rounds:?}");
            all = in_another_order(&all, &mut random);
        }
    }

    #[test]
    fn a_stack_that_is_counted_in_another_row_is_found_in_that() {
        let (mut trail, all, _) = begun(8);
        follow(&mut trail, &all);
        let mut moved = HashMap::new();
        for step in &all {
            match trail.goes_on_to(step.key) {
                Some(_) => {
                    trail.is_now_in(step.row + 10_000);
                    moved.insert(step.key, step.row + 10_000);
                }
                None => trail.meet(*step),
            }
        }
        assert!(moved.len() > 2500, "{}", moved.len());
        let mut found = 0;
        for step in &all {
            match trail.goes_on_to(step.key) {
                Some(there) => {
                    found += usize::from(moved.get(&step.key) == Some(&there.row));
                }
                None => trail.meet(*step),
            }
        }
        assert!(found > 2500, "{found}");
    }

    #[test]
    fn what_comes_twice_in_an_order_does_not_end_it() {
        let (mut trail, all, _) = begun(7);
        let order = [&all[..1200], &all[800..1200], &all[1200..]].concat();
        let rounds: Vec<_> = (0..20).map(|_| follow(&mut trail, &order)).collect();
        // What is kept of what comes twice makes the ring come round sooner; then a round is kept anew.
        assert!(
            rounds.iter().sum::<usize>() > rounds.len() * 2200,
            "{rounds:?}"
        );
    }

    #[test]
    fn a_few_others_in_between_do_not_lead_off_it() {
        let (mut trail, all, mut random) = begun(4);
        follow(&mut trail, &all);
        let mut with_others = Vec::new();
        for some in all.chunks(50) {
            with_others.extend_from_slice(some);
            with_others.extend(steps(PATIENCE as usize, &mut random));
        }
        assert!(follow(&mut trail, &with_others) > 2800);
    }

    #[test]
    fn where_there_is_no_order_none_is_kept() {
        let mut random = Random::new(5);
        let mut trail = nothing();
        trail.begin(1024);
        let all = steps(800, &mut random);
        let mut kept = 0;
        for round in 0..1000 {
            let other = in_another_order(&all, &mut random);
            for step in &other {
                // The first rounds are to find that out.
                kept += usize::from(trail.rest == 0 && round >= 200);
                if trail.goes_on_to(step.key).is_none() {
                    trail.meet(*step);
                }
            }
        }
        assert!(kept < 800 * 800 / 20, "{kept}");
    }

    #[test]
    fn what_is_on_the_trail_is_what_was_met() {
        let mut random = Random::new(6);
        let mut followed = 0;
        for room in [0, 1, 2, 64, 1024] {
            let mut trail = nothing();
            trail.begin(room);
            let all = steps(700, &mut random);
            let truth: HashMap<u64, u32> = all.iter().map(|e| (e.key, e.row)).collect();
            for _ in 0..2000 {
                // A stretch of them, often one that was met before.
                let start = random.index(all.len()) / 100 * 100;
                let len = random.index(all.len() - start) + 1;
                for step in &all[start..][..len] {
                    if let Some(found) = trail.goes_on_to(step.key) {
                        assert_eq!((found.key, found.row), (step.key, truth[&step.key]));
                        followed += 1;
                    } else {
                        trail.meet(*step);
                    }
                }
                if random.below(200) == 0 {
                    trail.begin(room);
                }
            }
        }
        assert!(followed > 100_000, "{followed}");
    }
}
