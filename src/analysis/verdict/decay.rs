//! Whether a growth that becomes rarer is that of something bounded, which fills ever more slowly, or
//! that of a leak beside something that has stopped: by the likelihoods of what was seen.
//!
//! Two hypotheses are compared that are not nested, so there is no p-value. The logarithm of their
//! likelihood ratio is the weight of the evidence; how often it misleads is measured in the bench.

/// The logarithms of the likelihood ratio from which the bounded hypothesis is not excluded. It has
/// the benefit of the doubt, because a false `leak` is worse than one that is called later.
const DECAYS: f64 = -1.0;
const ARE_PEAKS: f64 = -2.0;

/// How many times as many peaks there are at most as where needs do not depend on each other.
const MOST_PEAKS: f64 = 2.0;

/// Cycles of the warm-up, in which peaks occurred, too.
const WARM_UP: f64 = 3.0;

/// The time constants that are tried: so many in all, from this fraction of the time on, each longer
/// than the one before by this factor.
const TIMES: u32 = 15;
const SHORTEST_TIME: f64 = 1.0 / 64.0;
const LONGER: f64 = 1.5;

/// The part of its first value to which a rate has decayed that is told from a constant one by few entries.
const FAR: f64 = 1.0 / 3.0;

/// The logarithm of the likelihood ratio that is enough for so few entries, and by how much more each further one needs.
const MOST_DOUBT: f64 = -0.5;
const FEW_ENTRIES: f64 = 30.0;
const EACH_ENTRY: f64 = 0.1;

/// What the amounts of each cycle, in units of one entry, say of a rate that decays: the logarithms of likelihood ratios
/// to a rate that is constant after a part that has stopped in the first half of the time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decay {
    /// Of the best rate that decays, however slowly.
    any: f64,
    /// Of the best one that has decayed to a third or less.
    far: f64,
    entries: f64,
}

impl Decay {
    /// Of the rates that decay an exponential (keys that are asked for equally often), and powers of time from 1 / √t
    /// to 1 / t² (keys of which some are asked for rarely) are tried. A Poisson process has the rate, up to a factor
    /// that the sum of the amounts settles.
    pub(super) fn of(amounts: &[f64]) -> Self {
        let shapes: [fn(f64) -> f64; 4] = [
            |time| (-time).exp(),
            |time| 1.0 / (1.0 + time).sqrt(),
            |time| 1.0 / (1.0 + time),
            |time| (1.0 + time).powi(-2),
        ];
        let cycles = amounts.len() as f64;
        let mut found = Self {
            any: f64::NEG_INFINITY,
            far: f64::NEG_INFINITY,
            entries: amounts.iter().sum(),
        };
        for i in 0..TIMES {
            let time = cycles * SHORTEST_TIME * LONGER.powi(i as i32);
            for shape in shapes {
                let of = likelihood(amounts, |cycle| shape((cycle as f64 + 0.5) / time));
                found.any = found.any.max(of);
                if shape(cycles / time) <= FAR {
                    found.far = found.far.max(of);
                }
            }
        }
        let step = likelihood_of_step(amounts);
        Self {
            any: found.any - step,
            far: found.far - step,
            ..found
        }
    }

    /// Whether a rate that decays explains the amounts about as well.
    pub(super) fn is_possible(self) -> bool {
        self.any > DECAYS
    }

    /// Whether one does that has decayed to a third, so that no other sign of it is needed. The fewer entries there are,
    /// the less evidence is enough: each of a constant rate excludes it by a fifth.
    pub(super) fn may_be_far(self) -> bool {
        let excluded = (self.entries - FEW_ENTRIES) * EACH_ENTRY;
        self.far > (MOST_DOUBT + excluded).clamp(MOST_DOUBT, 0.0)
    }
}

/// The logarithm of the likelihood of these amounts if the rate has this shape, up to what all shapes
/// have in common.
fn likelihood(amounts: &[f64], shape: impl Fn(usize) -> f64) -> f64 {
    let (mut all, mut sum, mut likelihood) = (0.0, 0.0, 0.0);
    for (cycle, &amount) in amounts.iter().enumerate() {
        let rate = shape(cycle);
        all += rate;
        sum += amount;
        if amount > 0.0 {
            likelihood += amount * rate.ln();
        }
    }
    likelihood + sum_over(sum, all)
}

/// The same for a rate that is constant after a step down in the first half of the time, or
/// throughout.
fn likelihood_of_step(amounts: &[f64]) -> f64 {
    let sum: f64 = amounts.iter().sum();
    let cycles = amounts.len() as f64;
    let mut best = sum_over(sum, cycles);
    let mut before = 0.0;
    for (cycle, amount) in (1..=amounts.len() / 2).zip(amounts) {
        before += amount;
        let (early, late) = (cycle as f64, cycles - cycle as f64);
        if before / early > (sum - before) / late {
            best = best.max(sum_over(before, early) + sum_over(sum - before, late));
        }
    }
    best
}

