//! Call sites of hand-made reports, matched and compared.

use super::matching::matched;
use super::{Became, Change, compare, render};
use crate::model::end::{Ended, How};
use crate::model::report::{CallSite, Report};
use crate::model::sampling::Sampling;
use crate::model::verdict::Verdict;
use crate::report::example;
use crate::report::screen::Screen;

/// A report with one leaking call site with this fingerprint, line and growth.
fn run(fingerprint: &str, line: u32, rate: f64) -> Report {
    let mut report = example::report();
    let site = &mut report.call_sites[0];
    site.fingerprint = fingerprint.into();
    site.line = Some(line);
    site.bytes_per_cycle = Some(rate);
    site.bytes_per_cycle_interval = Some((rate - 1.0, rate + 1.0));
    report
}

fn only(before: &Report, after: &Report) -> Change {
    let mut changes = compare(before, after).changes;
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes.remove(0)
}

#[test]
fn code_that_moved_is_the_same_call_site() {
    let before = run("a", 42, 100.0);
    assert_eq!(only(&before, &run("a", 99, 100.5)).became, Became::Same);
    // Another stack to the same function.
    assert_eq!(only(&before, &run("b", 42, 100.5)).became, Became::Same);
    assert_eq!(only(&before, &run("a", 42, 200.0)).became, Became::Worse);
    assert_eq!(only(&before, &run("a", 42, 50.0)).became, Became::Better);
}

#[test]
fn new_and_fixed_call_sites_are_distinguished() {
    let leaks = run("a", 42, 100.0);
    let mut clean = run("a", 42, 0.0);
    clean.call_sites.clear();
    assert_eq!(only(&clean, &leaks).became, Became::New);
    assert_eq!(only(&leaks, &clean).became, Became::Fixed);
    let mut cache = run("a", 42, 0.0);
    cache.call_sites[0].verdict = Verdict::Cache;
    assert_eq!(only(&cache, &leaks).became, Became::New);
    assert_eq!(only(&leaks, &cache).became, Became::Fixed);
    cache.call_sites[0].verdict = Verdict::Undecided;
    cache.call_sites[0].bytes_per_cycle = None;
    let open = compare(&leaks, &cache);
    assert_eq!(
        open.changes[0].became,
        Became::Open,
        "undecided is not fixed"
    );
    let mut elsewhere = run("b", 7, 100.0);
    elsewhere.call_sites[0].function = "serving::cache".into();
    let both = compare(&leaks, &elsewhere);
    let became: Vec<Became> = both.changes.iter().map(|c| c.became).collect();
    assert_eq!(became, [Became::New, Became::Fixed]);
    assert_eq!(both.summary(), "1 new, 1 fixed");
}

#[test]
fn of_two_lines_with_one_fingerprint_each_matches_itself() {
    let both = |rates: [(u32, f64); 2]| {
        let mut report = run("a", rates[0].0, rates[0].1);
        let mut other = report.call_sites[0].clone();
        (other.line, other.bytes_per_cycle) = (Some(rates[1].0), Some(rates[1].1));
        other.bytes_per_cycle_interval = None;
        report.call_sites.insert(1, other);
        report
    };
    let mut one = both([(29, 283.0), (99, 0.0)]);
    one.call_sites.remove(1);
    let changes = compare(&one, &both([(28, 554.0), (29, 283.0)])).changes;
    let found: Vec<(Became, &str)> = changes
        .iter()
        .map(|c| (c.became, &c.location[..]))
        .collect();
    assert_eq!(
        found,
        [
            (Became::New, "app/reload.rs:28"),
            (Became::Same, "app/reload.rs:29")
        ]
    );
}

#[test]
fn very_many_call_sites_are_matched_without_comparing_each_with_each() {
    let site = run("a", 1, 100.0).call_sites.remove(0);
    let before: Vec<CallSite> = (0..50_000)
        .map(|n| CallSite {
            fingerprint: n.to_string(),
            stack: site.stack[..1].to_vec(),
            ..site.clone()
        })
        .collect();
    let after: Vec<CallSite> = before.iter().rev().cloned().collect();
    let (matched, left) = matched(&before, &after);
    assert!(left.is_empty());
    let pairs = after.iter().zip(matched);
    for (new, old) in pairs {
        assert_eq!(old.map(|old| &old.fingerprint), Some(&new.fingerprint));
    }
}

#[test]
fn what_a_run_could_not_show_is_neither_fixed_nor_new() {
    let leaks = run("a", 42, 100.0);
    let mut clean = run("a", 42, 0.0);
    clean.call_sites.clear();
    let mut cut = clean.clone();
    cut.boundaries.truncate(4);
    assert_eq!(only(&leaks, &cut).became, Became::Open, "too short");
    let mut failed = clean.clone();
    failed.ended = Ended::new(How::TimedOut, None);
    assert_eq!(only(&leaks, &failed).became, Became::Open);
    let mut elsewhere = clean.clone();
    elsewhere.workload = "other".into();
    assert_eq!(only(&leaks, &elsewhere).became, Became::Open);
    let mut sampled = clean.clone();
    sampled.sampling = Some(Sampling {
        every_bytes: 1 << 19,
        live_bytes_interval: (0, 0),
        missed_below: 8180.0,
    });
    assert_eq!(only(&leaks, &sampled).became, Became::Open);
    assert_eq!(only(&sampled, &leaks).became, Became::Open);
    assert_eq!(only(&sampled, &run("a", 42, 9000.0)).became, Became::New);
}

#[test]
fn allowed_growth_does_not_count() {
    let mut clean = run("a", 42, 0.0);
    clean.call_sites.clear();
    let mut allowed = run("a", 42, 100.0);
    allowed.call_sites[0].allowed = Some("known".into());
    assert_eq!(compare(&clean, &allowed).count(Became::New), 0);
}

#[test]
fn the_table_reads_at_80_columns() {
    let mut after = run("a", 99, 2_097_152.0);
    after.workload = "mine\u{1b}[31m".into();
    after.heap = crate::HeapKind::Jemalloc;
    let screen = Screen {
        color: false,
        width: 80,
    };
    let text = render(&compare(&run("a", 42, 1_048_576.0), &after), screen);
    insta::assert_snapshot!(text);
}
