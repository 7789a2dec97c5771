//! Steady growth that shows itself in steps: what is added to several containers that grow by a
//! factor, or to a slab whose pages double.
//!
//! While a container fills nothing is allocated, and the time between its steps grows as its size
//! does. So the steps become rarer although what it holds grows at a constant rate. What it holds is
//! known at each step: it was full, so it held as much as it had room for before.

use super::interim::Criteria;
use super::judgement::Judgement;
use super::levels::{MIN_FACTOR, floor, lasting_records};
use super::reasons::at_least;
use super::rises::Rises;
use super::series::Series;
use super::thresholds::{MIN_PLATEAU, MIN_RISES};
use crate::base::statistics::Slope;
use crate::base::text::count;
use crate::base::units::bytes;
use crate::model::verdict::{Rule, Verdict};

/// The fewest steps that are called growth.
const MIN_STEPS: usize = 3;

/// The least factor by which all steps together raise the level.
const MIN_GROWTH: f64 = 2.0;

/// Steps count as stopped after this many times the longest time between two of them. A container
/// that doubles takes twice as long to fill as before; this leaves some room.
const OVERDUE: f64 = 2.5;

/// Room for irregular filling.
const TOLERANCE: f64 = 1.25;

/// The rate of what the containers hold is steady if its second half is at least this fraction of
/// its first half. With few steps, chance is less likely to give a larger fraction.
const MIN_STEADINESS: f64 = 0.5;
const MIN_STEADINESS_OF_FEW: f64 = 0.75;

/// Steps are slower if the last doubling of the level took this many times as long as steady growth does.
/// Of sharded maps that grow steadily, 1 of 100 exceeds it at 128 cycles and none at 192; of maps of keys
/// that are asked for at random 19 of 20 do.
const SLOWER: f64 = 1.15;

/// A step of the level: its boundary, which is 0 or less in the warm-up, and what the containers
/// held at it, in bytes above the baseline.
#[derive(Clone, Copy)]
struct Step {
    at: i64,
    held: f64,
}

/// The floor before boundary `k`; 0 at the baseline.
pub(super) fn before(floor: &[u64], k: u32) -> u64 {
    match k {
        ..=1 => 0,
        k => floor[k as usize - 2],
    }
}

/// The growth in bytes per cycle of what the containers hold: in the first half of the time from the
/// first step to the last, in the second half, and in the whole.
struct Rates {
    early: f64,
    late: f64,
    whole: f64,
}

impl Rates {
    /// The whole, and the interval of both halves and of the growth of what the containers have room for.
    fn slope(&self, rises: &Rises) -> Slope {
        let room = rises.retained_bytes() as f64 / f64::from(rises.boundaries);
        Slope {
            value: self.whole,
            low: self.early.min(self.late),
            high: self.early.max(self.late).max(room),
        }
    }
}

/// The growth per cycle of what several containers hold, of which these are the rises; `None` if they are
/// too few.
pub(super) fn rate_of_several(rises: &Rises) -> Option<Slope> {
    Some(Doublings::of(rises)?.rates().slope(rises))
}

/// The boundaries at which the level passed the heights of its last three doublings, averaged over the
/// heights of each.
///
/// Steady growth from nothing takes twice as long for each doubling. What the containers have room for
/// does so as well, however their steps are spread: in one doubling of the level each has doubled once.
#[derive(Clone, Copy)]
struct Doublings {
    at: [f64; 3],
    /// The present level.
    top: f64,
}

impl Doublings {
    /// `None` if the level has not doubled three times since the first of these rises.
    fn of(rises: &Rises) -> Option<Self> {
        let (level, top) = (&rises.bytes, rises.retained_bytes() as f64);
        if top / 8.0 < level[rises.first() as usize - 1] as f64 {
            return None;
        }
        let mean = |low: f64, high: f64| {
            let (mut below, mut sum) = (0, 0.0);
            for (at, &now) in (1_u32..).zip(level.iter()) {
                let passed = (now as f64).min(high) - (below as f64).max(low);
                sum += f64::from(at) * passed.max(0.0);
                below = now;
            }
            sum / (high - low)
        };
        let at = [8.0, 4.0, 2.0].map(|part| mean(top / part, 2.0 * top / part));
        at.is_sorted_by(|a, b| a < b).then_some(Self { at, top })
    }

    /// The growth of what the containers hold. Each was full when it doubled, so that together they
    /// held half of the level after one doubling of it.
    fn rates(self) -> Rates {
        let [first, second, third] = self.at;
        Rates {
            early: self.top / 8.0 / (second - first),
            late: self.top / 4.0 / (third - second),
            whole: self.top * 3.0 / 8.0 / (third - first),
        }
    }

    /// Cycles of the last doubling and of the one before.
    fn durations(self) -> [f64; 2] {
        let [first, second, third] = self.at;
        [third - second, second - first]
    }

    /// Whether the last doubling took longer than steady growth does.
    fn is_slower(self) -> bool {
        let [last, before] = self.durations();
        last > SLOWER * 2.0 * before
    }
}