/// `sum * ln(sum / of)`, and its limit for no sum.
fn sum_over(sum: f64, of: f64) -> f64 {
    match sum > 0.0 {
        true => sum * (sum / of).ln(),
        false => 0.0,
    }
}

/// Whether rises in these cycles are about as likely as the peaks of a need that varies at random as
/// they are as a leak at a constant rate. A pool keeps the most that was ever needed at once, and of
/// random needs the k-th is the greatest so far with a probability of 1 / k.
pub(super) fn are_peaks(at: &[u32], cycles: u32) -> bool {
    peaks_over_constant(at, cycles) > ARE_PEAKS
}

/// The logarithm of that likelihood ratio.
fn peaks_over_constant(at: &[u32], cycles: u32) -> f64 {
    let is_peak = |k: u32| 1.0 / (f64::from(k) + WARM_UP);
    let all: f64 = (1..=cycles).map(is_peak).sum();
    let count = at.len() as f64;
    let share = (count / all).min(MOST_PEAKS);
    let each = |&k: &u32| (share * is_peak(k)).ln();
    let peaks = at.iter().map(each).sum::<f64>() - share * all;
    let constant = sum_over(count, f64::from(cycles)) - count;
    peaks - constant
}

/// How many more cycles exclude that rises are the peaks of a random need, if they go on at the
/// average rate so far.
pub(super) fn cycles_until_no_peaks(at: &[u32], cycles: u32) -> u32 {
    let every = (cycles / at.len().max(1) as u32).max(1);
    let mut longer = at.to_vec();
    let mut more = 0;
    while are_peaks(&longer, cycles + more) && more < cycles.saturating_mul(10) {
        more += every;
        longer.push(cycles + more);
    }
    more.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    /// How many of 1,000 series are taken for something bounded.
    fn bounded(series: impl Fn(&mut Random) -> bool) -> usize {
        (0..1000)
            .filter(|&seed| series(&mut Random::new(seed)))
            .count()
    }

    #[test]
    fn rare_peaks_are_told_from_a_leak_with_a_known_error_rate() {
        for cycles in [80, 200, 600] {
            let peaks = |r: &mut Random| {
                let mut highest = 0.0;
                let mut is_peak = |k: i64| {
                    let need = r.unit();
                    let is_peak = need > highest;
                    highest = if is_peak { need } else { highest };
                    is_peak && k > 0
                };
                let at = (-2..=i64::from(cycles)).filter(|&k| is_peak(k));
                let at: Vec<u32> = at.map(|k| k as u32).collect();
                at.len() < 5 || are_peaks(&at, cycles)
            };
            let missed = 1000 - bounded(peaks);
            assert!(
                missed <= 10,
                "{missed} pools are a leak after {cycles} cycles"
            );
            let every_tenth: Vec<u32> = (1..=cycles).filter(|k| k % 10 == 0).collect();
            assert!(!are_peaks(&every_tenth, cycles), "{cycles}");
        }
        let leak = |r: &mut Random| {
            let at: Vec<u32> = (1..=200).filter(|_| r.below(10) == 0).collect();
            are_peaks(&at, 200)
        };
        for cycles in 8..200 {
            let every: Vec<u32> = (1..=cycles).collect();
            assert!(!are_peaks(&every, cycles), "{cycles}");
        }
        let missed = bounded(leak);
        assert!(missed <= 50, "{missed} of 1000 leaks are pools");
    }

    #[test]
    fn a_cache_that_fills_ever_more_slowly_is_told_from_a_leak_beside_one_that_is_full() {
        let cache = |r: &mut Random| {
            let mut seen = [false; 400];
            let mut is_new = || {
                let key = (r.below(400) as f64 * r.unit()) as usize;
                !std::mem::replace(&mut seen[key], true)
            };
            let new: Vec<f64> = (0..200).map(|_| f64::from(u8::from(is_new()))).collect();
            Decay::of(&new).is_possible()
        };
        let found = bounded(cache);
        assert!(found >= 900, "{found} of 1000 caches");
        let leak = |r: &mut Random| {
            let mut leaked = || f64::from(u8::from(r.below(3) == 0));
            let cached = |k: u32| f64::from(u8::from(k < 40));
            let amounts: Vec<f64> = (0..200).map(|k| leaked() + cached(k)).collect();
            Decay::of(&amounts).is_possible()
        };
        let missed = bounded(leak);
        assert!(missed <= 60, "{missed} of 1000 leaks are caches");
    }
}
