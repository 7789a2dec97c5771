//! The order in which a thread comes to its stacks.
//!
//! A program that does the same in each cycle comes to the same stacks in the same order. Where they are
//! many, each look into a table of them is one into memory that the processor has not near. The order is
//! kept, so that the next one is at hand, behind the last. After T. F. Wenisch et al., "Temporal Streaming
//! of Shared Memory", ISCA 2005: there, too, the order is found again by a few of those that are met.

use super::mapped;
use super::met::Entry;

/// One key in so many is a sign: where it was met is kept, so that the thread is found on its trail again.
const SIGN_EVERY: u64 = 64;
const SIGNS: usize = 1 << 12;

/// So many steps that are not the next one, in a row, and the thread has left the trail; just found on it
/// by a sign, with the first.
const PATIENCE: u32 = 8;

/// The trail is of use if it leads so far.
const FAR: usize = 64;

/// It is begun anew after it was of no use for as many look-ups as it has steps, then for twice as many, up
/// to so many times.
const MOST_ROUNDS: usize = 64;

/// Valid if all its bytes are zero: it has no steps, and keeps none.
pub(super) struct Trail {
    /// Null, or as many as it may have, in a mapping of its own.
    steps: *mut Entry,
    capacity: usize,
    count: usize,
    /// The step that was met last, and the one where the thread was found on the trail.
    at: usize,
    found_at: usize,
    /// Steps that may be others from now on; [`Trail::is_on`] tells if it has any meaning.
    patience: u32,
    is_on: bool,
    is_kept: bool,
    /// Look-ups since it was of use, and after how many it is begun anew.
    lost: usize,
    wait: usize,
    /// By key, the step of a sign.
    signs: [u32; SIGNS],
}

impl Trail {
    /// Begins anew, with room for so many steps, or none.
    pub(super) fn begin(&mut self, capacity: usize) {
        self.unmap();
        let steps: *mut Entry = match capacity {
            0 => core::ptr::null_mut(),
            _ => mapped::map(capacity * size_of::<Entry>()).cast(),
        };
        let capacity = if steps.is_null() { 0 } else { capacity };
        (self.steps, self.capacity, self.count) = (steps, capacity, 0);
        (self.is_on, self.is_kept) = (false, capacity != 0);
        (self.lost, self.wait) = (0, capacity);
    }

    fn steps(&mut self) -> &mut [Entry] {
        if self.count == 0 {
            return &mut [];
        }
        // SAFETY: `steps` maps `capacity >= count` of them, the first `count` of which were written, and
        // `&mut self` is the only way to them (tests: `what_is_on_the_trail_is_what_was_met`).
        unsafe { core::slice::from_raw_parts_mut(self.steps, self.count) }
    }

    /// Whether the stack with a key is the one that came next before, and then it is [`Trail::here`].
    #[inline]
    pub(super) fn goes_on_to(&mut self, key: u64) -> bool {
        if !self.is_on {
            return false;
        }
        let at = self.at + 1;
        if self.steps().get(at).is_some_and(|step| step.key == key) {
            (self.at, self.patience) = (at, PATIENCE);
            return true;
        }
        self.miss();
        false
    }

    /// The step that was met last.
    #[inline]
    pub(super) fn here(&mut self) -> Option<&mut Entry> {
        let at = self.at;
        self.steps().get_mut(at)
    }

    #[inline(never)]
    fn miss(&mut self) {
        if self.patience > 0 {
            self.patience -= 1;
            return;
        }
        self.is_on = false;
        if self.at - self.found_at >= FAR {
            // It leads through what the program does again.
            self.is_kept = false;
            (self.lost, self.wait) = (0, self.capacity);
        }
    }

    /// A stack was met that was not the next one.
    #[inline]
    pub(super) fn meet(&mut self, entry: Entry) {
        if self.capacity != 0 {
            self.look_for(entry);
        }
    }

    #[inline(never)]
    fn look_for(&mut self, entry: Entry) {
        let key = entry.key;
        // Not the bits that lines are chosen by.
        let is_sign = (key >> 40).is_multiple_of(SIGN_EVERY);
        let sign = (key >> 46) as usize % SIGNS;
        if is_sign {
            let at = self.signs[sign] as usize;
            if self.steps().get(at).is_some_and(|step| step.key == key) {
                (self.at, self.found_at) = (at, at);
                (self.patience, self.is_on) = (0, true);
            }
        }
        if !self.is_kept {
            self.lost += 1;
            if self.lost >= self.wait {
                (self.lost, self.count) = (0, 0);
                self.wait = (2 * self.wait).min(MOST_ROUNDS * self.capacity);
                (self.is_on, self.is_kept) = (false, true);
            }
            return;
        }
        if is_sign {
            self.signs[sign] = self.count as u32;
        }
        // SAFETY: `steps` maps `capacity` of them, and it is not kept where that is 0 or was reached.
        unsafe { self.steps.add(self.count).write(entry) };
        self.count += 1;
        self.is_kept = self.count < self.capacity;
    }

