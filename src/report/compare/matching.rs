//! Which call sites of two runs are the same, and how each changed.

use std::collections::{HashMap, VecDeque};

use super::comparison::{Became, Change, Comparison, SCHEMA};
use super::figures;
use crate::model::process::Part;
use crate::model::report::{CallSite, Report};
use crate::model::run::Phase;
use crate::model::verdict::{FEWEST_CYCLES, Verdict};

/// Compares an earlier run with a later one.
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let (before, after) = (&before.cleaned(), &after.cleaned());
    let runs = [
        Coverage::of(before, after.workload.as_str()),
        Coverage::of(after, before.workload.as_str()),
    ];
    let (matched, gone) = matched(&before.call_sites, &after.call_sites);
    let mut changes: Vec<Change> = Vec::new();
    for (site, old) in after.call_sites.iter().zip(matched) {
        changes.extend(of_site(old, Some(site), runs));
    }
    changes.extend(gone.iter().filter_map(|old| of_site(Some(old), None, runs)));
    for part in &after.process.parts {
        let old = before.process.parts.iter().find(|p| p.what == part.what);
        changes.extend(of_part(old, part, runs[1]));
    }
    let weight = |c: &Change| c.after.or(c.before).unwrap_or(0.0);
    changes.sort_by(|a, b| {
        a.became
            .cmp(&b.became)
            .then(weight(b).total_cmp(&weight(a)))
    });
    Comparison {
        schema: SCHEMA,
        workloads: [before.workload.clone(), after.workload.clone()],
        verdicts: [before.verdict.name(), after.verdict.name()],
        changes,
        figures: figures::of(before, after),
        warnings: figures::warnings(before, after),
    }
}

/// What two call sites must have in common to be the same, besides the phase.
#[derive(Clone, Copy)]
struct Rule {
    /// The stack by its fingerprint, else function and file.
    stack: bool,
    line: bool,
    rate: bool,
}

/// What a call site has of that.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    phase: Phase,
    names: (&'a str, Option<&'a str>),
    line: Option<u32>,
    rate: Option<u64>,
}

impl Rule {
    /// The closest match first: two lines of one function may have one fingerprint.
    const ALL: [Self; 6] = [
        Self::new(true, true, true),
        Self::new(true, false, true),
        Self::new(true, true, false),
        Self::new(true, false, false),
        Self::new(false, true, false),
        Self::new(false, false, false),
    ];

    const fn new(stack: bool, line: bool, rate: bool) -> Self {
        Self { stack, line, rate }
    }

    fn key(self, site: &CallSite) -> Key<'_> {
        // Both zeros are equal.
        let rate = site.bytes_per_cycle.map(|rate| (rate + 0.0).to_bits());
        Key {
            phase: site.phase,
            names: match self.stack {
                true => (&site.fingerprint, None),
                false => (&site.function, site.file.as_deref()),
            },
            line: site.line.filter(|_| self.line),
            rate: rate.filter(|_| self.rate),
        }
    }
}

/// The earlier call site of each later one, and the earlier ones that are left.
pub(super) fn matched<'a>(
    before: &'a [CallSite],
    after: &[CallSite],
) -> (Vec<Option<&'a CallSite>>, Vec<&'a CallSite>) {
    let mut left: Vec<Option<&CallSite>> = before.iter().map(Some).collect();
    let mut matched: Vec<Option<&CallSite>> = vec![None; after.len()];
    for rule in Rule::ALL {
        let mut of_key: HashMap<Key<'_>, VecDeque<usize>> = HashMap::new();
        for (i, old) in left.iter().enumerate() {
            if let Some(old) = old.filter(|old| !rule.stack || !old.stack.is_empty()) {
                of_key.entry(rule.key(old)).or_default().push_back(i);
            }
        }
        for (site, matched) in after.iter().zip(&mut matched) {
            if matched.is_none()
                && let Some(i) = of_key
                    .get_mut(&rule.key(site))
                    .and_then(VecDeque::pop_front)
            {
                *matched = left[i].take();
            }
        }
    }
    (matched, left.into_iter().flatten().collect())
}

/// Growth that a run can be relied on to show.
#[derive(Clone, Copy)]
struct Coverage {
    /// Whether it completed, was long enough, and was of the same workload as the other run.
    is_comparable: bool,
    /// Growth in bytes per cycle below which sampling may have missed a call site.
    missed_below: f64,
}

