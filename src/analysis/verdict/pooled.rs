//! Call sites that hold the same memory in turn, judged as one.
//!
//! Examples are a log that one function appends to and another shrinks, or a map that three methods
//! insert into: each reallocates the buffer at its own call site. At each of them all memory is
//! freed from time to time, which looks like churn; their sum may grow without bound.

use std::cmp::Reverse;

use super::call_site::judge;
use super::containers::judge_growing_container;
use super::interim::Criteria;
use super::judgement::Judgement;
use super::series::Series;
use crate::base::order::sort_by_key;
use crate::base::text::count;
use crate::model::verdict::{Rule, Verdict};

/// The maximum number of call sites that are compared pairwise: those that held the most.
const MAX_COMPARED: usize = 128;

/// The number of standard deviations by which two call sites must change against each other. Of
/// independent pairs about one in a thousand does.
const OPPOSITE_DEVIATIONS: f64 = 3.0;

/// Judges call sites that hold memory in turn: the sum of all that seem to be replaced, and of each
/// set of call sites where one loses what another gains. If a sum grows, the verdict goes to the
/// call site that held the most of it in the second half of the run.
pub(crate) fn judge_pooled(judgements: &mut [Judgement], series: &[Series], criteria: Criteria) {
    let replaced = [Rule::Young, Rule::Replaced];
    let mut all = decided_by(judgements, series, &replaced);
    sort_by_key(&mut all, |&i| Reverse(held_recently(&series[i])));
    let sets = sets_of_opposites(&all[..all.len().min(MAX_COMPARED)], series);
    let sets = sets.iter().filter(|set| set.len() < all.len());
    for set in std::iter::once(&all).chain(sets) {
        if set.len() > 1 && replaced.contains(&judgements[set[0]].evidence.rule) {
            judge_set(set, judgements, series, criteria);
        }
    }
    judge_shared_container(judgements, series, criteria);
}

/// The call sites that one of these rules has decided, and that allocated after the baseline.
fn decided_by(judgements: &[Judgement], series: &[Series], rules: &[Rule]) -> Vec<usize> {
    (0..judgements.len())
        .filter(|&i| rules.contains(&judgements[i].evidence.rule))
        .filter(|&i| !series[i].generations.is_empty())
        .collect()
}

/// Judges the sum of all call sites that do not grow as if it were one container.
///
/// A container whose capacity grows by a factor is reallocated too rarely for its call sites to
/// show opposite changes. Each of them seems to have stopped growing, or never to have grown.
fn judge_shared_container(judgements: &mut [Judgement], series: &[Series], criteria: Criteria) {
    let bounded = [Rule::Young, Rule::Replaced, Rule::Stopped];
    let sites = decided_by(judgements, series, &bounded);
    let held = |&&i: &&usize| series[i].bytes.last().copied();
    let Some(&largest) = sites.iter().max_by_key(held) else {
        return;
    };
    let sum = Series::pooled(sites.iter().map(|&i| &series[i]));
    if let Some(judged) = judge_growing_container(&sum, criteria) {
        judgements[largest] = with_others(sites.len() - 1, judged);
    }
}

/// Judges the sum of these call sites. The first has held the most.
fn judge_set(set: &[usize], judgements: &mut [Judgement], series: &[Series], criteria: Criteria) {
    let sum = Series::pooled(set.iter().map(|&i| &series[i]));
    let judged = judge(&sum, criteria);
    let first = &mut judgements[set[0]];
    if judged.verdict < Verdict::Undecided {
        first.settled &= judged.settled;
        return;
    }
    *first = with_others(set.len() - 1, judged);
}

/// The judgement on several call sites, worded for the one that gets it.
fn with_others(others: usize, judged: Judgement) -> Judgement {
    let (others, verb) = match others {
        1 => ("1 other call site".to_owned(), "holds"),
        n => (count(n as u64, "other call site"), "hold"),
    };
    Judgement {
        reason: format!(
            "together with {others}, which {verb} the same memory in turn: {}",
            judged.reason
        ),
        retained_every_cycle: None,
        ..judged
    }
}

/// The sum of the bytes held at the boundaries of the second half.
fn held_recently(series: &Series) -> u64 {
    series.bytes[series.bytes.len() / 2..].iter().sum()
}

/// The sets of two or more call sites that are connected by opposite changes, directly or through
/// others. Each set keeps the order of `sites`.
fn sets_of_opposites(sites: &[usize], series: &[Series]) -> Vec<Vec<usize>> {
    let changes = |&i: &usize| {
        let bytes = series[i].bytes.windows(2);
        bytes.map(|w| w[1] as f64 - w[0] as f64).collect::<Vec<_>>()
    };
    let changes: Vec<Vec<f64>> = sites.iter().map(changes).collect();
    // The set of each call site, named by one of its members.
    let mut set: Vec<usize> = (0..sites.len()).collect();
    for a in 0..sites.len() {
        for b in a + 1..sites.len() {
            if set[a] != set[b] && are_opposite(&changes[a], &changes[b]) {
                let (from, into) = (set[b], set[a]);
                set.iter_mut()
                    .filter(|s| **s == from)
                    .for_each(|s| *s = into);
            }
        }
    }
    let mut sets = vec![Vec::new(); sites.len()];
    for (&site, set) in sites.iter().zip(set) {
        sets[set].push(site);
    }
    sets.retain(|set| set.len() > 1);
    sets
}

/// Whether one series falls when the other rises, by about as much.
///
/// A sign test with weights: each step counts for it if the two changes are opposite and against it
/// if not, weighted by the ratio of their sizes. If the signs are independent, the variance of the
/// sum is the sum of the squared weights.
fn are_opposite(a: &[f64], b: &[f64]) -> bool {
    let (mut sum, mut squares) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let larger = a.abs().max(b.abs());
        if larger > 0.0 {
            let weight = a.abs().min(b.abs()) / larger;
            sum -= weight * (a * b).signum();
            squares += weight * weight;
        }
    }
    sum > OPPOSITE_DEVIATIONS * squares.sqrt() && squares > 0.0
}