    fn unmap(&mut self) {
        if !self.steps.is_null() {
            // SAFETY: mapped for so many, and replaced or gone next.
            unsafe { mapped::unmap(self.steps.cast(), self.capacity * size_of::<Entry>()) };
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.unmap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::HashMap;

    fn nothing() -> Trail {
        // SAFETY: valid if all its bytes are zero.
        unsafe { core::mem::zeroed() }
    }

    fn entries(count: usize, random: &mut Random) -> Vec<Entry> {
        (0..count as u32)
            .map(|i| Entry::new(random.any() | 1, i, i))
            .collect()
    }

    fn in_another_order(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
        let mut other = entries.to_vec();
        (1..other.len()).for_each(|i| other.swap(i, random.index(i + 1)));
        other
    }

    /// Comes to these in turn; how many were the next one.
    fn follow(trail: &mut Trail, entries: &[Entry]) -> usize {
        let mut count = 0;
        for entry in entries {
            if trail.goes_on_to(entry.key) {
                let here = trail.here().unwrap();
                assert!(here.key == entry.key && here.row == entry.row);
                count += 1;
            } else {
                trail.meet(*entry);
            }
        }
        count
    }

    #[test]
    fn the_same_order_is_followed_and_another_one_soon() {
        let mut random = Random::new(3);
        let mut trail = nothing();
        trail.begin(4096);
        let mut all = entries(3000, &mut random);
        for _ in 0..3 {
            let rounds: Vec<_> = (0..6).map(|_| follow(&mut trail, &all)).collect();
            assert!(rounds[0] < 100, "{rounds:?}");
            // Two rounds are of no use, in one it is kept anew.
            assert!(rounds[3..].iter().all(|&n| n > 2800), "{rounds:?}");
            all = in_another_order(&all, &mut random);
        }
    }

    #[test]
    fn a_few_others_in_between_do_not_lead_off_it() {
        let mut random = Random::new(4);
        let mut trail = nothing();
        trail.begin(4096);
        let all = entries(3000, &mut random);
        follow(&mut trail, &all);
        let mut with_others = Vec::new();
        for some in all.chunks(50) {
            with_others.extend_from_slice(some);
            with_others.extend(entries(PATIENCE as usize, &mut random));
        }
        assert!(follow(&mut trail, &with_others) > 2800);
    }

    #[test]
    fn where_there_is_no_order_none_is_kept() {
        let mut random = Random::new(5);
        let mut trail = nothing();
        trail.begin(1024);
        let all = entries(800, &mut random);
        let mut kept = 0;
        for round in 0..1000 {
            let other = in_another_order(&all, &mut random);
            for entry in &other {
                // The first rounds are to find that out.
                kept += usize::from(trail.is_kept && round >= 200);
                if !trail.goes_on_to(entry.key) {
                    trail.meet(*entry);
                }
            }
        }
        assert!(kept < 800 * 800 / 20, "{kept}");
    }

    #[test]
    fn what_is_on_the_trail_is_what_was_met() {
        let mut random = Random::new(6);
        let mut followed = 0;
        for capacity in [0, 1, 2, 64, 1000] {
            let mut trail = nothing();
            trail.begin(capacity);
            let all = entries(700, &mut random);
            let truth: HashMap<u64, u32> = all.iter().map(|e| (e.key, e.row)).collect();
            for _ in 0..2000 {
                // A stretch of them, often one that was met before.
                let start = random.index(all.len()) / 100 * 100;
                let len = random.index(all.len() - start) + 1;
                for entry in &all[start..][..len] {
                    if trail.goes_on_to(entry.key) {
                        let here = trail.here().unwrap();
                        assert_eq!((here.key, here.row), (entry.key, truth[&entry.key]));
                        followed += 1;
                    } else {
                        trail.meet(*entry);
                    }
                    assert!(trail.count <= capacity);
                }
                if random.below(200) == 0 {
                    trail.begin(capacity);
                }
            }
        }
        assert!(followed > 100_000, "{followed}");
    }
}
