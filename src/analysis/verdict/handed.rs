//! What several lines of code hold in turn: a log that one grows and another shrinks, a map that is
//! written to from three methods. At each of them all that is held goes now and then, and it seems to
//! be churn; together it may grow for ever.

use std::collections::BTreeMap;

use super::rises::Rises;
use super::{Generation, Judgement, Series, Terms, judge};
use crate::model::verdict::{Rule, Verdict};

/// Lines that are compared with each other: those that held the most.
const MOST_COMPARED: usize = 128;

/// Standard deviations by which lines must change against each other to belong together: of a pair
/// that has nothing to do with each other one in a thousand does.
const AGAINST: f64 = 3.0;

/// Judges what call sites hold in turn, all that seem to turn over taken together, and those that change
/// against each other: what one holds less another holds more. Of growth the call site that holds the
/// most of it lately is named.
pub(crate) fn judge_handed_over(judgements: &mut [Judgement], series: &[Series], terms: Terms) {
    let turn_over = [Rule::Young, Rule::Replaced];
    let mut all = members(judgements, series, &turn_over);
    all.sort_by_key(|&i| std::cmp::Reverse(held_lately(&series[i])));
    let apart = groups_of(&all[..all.len().min(MOST_COMPARED)], series);
    let apart = apart.iter().filter(|group| group.len() < all.len());
    for group in std::iter::once(&all).chain(apart) {
        if group.len() > 1 && turn_over.contains(&judgements[group[0]].evidence.rule) {
            judge_group(group, judgements, series, terms);
        }
    }
    judge_container(judgements, series, terms);
}

/// The call sites on which one of these rules has decided, and that something was born at.
fn members(judgements: &[Judgement], series: &[Series], rules: &[Rule]) -> Vec<usize> {
    (0..judgements.len())
        .filter(|&i| rules.contains(&judgements[i].evidence.rule))
        .filter(|&i| !series[i].generations.is_empty())
        .collect()
}

/// A container that grows by factors is too seldom handed on for its lines to change against each
/// other, and at most of them it seems to have been full once, or never to have been: all that does
/// not grow is looked at as if it were one container.
fn judge_container(judgements: &mut [Judgement], series: &[Series], terms: Terms) {
    let bounded = [Rule::Young, Rule::Replaced, Rule::Stopped];
    let members = members(judgements, series, &bounded);
    let held = |&&i: &&usize| series[i].bytes.last().copied();
    let Some(&holder) = members.iter().max_by_key(held) else {
        return;
    };
    let together = Series::together(members.iter().map(|&i| &series[i]));
    if let Some(judged) = Rises::judge_growth_by_factors(&together, terms) {
        judgements[holder] = with_others(members.len() - 1, judged);
    }
}

/// The judgement on call sites as that on the one which is named.
fn with_others(others: usize, judged: Judgement) -> Judgement {
    let lines = if others == 1 {
        "another line"
    } else {
        "other lines"
    };
    Judgement {
        reason: format!(
            "with what {lines} ({others}) hold in turn: {}",
            judged.reason
        ),
        every_cycle: None,
        ..judged
    }
}

/// Judges these call sites as one. The first has held the most.
fn judge_group(group: &[usize], judgements: &mut [Judgement], series: &[Series], terms: Terms) {
    let together = Series::together(group.iter().map(|&i| &series[i]));
    let judged = judge(&together, terms);
    let first = &mut judgements[group[0]];
    if judged.verdict < Verdict::Undecided {
        first.settled &= judged.settled;
        return;
    }
    *first = with_others(group.len() - 1, judged);
}

/// Bytes held at the boundaries of the second half, in all.
fn held_lately(series: &Series) -> u64 {
    series.bytes[series.bytes.len() / 2..].iter().sum()
}

/// The members that change against each other, directly or by way of others: groups of two and more,
/// each in the order of the members.
fn groups_of(members: &[usize], series: &[Series]) -> Vec<Vec<usize>> {
    let changes = |&i: &usize| {
        let bytes = series[i].bytes.windows(2);
        bytes.map(|w| w[1] as f64 - w[0] as f64).collect::<Vec<_>>()
    };
    let changes: Vec<Vec<f64>> = members.iter().map(changes).collect();
    let mut group: Vec<usize> = (0..members.len()).collect();
    for a in 0..members.len() {
        for b in a + 1..members.len() {
            if group[a] != group[b] && is_against(&changes[a], &changes[b]) {
                let (joined, into) = (group[b], group[a]);
                group
                    .iter_mut()
                    .filter(|g| **g == joined)
                    .for_each(|g| *g = into);
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (&member, group) in members.iter().zip(group) {
        groups.entry(group).or_default().push(member);
    }
    groups.into_values().filter(|g| g.len() > 1).collect()
}

/// Whether one falls when the other rises, by about as much. Each step counts by how alike the two
/// changes are, for it if they are opposite, against it if not: a sign test with weights, whose sum
/// has the variance of the sum of their squares if the signs have nothing to do with each other.
fn is_against(a: &[f64], b: &[f64]) -> bool {
    let (mut sum, mut squares) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let most = a.abs().max(b.abs());
        if most > 0.0 {
            let alike = a.abs().min(b.abs()) / most;
            sum -= alike * (a * b).signum();
            squares += alike * alike;
        }
    }
    sum > AGAINST * squares.sqrt() && squares > 0.0
}

impl Series {
    /// All that several call sites hold.
    fn together<'a>(call_sites: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        let mut by_birth: BTreeMap<u32, Generation> = BTreeMap::new();
        for site in call_sites {
            let n = site.bytes.len().max(all.bytes.len());
            all.bytes.resize(n, 0);
            all.blocks.resize(n, 0);
            for k in 0..site.bytes.len() {
                all.bytes[k] += site.bytes[k];
                all.blocks[k] += site.blocks[k];
            }
            all.earlier_life = all.earlier_life.max(site.earlier_life);
            for g in &site.generations {
                let of_all = by_birth.entry(g.born).or_insert(Generation {
                    bytes: 0,
                    blocks: 0,
                    ..*g
                });
                of_all.died = of_all.died.zip(g.died).map(|(a, b)| a.max(b));
                of_all.bytes += g.bytes;
                of_all.blocks += g.blocks;
            }
        }
        let n = all.bytes.len() as u32;
        all.living = vec![0; n as usize];
        for g in by_birth.values() {
            let end = g.died.map_or(n, |d| (d - 1).min(n));
            for living in &mut all.living[(g.born.max(1) - 1) as usize..end as usize] {
                *living += 1;
            }
        }
        all.generations = by_birth.into_values().collect();
        all
    }
}