/// The steps of a call site, if they show steady growth that goes on.
struct Steps {
    steps: Vec<Step>,
    /// The steps without those of the warm-up.
    rises: Rises,
    /// The live bytes at each boundary.
    level: Vec<u64>,
}

impl Steps {
    /// Fluctuation raises the level for some cycles, so that a younger step does not count.
    ///
    /// `None` if there are fewer than two steps.
    fn of(series: &Series, criteria: Criteria) -> Option<Self> {
        let floor = floor(&series.bytes);
        let mut at = lasting_records(&series.bytes);
        at.retain(|k| k + MIN_PLATEAU <= series.boundaries());
        let first = *at.first()?;
        let mut steps: Vec<Step> = Vec::new();
        // A page that was allocated in the warm-up is the first step.
        if let Some(&(born, size)) = series.warmup.last()
            && floor[first as usize - 1] as f64 >= MIN_FACTOR * size as f64
        {
            let held = -(size as f64);
            steps.push(Step { at: born, held });
        }
        steps.extend(at.iter().map(|&k| Step {
            at: i64::from(k),
            held: before(&floor, k) as f64,
        }));
        let last = *at.last()?;
        let rises = Rises {
            plateau: series.boundaries() - last,
            at,
            bytes: floor,
            blocks: series.blocks.clone(),
            ..Rises::of_floor(series, criteria)
        };
        (steps.len() >= 2).then_some(Self {
            steps,
            rises,
            level: series.bytes.clone(),
        })
    }

    /// Whether the blocks became larger from the first step to the last: each container is replaced by
    /// a larger one, or each page is larger than the one before. A cache or a pool that gains entries
    /// of the same sizes as before has steps, too, but no room that fills between them.
    fn are_containers(&self) -> bool {
        let rises = &self.rises;
        let blocks = floor(&rises.blocks);
        let size = |k: u32| {
            let at = (k - 1) as usize;
            rises.bytes[at] as f64 / blocks[at].max(1) as f64
        };
        let before = match self.steps[0] {
            Step { at: ..=0, held } => -held,
            _ => size(rises.first()),
        };
        size(rises.last()) >= MIN_FACTOR * before
    }

    fn longest_gap(&self) -> i64 {
        let gaps = self.steps.windows(2).map(|w| w[1].at - w[0].at);
        gaps.max().unwrap_or(1)
    }

    /// Cycles without a step after which they count as stopped: if what they hold grows steadily, all
    /// containers take another step until twice the time.
    fn overdue(&self) -> u32 {
        let span = self.rises.last() - self.rises.first();
        let gap = self.longest_gap();
        // What rises in most cycles is no container that fills.
        let again = match gap >= i64::from(MIN_PLATEAU) {
            true => TOLERANCE * f64::from(span),
            false => 0.0,
        };
        again.max(OVERDUE * gap as f64) as u32 + 1
    }

    /// The growth per cycle of what the containers hold; `None` if the steps are too few to tell.
    fn rates(&self) -> Option<Rates> {
        if let Some(doublings) = self.doublings() {
            return Some(doublings.rates());
        }
        // What else was allocated in the warm-up is not known.
        let is_measured = |s: &&Step| s.at > 0;
        let steps: Vec<&Step> = self.steps.iter().filter(is_measured).collect();
        let [first, ref inner @ .., last] = steps[..] else {
            return None;
        };
        let middle = (first.at + last.at) / 2;
        let middle = inner.iter().min_by_key(|s| (s.at - middle).abs())?;
        let rate = |a: &Step, b: &Step| (b.held - a.held) / (b.at - a.at) as f64;
        Some(Rates {
            early: rate(first, middle),
            late: rate(middle, last),
            whole: rate(first, last),
        })
    }

    fn doublings(&self) -> Option<Doublings> {
        Doublings::of(&self.rises)
    }

    /// Whether it may be steady, as far as so few steps tell. Whether doublings become slower is tested
    /// later.
    fn is_steady(&self) -> bool {
        if self.doublings().is_some() {
            return true;
        }
        let least = match self.steps.len() {
            n if n < MIN_RISES => MIN_STEADINESS_OF_FEW,
            _ => MIN_STEADINESS,
        };
        self.rates().is_none_or(|Rates { early, late, .. }| {
            let is_few = self.steps.len() < MIN_RISES;
            late >= least * early && (!is_few || early >= least * late)
        })
    }

    /// Whether the steps together raise the level by a factor, and may go on.
    fn go_on(&self) -> bool {
        let retained = self.rises.retained_bytes() as f64;
        let (lowest, highest) = match self.steps[0] {
            Step { at: ..=0, held } => (-held, retained - held),
            _ => (
                self.rises.floor[self.rises.first() as usize - 1] as f64,
                retained,
            ),
        };
        highest >= MIN_GROWTH * lowest && self.rises.plateau <= self.overdue()
    }

