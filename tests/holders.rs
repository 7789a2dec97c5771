//! Runs each planted case that states its holder, and compares the report with it. Then: what a user
//! reads about holders.

mod common;

use std::process::ExitCode;

use afterdrop::Verdict;
use afterdrop::report::{CallSite, HolderKind, Report, Rule};
use afterdrop::workloads::{Entry, Truth, all};
use common::{command, run, trial, trials};
use libtest_mimic::{Arguments, Trial};

/// The call site at the planted line.
fn planted<'r>(report: &'r Report, truth: &Truth) -> Option<&'r CallSite> {
    let is_planted =
        |s: &&CallSite| s.file.as_deref() == Some(&truth.file) && s.line == Some(truth.line);
    report.call_sites.iter().find(is_planted)
}

fn check(name: &str, case: &Truth, heap: &str) {
    let truth = case.holder.as_ref().expect("a stated holder");
    let ran = run([name, "--heap", heap, "--cycles", &case.cycles.to_string()]);
    let report = ran.report();
    let out = &ran.out;
    let search = report.holder_search.as_ref().unwrap();
    assert_eq!(search.failure, None, "{out}");
    assert_eq!(search.missed_threads, 0, "{out}");
    let site = planted(&report, case);
    let site = site.unwrap_or_else(|| panic!("no call site at {}:{}\n{out}", case.file, case.line));
    let holder = site.holder.as_ref();
    let holder = holder.unwrap_or_else(|| panic!("{:?}\n{out}", site.holder_unknown));
    // Over the system's allocator memory of C code is not searched.
    let kind = match (truth.kind, heap) {
        (HolderKind::Lost, "system") => HolderKind::NotFound,
        (kind, _) => kind,
    };
    assert_eq!(holder.kind, kind, "{out}");
    assert_eq!(holder.cycle_blocks, truth.cycle_blocks, "{out}");
    assert!(holder.share > 0.5, "{}", holder.share);
    if !truth.name.is_empty() {
        let found = holder.name.as_deref().unwrap_or_default();
        assert!(found.contains(&truth.name), "{found}");
    }
    if truth.line.is_some() {
        assert_eq!(holder.line, truth.line, "{out}");
        assert_eq!(holder.file.as_ref(), Some(&case.file));
    }
    // The retaining path ends at a block of the call site itself.
    let last = holder.path.last().unwrap();
    assert_eq!((&last.file, last.line), (&site.file, site.line), "{out}");
    if holder.kind == HolderKind::Static {
        let root = report.roots.iter().find(|r| r.name == holder.name);
        let part = holder.share * site.retained_bytes as f64;
        assert!(root.unwrap().reached_bytes as f64 >= 0.9 * part, "{out}");
    }
}

/// The tests of a case: one for each heap with which its holder is found.
fn tests_of(entry: &Entry) -> Vec<Trial> {
    let name = entry.name();
    let Some((truth, holder)) = entry.truth().and_then(|t| Some((t, t.holder.as_ref()?))) else {
        return Vec::new();
    };
    // The system's allocator does not list the blocks of C code, so that they are not searched.
    let with_system = name.starts_with("held:") && holder.kind != HolderKind::CHeap;
    let heaps = [("jemalloc", true), ("system", with_system)];
    let heaps = heaps.into_iter().filter(|&(_, is_found)| is_found);
    heaps
        .map(|(heap, _)| {
            let (name, truth) = (name.to_owned(), truth.clone());
            let path = name.replace(':', "::");
            trial(format!("{path}::has_its_holder_under_{heap}"), move || {
                check(&name, &truth, heap)
            })
        })
        .collect()
}

