//! The reasons for a verdict on rises, in words.

use super::rhythm::Halves;
use super::rises::Rises;
use crate::base::text::count;
use crate::base::units::bytes;
use crate::model::verdict::RisesBy;

/// `at least 3 more cycles are needed`.
pub(super) fn at_least(more_cycles: u32) -> String {
    let verb = if more_cycles == 1 { "is" } else { "are" };
    format!(
        "at least {} {verb} needed",
        count(more_cycles, "more cycle")
    )
}

impl Rises {
    /// [`Rises::retained_bytes`] in words.
    pub(super) fn retained(&self) -> String {
        bytes(self.retained_bytes() as f64)
    }

    /// What rose and how often, as the start of a sentence.
    fn history(&self) -> String {
        let n = self.count() as u64;
        let times = count(n, "time");
        match self.by {
            RisesBy::Generations => {
                let verb = if n == 1 { "is" } else { "are" };
                format!("{} {verb} retained", count(n, "generation"))
            }
            RisesBy::Floor => format!("live bytes rose {times} and never fell back"),
            RisesBy::Troughs => format!(
                "blocks live for at most {}, but the minimum of live bytes over longer windows rose \
                 {times}",
                count(self.longest_lifetime, "cycle")
            ),
        }
    }

    /// `the latest from cycle 68 after the warm-up`, or what fits the kind of rise.
    fn latest(&self) -> String {
        let of = match self.by {
            RisesBy::Generations => "the latest from",
            RisesBy::Floor | RisesBy::Troughs => "most recently in",
        };
        format!("{of} cycle {} after the warm-up", self.last())
    }

    pub(super) fn why_leak(&self) -> String {
        let (none_freed, size) = match self.by {
            RisesBy::Generations => (
                "none was freed; ",
                format!(
                    "{} ({})",
                    count(self.count() as u64, "entry"),
                    self.retained()
                ),
            ),
            RisesBy::Floor | RisesBy::Troughs => ("", self.retained()),
        };
        format!(
            "{}, {}; {none_freed}this is beyond the horizon of {}. If this is a cache, it holds \
             more than {size}",
            self.history(),
            self.latest(),
            count(self.criteria.horizon, "cycle"),
        )
    }

    pub(super) fn why_growing(&self, more_cycles: u32) -> String {
        format!(
            "{}, {}, and the growth continues, but the run ended before the horizon of {}; {} \
             would tell a leak from a cache",
            self.history(),
            self.latest(),
            count(self.criteria.horizon, "cycle"),
            count(more_cycles, "more cycle"),
        )
    }

    /// `halves` are the bytes per cycle in the first half of the time and in the second.
    pub(super) fn why_slower(&self, halves: Halves, more_cycles: u32) -> String {
        let level = self.floor.last().copied().unwrap_or(0) as f64;
        let limit = match halves.levels_off_at(level) {
            Some(limit) => format!("; at this pace it levels off at about {}", bytes(limit)),
            None => String::new(),
        };
        format!(
            "{}, {}, beyond the horizon of {}, but ever more slowly: by {} per cycle in the first \
             half of that time and by {} in the second{limit}; {} would tell a leak from a cache \
             that fills",
            self.history(),
            self.latest(),
            count(self.criteria.horizon, "cycle"),
            bytes(halves.first),
            bytes(halves.second),
            count(more_cycles, "more cycle"),
        )
    }

    pub(super) fn why_peaks(&self, more_cycles: u32) -> String {
        format!(
            "{}, {}, beyond the horizon of {}, but as rarely as the highest need so far occurs where \
             needs vary at random: {} to tell a leak from a pool that keeps what it once needed",
            self.history(),
            self.latest(),
            count(self.criteria.horizon, "cycle"),
            at_least(more_cycles),
        )
    }

    pub(super) fn why_stopped(&self) -> String {
        format!(
            "{}, {}; there was no rise in the last {}, at least as many as the growth took; {} \
             allocated after the warm-up are retained",
            self.history(),
            self.latest(),
            count(self.plateau, "cycle"),
            self.retained()
        )
    }

    pub(super) fn why_undecided(&self, more_cycles: u32) -> String {
        let (slower, needed) = match self.slows_down() {
            // What is asked for at random comes ever more rarely, but it comes: with each rise the growth
            // has lasted longer, and so has to be quiet for longer.
            true => (
                ", at a falling rate",
                format!(
                    "at least {} without another rise are needed, and with each rise the count begins anew",
                    count(more_cycles, "more cycle")
                ),
            ),
            false => ("", at_least(more_cycles)),
        };
        format!(
            "{}{slower}, {}, {} ago: this is not enough to tell growth from a cache; {needed}",
            self.history(),
            self.latest(),
            count(self.plateau, "cycle"),
        )
    }
}