impl Coverage {
    fn of(report: &Report, other_workload: &str) -> Self {
        let after_warmup = report.cycles_run().saturating_sub(report.warmup);
        Self {
            is_comparable: report.ended.is_complete()
                && after_warmup >= FEWEST_CYCLES
                && report.workload == other_workload,
            missed_below: report.sampling.map_or(0.0, |s| s.missed_below),
        }
    }

    /// Whether the run would have shown such growth. `site` is its matching call site, if it has one.
    fn would_show(self, growth: &Growth, site: Option<&CallSite>) -> bool {
        let undecided = site.filter(|s| s.verdict == Verdict::Undecided);
        let may_grow_by = undecided
            .and_then(|s| s.bytes_per_cycle_interval)
            .map_or(0.0, |i| i.1);
        self.is_comparable && growth.interval.0 > self.missed_below.max(may_grow_by)
    }
}

/// Growth per cycle, with its confidence interval.
struct Growth {
    rate: f64,
    interval: (f64, f64),
}

fn growth(site: &CallSite, run: Coverage) -> Option<Growth> {
    let rate = site.bytes_per_cycle.filter(|_| site.verdict.is_growth())?;
    let (low, high) = site.bytes_per_cycle_interval.unwrap_or((rate, rate));
    // One in twenty estimates is outside of its 95 % interval. With many call sites some will be.
    let wider = if run.missed_below > 0.0 { 2.0 } else { 1.0 };
    Some(Growth {
        rate,
        interval: (rate - (rate - low) * wider, rate + (high - rate) * wider),
    })
}

/// The change of what grows in both runs.
fn of_both(before: &Growth, after: &Growth) -> Became {
    if after.interval.0 > before.interval.1 {
        Became::Worse
    } else if after.interval.1 < before.interval.0 {
        Became::Better
    } else {
        Became::Same
    }
}

fn of_site(
    before: Option<&CallSite>,
    after: Option<&CallSite>,
    runs: [Coverage; 2],
) -> Option<Change> {
    let [earlier, later] = runs;
    let old = before.and_then(|s| growth(s, earlier));
    let new = after.and_then(|s| growth(s, later));
    let is_open = |s: Option<&CallSite>| s.is_some_and(|s| s.verdict == Verdict::Undecided);
    let became = match (&old, &new) {
        (None, None) if is_open(after) && !is_open(before) => Became::Open,
        (None, None) => return None,
        // Not new, if the earlier run could not have shown it.
        (None, Some(new)) if earlier.is_comparable && !earlier.would_show(new, before) => {
            Became::Open
        }
        (None, Some(_)) => Became::New,
        (Some(_), None) if is_open(after) => Became::Open,
        (Some(old), None) if !later.would_show(old, after) => Became::Open,
        (Some(_), None) => Became::Fixed,
        (Some(old), Some(new)) => of_both(old, new),
    };
    let site = after.or(before)?;
    Some(Change {
        became,
        function: site.function.clone(),
        location: site.location(),
        phase: Some(site.phase.name()),
        before: old.map(|g| g.rate),
        after: new.map(|g| g.rate),
        allowed: site.allowed.clone(),
        fingerprint: Some(site.fingerprint.clone()),
        in_bytes: true,
    })
}

fn of_part(before: Option<&Part>, after: &Part, later: Coverage) -> Option<Change> {
    let growth = |part: &Part| {
        let rate = part.per_cycle.filter(|_| part.verdict.is_growth())?;
        // The kernel's figures vary from run to run: 10 % is no change.
        Some(Growth {
            rate,
            interval: (rate * 0.9, rate * 1.1),
        })
    };
    let (old, new) = (before.and_then(growth), growth(after));
    let became = match (&old, &new) {
        (None, None) => return None,
        (None, Some(_)) => Became::New,
        (Some(_), None) if after.verdict == Verdict::Undecided || !later.is_comparable => {
            Became::Open
        }
        (Some(_), None) => Became::Fixed,
        (Some(old), Some(new)) => of_both(old, new),
    };
    Some(Change {
        became,
        function: after.what.name().into(),
        location: String::new(),
        phase: None,
        before: old.map(|g| g.rate),
        after: new.map(|g| g.rate),
        allowed: None,
        fingerprint: None,
        in_bytes: after.what.is_in_bytes(),
    })
}
