//! The verdict on one call site with its figures, and how later findings change it.

use super::thresholds::DENSE_EVERY;
use crate::base::statistics::Slope;
use crate::base::text::count;
use crate::model::verdict::{Evidence, Rule, Verdict};

/// The number of generations with lost survivors from which growth is a leak without waiting for
/// the horizon.
const LOST_GENERATIONS: u32 = 5;

/// The verdict on one call site, or on a part of the process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// Why, in words.
    pub(crate) reason: String,
    /// More cycles are not expected to change the verdict.
    pub(crate) settled: bool,
    /// Growth in bytes per cycle; `None` if it is not known.
    pub(crate) bytes_per_cycle: Option<Slope>,
    /// Growth in blocks per cycle; `None` if it is not known.
    pub(crate) blocks_per_cycle: Option<Slope>,
    pub(crate) evidence: Evidence,
    /// If a generation born in the load is retained in every cycle: the bytes of the smallest.
    pub(super) retained_every_cycle: Option<u64>,
}

impl Judgement {
    pub(super) fn is_growth(&self) -> bool {
        self.verdict.is_growth()
    }

    /// Sets how many more cycles are needed, at least, to settle the verdict.
    pub(super) fn needing(mut self, more_cycles: u32) -> Self {
        self.evidence.more_cycles = Some(more_cycles);
        self
    }

    /// Withdraws the verdict: `more_cycles` are needed, at least, to settle it. The figures stay.
    pub(crate) fn undecided(mut self, more_cycles: u32) -> Self {
        self.verdict = Verdict::Undecided;
        self.settled = false;
        self.evidence.rule = Rule::Open;
        self.needing(more_cycles)
    }

    /// Withdraws the verdict because the growth is still so small that the system itself may
    /// explain it. Dense rises beyond the horizon are reported as such.
    pub(crate) fn undecided_for_size(self, more_cycles: u32) -> Self {
        let is_dense = self.evidence.rises.len() as u32 * DENSE_EVERY >= self.evidence.span;
        let rule = match self.verdict {
            Verdict::Leak if is_dense => Rule::TooLittle,
            _ => Rule::Open,
        };
        let mut judgement = self.undecided(more_cycles);
        judgement.evidence.rule = rule;
        judgement
    }

    /// Replaces the verdict by churn: the level varies, but does not grow. The figures stay.
    pub(crate) fn churn(mut self) -> Self {
        self.verdict = Verdict::Churn;
        self.settled = true;
        self.evidence.rule = Rule::Young;
        self.evidence.more_cycles = None;
        self
    }

    /// Whether lost survivors would make it a leak, so that a holder search may settle it.
    pub(crate) fn may_be_lost(&self) -> bool {
        let may_grow = matches!(self.verdict, Verdict::Growing | Verdict::Undecided);
        may_grow && self.evidence.rises.len() as u32 >= LOST_GENERATIONS
    }

    /// Calls possible growth a leak if enough generations have lost survivors: a cache can reach
    /// its entries.
    pub(crate) fn call_lost(&mut self, generations: u32) {
        if generations < LOST_GENERATIONS {
            return;
        }
        let lost = format!(
            "survivors of {generations} generations are lost: no memory that the program can reach \
             points to them"
        );
        if self.evidence.rule == Rule::ModelSized {
            // Neither a cache nor a sweep can explain it any more.
            self.reason = format!(
                "a generation is retained in every cycle, and together they are whole models; {lost}"
            );
        }
        if let Some((growth, _)) = self.reason.split_once(". If this is a cache")
            && self.evidence.rule == Rule::Horizon
        {
            self.reason = format!("{growth}; {lost}");
        }
        if !self.may_be_lost() {
            return;
        }
        self.verdict = Verdict::Leak;
        self.settled = true;
        self.evidence.rule = Rule::Lost;
        self.evidence.more_cycles = None;
        self.reason = format!(
            "{lost}, so no cache holds them. Pointers that are stored in another form (compressed, \
             encrypted, tagged in their high bits) or outside of the process's memory (in the kernel, \
             in a file that is not mapped) are not seen: without the holder search (--no-holders, \
             `Check::without_holders`) the verdict waits for the horizon"
        );
    }

    /// Takes growth back that is garbage of Python's: its collector frees it when it comes. `cycles` have passed since
    /// the first of it was allocated.
    pub(crate) fn call_garbage(&mut self, cycles: u32) {
        if !matches!(self.verdict, Verdict::Leak | Verdict::Growing) {
            return;
        }
        self.verdict = Verdict::Undecided;
        self.evidence.rule = Rule::Garbage;
        self.evidence.more_cycles = None;
        self.reason = format!(
            "what is retained refers only to itself, so that Python's collector of garbage frees it when it comes; it \
             has not come for {}. hint: --collect collects at the begin of each cycle, and tells what is left",
            count(cycles, "cycle")
        );
    }
}
