//! The verdict that rises by one definition allow.

use super::interim::Criteria;
use super::judgement::Judgement;
use super::levels::slope_without_growth;
use super::rhythm::Halves;
use super::rises::Rises;
use super::series::Series;
use super::thresholds::MIN_RISES;
use crate::base::statistics::Slope;
use crate::model::verdict::{Evidence, Rule, Verdict};

impl Rises {
    /// The judgement that these rises alone allow; `None` if there are none.
    pub(super) fn judge(&self) -> Option<Judgement> {
        if self.at.is_empty() {
            return None;
        }
        if self.has_stopped() {
            return Some(Judgement {
                settled: self.is_settled(),
                ..self.conclude(Verdict::Cache, Rule::Stopped, self.why_stopped())
            });
        }
        let judged = match self.continues() {
            true if self.confirmed_span() >= self.criteria.horizon => match self.slower_amounts() {
                Some(halves) => return Some(self.judge_slower(halves)),
                None if self.are_peaks() => {
                    let more = self.cycles_until_no_peaks();
                    self.open(self.why_peaks(more), more)
                }
                None => Judgement {
                    settled: !self.may_become_slower(),
                    ..self.conclude(Verdict::Leak, Rule::Horizon, self.why_leak())
                },
            },
            true => {
                let more = self.criteria.horizon - self.confirmed_span() + self.longest_gap();
                self.conclude(Verdict::Growing, Rule::NotYet, self.why_growing(more))
                    .needing(more)
            }
            false => {
                let more = self.plateau_needed().saturating_sub(self.plateau);
                let more = more.max(MIN_RISES as u32);
                self.open(self.why_undecided(more), more)
            }
        };
        Some(self.with_slopes(judged))
    }

    /// The judgement on rises beyond the horizon that become slower.
    fn judge_slower(&self, halves: Halves) -> Judgement {
        let more = self.span();
        let reason = self.why_slower(halves, more);
        Judgement {
            bytes_per_cycle: Some(Slope {
                value: halves.second,
                low: halves.second,
                high: halves.first,
            }),
            blocks_per_cycle: self.slope(&self.blocks),
            ..self.conclude(Verdict::Growing, Rule::Slower, reason)
        }
        .needing(more)
    }

    /// The judgement that these rises alone allow, if it is growth.
    pub(super) fn judge_growth(&self) -> Option<Judgement> {
        self.judge().filter(Judgement::is_growth)
    }

    /// A verdict with the figures of these rises. It is settled unless it is one that more cycles
    /// may change.
    pub(super) fn conclude(&self, verdict: Verdict, rule: Rule, reason: String) -> Judgement {
        // If the growth has stopped: the slope since then.
        let since = self.last().saturating_sub(1) as usize;
        let rest = |of: &[u64]| {
            let slope = slope_without_growth(of.get(since..)?, 1);
            slope.filter(|_| verdict < Verdict::Undecided)
        };
        Judgement {
            verdict,
            reason,
            settled: !matches!(verdict, Verdict::Growing | Verdict::Undecided),
            bytes_per_cycle: rest(&self.bytes),
            blocks_per_cycle: rest(&self.blocks),
            evidence: Evidence {
                rule,
                rises_by: self.by,
                rises: self.at.clone(),
                span: self.confirmed_span(),
                longest_gap: self.longest_gap(),
                quiet: self.plateau,
                quiet_needed: self.plateau_needed(),
                longest_life: self.longest_lifetime,
                chance: self.p_value(),
                significance: self.criteria.significance(),
                analyses: self.criteria.analysis,
                more_cycles: None,
            },
            retained_every_cycle: None,
        }
    }

    /// No verdict yet: `more_cycles` are needed, at least.
    pub(super) fn open(&self, reason: String, more_cycles: u32) -> Judgement {
        self.conclude(Verdict::Undecided, Rule::Open, reason)
            .needing(more_cycles)
    }

    /// The judgement with the growth since the first rise.
    pub(super) fn with_slopes(&self, judgement: Judgement) -> Judgement {
        Judgement {
            bytes_per_cycle: self.slope(&self.bytes),
            blocks_per_cycle: self.slope(&self.blocks),
            ..judgement
        }
    }
}

/// The worst verdict of growth that any of these allows.
pub(super) fn worst_growth(rises: &[Rises]) -> Option<Judgement> {
    rises
        .iter()
        .filter_map(Rises::judge_growth)
        .max_by_key(|j| j.verdict)
}

/// The rises of the floor above everything before; if they are not growth, but its dense steps are,
/// those.
pub(super) fn growing_floor(series: &Series, criteria: Criteria) -> Rises {
    let floor = Rises::of_floor(series, criteria);
    if floor.judge_growth().is_some() {
        return floor;
    }
    let steps = Rises::of_dense_floor_steps(series, criteria);
    if steps.judge_growth().is_some() {
        steps
    } else {
        floor
    }
}
