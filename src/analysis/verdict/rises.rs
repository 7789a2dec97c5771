//! When a series rose, by several definitions of a rise.

use super::interim::Criteria;
use super::levels::{floor, floor_steps, lasting_records, trailing_minima, window_minima};
use super::series::{Generation, Series};
use super::thresholds::DENSE_EVERY;
use crate::model::verdict::RisesBy;

/// The fewest windows for which the steps of their floor can count as rises. Some of these windows
/// may contain fluctuation only.
const MIN_STEPPED_WINDOWS: usize = 12;

/// The lengths of the windows whose minima are examined, in multiples of a window that is just
/// longer than the longest lifetime. There are fewer of the longer windows, but fluctuation hides
/// fewer of their minima.
const WINDOWS: [u32; WINDOW_COUNT] = [1, 2];
pub(super) const WINDOW_COUNT: usize = 2;

/// The rises of a series.
pub(super) struct Rises {
    /// The boundaries of the rises, ascending.
    pub(super) at: Vec<u32>,
    /// The values that are tested for a trend, up to the last certain boundary.
    pub(super) level: Vec<u64>,
    /// The bytes that are retained at each boundary, up to the last certain one.
    pub(super) bytes: Vec<u64>,
    /// The blocks that are retained at each boundary, up to the last certain one.
    pub(super) blocks: Vec<u64>,
    /// The least live bytes from each boundary on, up to the last.
    pub(super) floor: Vec<u64>,
    /// The number of boundaries.
    pub(super) boundaries: u32,
    /// The last boundary for which it is certain what is retained: anything younger than the
    /// longest lifetime may still be freed.
    pub(super) certain: u32,
    /// Cycles since the last rise, up to the end or to the first uncertain rise.
    pub(super) plateau: u32,
    pub(super) by: RisesBy,
    pub(super) longest_lifetime: u32,
    pub(super) criteria: Criteria,
}

impl Rises {
    /// The birth cycles of the retained generations.
    pub(super) fn of_generations(series: &Series, criteria: Criteria) -> Self {
        let certain = certain(series);
        let retained = series.retained();
        let up_to = |k: u32, of: fn(&Generation) -> u64| {
            retained.iter().filter(|g| g.born <= k).map(of).sum()
        };
        let last = retained.last().map_or(0, |g| g.born);
        let newest = series.live().map(|g| g.born).max().unwrap_or(0);
        let known_up_to = if newest > last {
            certain
        } else {
            series.boundaries()
        };
        Self {
            at: retained.iter().map(|g| g.born).collect(),
            floor: floor(&series.bytes),
            boundaries: series.boundaries(),
            plateau: known_up_to.saturating_sub(last),
            level: series.live_generations[..certain as usize]
                .iter()
                .map(|&g| u64::from(g))
                .collect(),
            bytes: (1..=certain).map(|k| up_to(k, |g| g.bytes)).collect(),
            blocks: (1..=certain).map(|k| up_to(k, |g| g.blocks)).collect(),
            certain,
            by: RisesBy::Generations,
            longest_lifetime: series.longest_lifetime(),
            criteria,
        }
    }

    /// The boundaries at which the floor of the live bytes rises above everything before.
    pub(super) fn of_floor(series: &Series, criteria: Criteria) -> Self {
        let records = lasting_records(&series.bytes);
        Self::of_certain(series, criteria, records, &series.bytes)
    }

    /// All steps of the floor, whatever is above it. Fluctuation leaves some steps, too, but most of
    /// them near the end. So they count only if they are dense throughout the run.
    pub(super) fn of_dense_floor_steps(series: &Series, criteria: Criteria) -> Self {
        let steps = floor_steps(&series.bytes);
        let lowest = trailing_minima(&series.bytes, DENSE_EVERY as usize);
        let mut rises = Self::of_certain(series, criteria, steps, &lowest);
        rises.clear_unless_dense();
        rises
    }

    /// The lasting records of the live bytes, however long freed generations lived, if they are
    /// dense throughout the run.
    pub(super) fn of_dense_records(series: &Series, criteria: Criteria) -> Self {
        let mut rises = Self {
            at: lasting_records(&series.bytes),
            level: series.bytes.clone(),
            bytes: floor(&series.bytes),
            blocks: floor(&series.blocks),
            floor: floor(&series.bytes),
            boundaries: series.boundaries(),
            certain: series.boundaries(),
            plateau: 0,
            by: RisesBy::Floor,
            longest_lifetime: 0,
            criteria,
        };
        rises.plateau = rises.boundaries - rises.last();
        rises.clear_unless_dense();
        rises
    }

