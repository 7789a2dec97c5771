//! Who holds what is left: every planted case that states its holder, and what a user is told of it.

mod common;

use std::path::Path;

use afterdrop::Verdict;
use afterdrop::report::{CallSite, Kind, Report, Rule};
use afterdrop::workloads::{Entry, HolderTruth, all};
use common::{Ran, run_with};

fn run(args: &[&str]) -> Ran {
    run_with(Path::new(env!("CARGO_BIN_EXE_afterdrop")), args)
}

/// The call site at the line that the case marks.
fn marked<'r>(report: &'r Report, entry: &Entry) -> &'r CallSite {
    let truth = entry.truth().unwrap();
    let is_marked =
        |s: &&CallSite| s.file.as_deref() == Some(&truth.file) && s.line == Some(truth.line);
    let site = report.call_sites.iter().find(is_marked);
    site.unwrap_or_else(|| panic!("{}: nothing at {}:{}", entry.name(), truth.file, truth.line))
}

fn check(entry: &Entry, truth: &HolderTruth, heap: &str) {
    let name = entry.name();
    let cycles = entry.truth().unwrap().cycles.to_string();
    let ran = run(&[name, "--heap", heap, "--cycles", &cycles]);
    let report = ran.report();
    let search = report.holder_search.as_ref().unwrap();
    assert_eq!(search.failure, None, "{name}");
    assert_eq!(search.missed_threads, 0, "{name}");
    let site = marked(&report, entry);
    let holder = site.holder.as_ref();
    let holder = holder.unwrap_or_else(|| panic!("{name}: {:?}\n{}", site.holder_unknown, ran.out));
    assert_eq!(holder.kind, truth.kind, "{name}\n{}", ran.out);
    assert_eq!(
        holder.cycle_blocks, truth.cycle_blocks,
        "{name}\n{}",
        ran.out
    );
    assert!(holder.share > 0.5, "{name}: {}", holder.share);
    if !truth.name.is_empty() {
        let found = holder.name.as_deref().unwrap_or_default();
        assert!(found.contains(&truth.name), "{name}: {found}");
    }
    if truth.line.is_some() {
        assert_eq!(holder.line, truth.line, "{name}\n{}", ran.out);
        assert_eq!(
            holder.file.as_ref(),
            Some(&entry.truth().unwrap().file),
            "{name}"
        );
    }
    // The way ends at the call site's own block.
    let last = holder.path.last().unwrap();
    assert_eq!(
        (&last.file, last.line),
        (&site.file, site.line),
        "{name}\n{}",
        ran.out
    );
    if holder.kind == Kind::Static {
        let root = report.roots.iter().find(|r| r.name == holder.name);
        let part = holder.share * site.retained_bytes as f64;
        assert!(root.unwrap().reached_bytes as f64 >= 0.9 * part, "{name}");
    }
}

/// All cases that state their holder.
fn stated() -> Vec<Entry> {
    let stated = |e: &Entry| e.truth().is_some_and(|t| t.holder.is_some());
    all().into_iter().filter(stated).collect()
}

#[test]
fn every_stated_holder_is_found_under_jemalloc() {
    let entries = stated();
    assert!(entries.len() >= 40, "{}", entries.len());
    for entry in &entries {
        check(
            entry,
            entry.truth().unwrap().holder.as_ref().unwrap(),
            "jemalloc",
        );
    }
}

#[test]
fn and_under_the_system_allocator_but_for_what_c_code_holds() {
    for entry in &stated() {
        let truth = entry.truth().unwrap().holder.as_ref().unwrap();
        if truth.kind != Kind::CHeap && entry.name().starts_with("held:") {
            check(entry, truth, "system");
        }
    }
    let ran = run(&["held:c_memory", "--heap", "system", "--cycles", "83"]);
    assert!(
        ran.words().contains("memory of C code was not searched"),
        "{}",
        ran.out
    );
}

#[test]
fn a_user_reads_who_holds_it_and_the_way_there() {
    let ran = run(&["held:lazy_hash_map", "--cycles", "83"]).exits(1);
    let words = ran.words();
    assert!(
        words.contains("held by static lazy_hash_map::MODELS"),
        "{}",
        ran.out
    );
    let held = "lazy_hash_map::MODELS fixtures/holders/lazy_hash_map.rs:20";
    assert!(words.contains(held), "{}", ran.out);
    assert!(
        words.contains("└ HashMap (fixtures/holders/lazy_hash_map.rs:21) └ Vec"),
        "{}",
        ran.out
    );
    assert!(
        words.contains("by static lazy_hash_map::MODELS"),
        "{}",
        ran.out
    );
    assert!(
        !ran.file("holders.jsonl").exists(),
        "all of it is in the report"
    );
    let explained = std::process::Command::new(env!("CARGO_BIN_EXE_afterdrop"))
        .arg("explain")
        .arg(ran.file("report.json"))
        .output()
        .unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    for says in ["who holds it", "└ HashMap of", "retained by each holder"] {
        assert!(explained.contains(says), "{says}: {explained}");
    }
    let ran = run(&["planted:forget", "--cycles", "83"]).exits(1);
    assert!(
        ran.words().contains("nothing points at it (mem::forget,"),
        "{}",
        ran.out
    );
    let ran = run(&["held:rc_cycle_of_fifty", "--cycles", "83"]).exits(1);
    let cycle = "50 blocks that only point at each other (a reference cycle)";
    assert!(ran.words().contains(cycle), "{}", ran.out);
}

#[test]
fn what_is_lost_is_a_leak_without_waiting_for_the_horizon() {
    let lost = run(&["planted:forget", "--cycles", "14"]).exits(1).report();
    let site = &lost.call_sites[0];
    assert_eq!(
        (site.verdict, site.evidence.rule),
        (Verdict::Leak, Rule::Lost)
    );
    // The same run of what a static holds cannot tell yet.
    let held = run(&["held:static_mutex", "--cycles", "14"])
        .exits(1)
        .report();
    assert_eq!(held.call_sites[0].verdict, Verdict::Growing);
    let unseen = run(&["planted:forget", "--cycles", "14", "--no-holders"]).exits(1);
    assert_eq!(unseen.report().call_sites[0].verdict, Verdict::Growing);
    assert!(unseen.report().holder_search.is_none());
}

#[test]
fn where_holders_cannot_be_found_the_report_says_why() {
    let ran = run(&["planted:registry", "--heap", "dhat", "--cycles", "20"]).exits(1);
    let report = ran.report();
    let search = report.holder_search.unwrap();
    assert!(
        search.failure.unwrap().contains("--heap jemalloc does"),
        "{}",
        ran.out
    );
    assert!(ran.words().contains("holders are not known"), "{}", ran.out);
    let ran = run(&["planted:registry", "--sample=1KiB", "--cycles", "83"]).exits(1);
    assert!(
        ran.words().contains("without --sample holders are found"),
        "{}",
        ran.out
    );
}