    /// Whether the level has risen by a factor beyond the horizon.
    fn is_beyond_horizon(&self) -> bool {
        let criteria = self.rises.criteria;
        let last = self.rises.last();
        let horizon = self.rises.first() + criteria.horizon;
        if last <= horizon || self.rises.count() < MIN_STEPS {
            return false;
        }
        let until = self.level[..horizon as usize].iter().max();
        let highest_until = until.copied().unwrap_or(0) as f64;
        self.rises.floor[last as usize - 1] as f64 >= MIN_FACTOR * highest_until
    }

    /// How many more cycles will show steps beyond the horizon, if the growth goes on: all containers
    /// have taken another step after twice the time.
    fn more_cycles(&self) -> u32 {
        let rises = &self.rises;
        let next = rises.last() + self.overdue() + 1;
        let again = (OVERDUE * f64::from(rises.last())) as u32;
        let beyond = rises.first() + rises.criteria.horizon + 1;
        let needed = next.max(again).max(beyond) + MIN_PLATEAU;
        needed
            .saturating_sub(rises.boundaries)
            .max(MIN_RISES as u32)
    }

    /// The growth per cycle of what the containers hold; as long as the steps are too few to tell,
    /// that of the level.
    fn rate(&self) -> Slope {
        let rates = self.rates().unwrap_or_else(|| {
            let first = self.rises.first();
            let cycles = self.rises.boundaries + 1 - first;
            let average = (self.rises.retained_bytes() - before(&self.rises.floor, first)) as f64;
            let average = average / f64::from(cycles);
            Rates {
                early: average,
                late: average,
                whole: average,
            }
        });
        rates.slope(&self.rises)
    }

    /// The judgement on steps beyond the horizon that become slower.
    fn judge_slower(&self, history: &str, doublings: Doublings) -> Judgement {
        let [last, before] = doublings.durations();
        let more = last.ceil() as u32;
        let reason = format!(
            "{history}, but ever more slowly: the last doubling took {last:.0} cycles and the one before \
             {before:.0}, where steady growth takes twice as long for each; {} would tell a leak from a \
             cache that fills",
            count(more, "more cycle")
        );
        self.rises
            .conclude(Verdict::Growing, Rule::Slower, reason)
            .needing(more)
    }
}

/// Judges a call site whose steps together raise its level by a factor, while what it holds grows at
/// a constant rate. `None` if this is not so, or if the next step is overdue.
pub(super) fn judge_steps(series: &Series, criteria: Criteria) -> Option<Judgement> {
    let steps = Steps::of(series, criteria)?;
    if !steps.are_containers() || !steps.go_on() || !steps.is_steady() {
        return None;
    }
    let rises = &steps.rises;
    let history = format!(
        "live bytes rose in {}, to {}, most recently in cycle {} after the warm-up, as of containers \
         that grow by a factor when they are full",
        count(rises.count() as u64, "step"),
        rises.retained(),
        rises.last()
    );
    let slower = steps.doublings().filter(|d| d.is_slower());
    let judged = if let (Some(slower), true) = (slower, steps.is_beyond_horizon()) {
        steps.judge_slower(&history, slower)
    } else if steps.is_beyond_horizon() {
        let what = match steps.rates() {
            Some(Rates { early, late, .. }) => format!(
                "what they hold grows steadily, by {} per cycle in the first half of the time and \
                 by {} in the second",
                bytes(early.max(0.0)),
                bytes(late)
            ),
            None => "what they hold grows".into(),
        };
        let reason = format!(
            "{history}; {what}, and this is beyond the horizon of {}",
            count(criteria.horizon, "cycle")
        );
        rises.conclude(Verdict::Leak, Rule::Horizon, reason)
    } else {
        let more = steps.more_cycles();
        let reason = format!("{history}; {} to tell whether they go on", at_least(more));
        rises.open(reason, more)
    };
    Some(Judgement {
        bytes_per_cycle: Some(steps.rate()),
        blocks_per_cycle: rises.slope(&rises.blocks),
        ..judged
    })
}

/// The growth per cycle of a call site that grows both in every cycle and in steps; `None` if there
/// are no steps that go on, or they add less than the growth in every cycle. `slope` is that growth.
pub(super) fn rate_with_steps(series: &Series, criteria: Criteria, slope: Slope) -> Option<Slope> {
    let steady = |k: usize| (slope.value.max(0.0) * (k + 1) as f64) as u64;
    let rest = series.bytes.iter().enumerate();
    let rest: Vec<u64> = rest.map(|(k, &b)| b.saturating_sub(steady(k))).collect();
    let rest = Series {
        bytes: rest,
        ..series.clone()
    };
    let steps = Steps::of(&rest, criteria)?;
    let rate = steps.rate();
    let is_many = steps.rises.count() >= MIN_STEPS;
    let is_more = rate.value > slope.value;
    (is_many && steps.go_on() && is_more).then(|| Slope {
        value: slope.value + rate.value,
        low: slope.low,
        high: slope.high.max(slope.value + rate.value),
    })
}