    /// The windows of `window` cycles whose minimum is greater than that of all windows before.
    ///
    /// Retained data may be copied periodically, into buffers with spare capacity. Then no block of
    /// it grows old, and the spare capacity hides the floor. A window that is longer than the
    /// longest lifetime contains a whole period of copying, so its minimum is comparable.
    ///
    /// If some windows contain fluctuation only, the steps of the minima's floor count instead,
    /// provided that half of the windows in each quarter of the run have one.
    pub(super) fn of_window_minima(series: &Series, window: u32, criteria: Criteria) -> Self {
        let (minima, lead) = window_minima(&series.bytes, window as usize);
        let m = minima.len();
        let steps = floor_steps(&minima);
        let is_stepped = |quarter: usize| {
            let windows = m * quarter / 4 + 1..=m * (quarter + 1) / 4;
            let here = steps.iter().filter(|&&k| windows.contains(&(k as usize)));
            2 * here.count() >= windows.count()
        };
        let windows = match m >= MIN_STEPPED_WINDOWS && (0..4).all(is_stepped) {
            true => steps,
            false => lasting_records(&minima),
        };
        let n = series.boundaries();
        Self {
            plateau: n - windows.last().map_or(0, |&nth| lead + nth * window),
            // The rise lies between the minimum of the window before and that of this one.
            at: windows
                .iter()
                .map(|&nth| lead + 1 + nth.saturating_sub(2) * window)
                .collect(),
            level: minima,
            bytes: trailing_minima(&series.bytes, window as usize),
            blocks: trailing_minima(&series.blocks, window as usize),
            floor: floor(&series.bytes),
            boundaries: n,
            certain: n,
            by: RisesBy::Troughs,
            longest_lifetime: series.longest_lifetime(),
            criteria,
        }
    }

    /// The rises of window minima for windows of several lengths, the shortest first.
    pub(super) fn of_all_window_minima(
        series: &Series,
        criteria: Criteria,
    ) -> [Self; WINDOW_COUNT] {
        let window = series.longest_lifetime() + 1;
        WINDOWS.map(|times| Self::of_window_minima(series, times * window, criteria))
    }

    /// The given rises of the floor, as far as they are certain.
    fn of_certain(series: &Series, criteria: Criteria, mut at: Vec<u32>, level: &[u64]) -> Self {
        let certain = certain(series);
        let floor = floor(&series.bytes);
        let is_uncertain = at.iter().any(|&k| k > certain);
        at.retain(|&k| k <= certain);
        let known_up_to = if is_uncertain {
            certain
        } else {
            series.boundaries()
        };
        Self {
            boundaries: series.boundaries(),
            plateau: known_up_to.saturating_sub(at.last().copied().unwrap_or(0)),
            at,
            level: level[..certain as usize].to_vec(),
            blocks: series.blocks[..certain as usize].to_vec(),
            bytes: floor[..certain as usize].to_vec(),
            floor,
            certain,
            by: RisesBy::Floor,
            longest_lifetime: series.longest_lifetime(),
            criteria,
        }
    }

    /// Removes all rises unless they are dense in each quarter of their span.
    fn clear_unless_dense(&mut self) {
        let (first, span) = (self.first(), self.span());
        let is_dense = |n: u32| {
            let quarter = first + span * n / 4..first + span * (n + 1) / 4;
            let here = self.at.iter().filter(|&k| quarter.contains(k)).count();
            here as u32 * DENSE_EVERY * 4 >= span
        };
        if !(0..4).all(is_dense) {
            self.at.clear();
        }
    }

    /// The bytes that are retained at the last certain boundary.
    pub(super) fn retained_bytes(&self) -> u64 {
        self.bytes.last().copied().unwrap_or(0)
    }

    pub(super) fn count(&self) -> usize {
        self.at.len()
    }

    /// The boundary of the first rise; 0 if there is none.
    pub(super) fn first(&self) -> u32 {
        self.at.first().copied().unwrap_or(0)
    }

    /// The boundary of the last rise; 0 if there is none.
    pub(super) fn last(&self) -> u32 {
        self.at.last().copied().unwrap_or(0)
    }

    /// Cycles from the first rise to the last.
    pub(super) fn span(&self) -> u32 {
        self.last() - self.first()
    }

    /// The longest distance between two consecutive rises, in cycles; 1 if there is only one rise.
    pub(super) fn longest_gap(&self) -> u32 {
        let gaps = self.at.windows(2).map(|w| w[1] - w[0]);
        gaps.max().unwrap_or(1)
    }
}

/// The last boundary for which it is certain what is retained.
fn certain(series: &Series) -> u32 {
    series.boundaries() - series.longest_lifetime().min(series.boundaries())
}