fn without_jemalloc_the_report_says_that_c_memory_was_not_searched() {
    // So many that a stale address on the stack, which holds what was in the list before it, holds less than half.
    let ran = run(["held:c_memory", "--heap", "system", "--cycles", "160"]);
    let words = ran.words();
    assert!(
        words.contains("memory of C code was not searched"),
        "{words}"
    );
    // Not searched is not lost.
    let report = ran.report();
    let mut sites = report
        .call_sites
        .iter()
        .filter_map(|site| site.holder.as_ref());
    let site = sites.find(|holder| holder.kind == HolderKind::NotFound);
    assert_eq!(site.expect("no holder was found").lost_blocks, 0);
    let lost = |kind: HolderKind| kind == HolderKind::Lost;
    assert!(!sites.any(|holder| lost(holder.kind)), "{words}");
    assert!(!report.roots.iter().any(|root| lost(root.kind)), "{words}");
    assert!(
        words.contains("blocks of c_memory::load, whose holder was not found"),
        "{words}"
    );
    // The path goes through a list of blocks from one place.
    let explained = command(["explain", &ran.dir().display().to_string()]).exits(0);
    let lines: Vec<&str> = explained.out.lines().collect();
    let twice = lines
        .windows(2)
        .find(|two| two[0] == two[1] && !two[0].is_empty());
    assert_eq!(twice, None, "{}", explained.out);
    assert!(
        explained.out.contains(" times Box of 200 B"),
        "{}",
        explained.out
    );
}

fn a_user_reads_the_holder_and_the_retaining_path() {
    let ran = run(["held:lazy_hash_map", "--cycles", "83"]).exits(1);
    let words = ran.words();
    let held = "held by static lazy_hash_map::MODELS fixtures/holders/lazy_hash_map.rs:20";
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
    let explained = command(["explain".as_ref(), ran.file("report.json").as_os_str()]).exits(0);
    for part in [
        "who holds it",
        "└ HashMap of",
        "retained by each holder alone",
    ] {
        assert!(explained.out.contains(part), "{part}: {}", explained.out);
    }
}

fn a_user_reads_that_nothing_points_at_lost_blocks() {
    let ran = run(["planted:forget", "--cycles", "83"]).exits(1);
    assert!(
        ran.words().contains("nothing points at it (mem::forget,"),
        "{}",
        ran.out
    );
    let ran = run(["held:rc_cycle_of_fifty", "--cycles", "83"]).exits(1);
    let cycle = "50 blocks that only point at each other (a reference cycle)";
    assert!(ran.words().contains(cycle), "{}", ran.out);
}

fn lost_blocks_are_a_leak_before_the_horizon() {
    let lost = run(["planted:forget", "--cycles", "14"]).exits(1).report();
    let site = &lost.call_sites[0];
    assert_eq!(
        (site.verdict, site.evidence.rule),
        (Verdict::Leak, Rule::Lost)
    );
    // Blocks that a static holds, in a run of the same length, could still be a cache.
    let held = run(["held:static_mutex", "--cycles", "14"])
        .exits(1)
        .report();
    assert_eq!(held.call_sites[0].verdict, Verdict::Growing);
    let unseen = run(["planted:forget", "--cycles", "14", "--no-holders"]).exits(1);
    assert_eq!(unseen.report().call_sites[0].verdict, Verdict::Growing);
    assert!(unseen.report().holder_search.is_none());
}

fn where_holders_cannot_be_found_the_report_says_why() {
    let ran = run(["planted:registry", "--heap", "dhat", "--cycles", "20"]).exits(1);
    let report = ran.report();
    let search = report.holder_search.unwrap();
    assert!(
        search.failure.unwrap().contains("measure over jemalloc"),
        "{}",
        ran.out
    );
    assert!(ran.words().contains("holders are not known"), "{}", ran.out);
    let ran = run(["planted:registry", "--sample=1KiB", "--cycles", "83"]).exits(1);
    assert!(ran.words().contains("leave out --sample"), "{}", ran.out);
}

fn main() -> ExitCode {
    let mut trials = trials![
        without_jemalloc_the_report_says_that_c_memory_was_not_searched
        a_user_reads_the_holder_and_the_retaining_path
        a_user_reads_that_nothing_points_at_lost_blocks
        lost_blocks_are_a_leak_before_the_horizon
        where_holders_cannot_be_found_the_report_says_why
    ];
    let of_cases: Vec<Trial> = all().iter().flat_map(tests_of).collect();
    assert!(of_cases.len() >= 40, "{} cases", of_cases.len());
    trials.extend(of_cases);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
