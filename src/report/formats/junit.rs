//! JUnit's XML as Jenkins reads it (llg.cubic.org/docs/junit), written by quick-junit: a test for the run,
//! and one for each place that is told of.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use crate::base::units::bytes;
use crate::model::report::{CallSite, Report, RunVerdict};
use crate::model::verdict::Verdict;

/// Places that are tests of their own.
const MOST: usize = 1000;

pub(super) fn render(report: &Report) -> Result<Vec<u8>, String> {
    let time = Duration::try_from_secs_f64(report.cost.cycle_seconds).unwrap_or_default();
    let mut suite = TestSuite::new(format!("afterdrop {}", report.workload));
    suite.set_time(time);
    let told = || {
        let call_sites = report.call_sites.iter();
        call_sites.filter(|s| s.verdict >= Verdict::Undecided)
    };
    let parts = || report.process.parts.iter();
    let is_told = told().any(|s| s.allowed.is_none()) || parts().any(|p| p.verdict.is_growth());
    let mut run = case(report, "the run", status_of_run(report, is_told));
    run.set_time(time);
    suite.add_test_case(run);
    for site in told().take(MOST) {
        let name = format!("{} {} ({})", site.function, site.location(), site.phase);
        suite.add_test_case(case(report, &name, status_of_site(site)));
    }
    let more = told().count().saturating_sub(MOST);
    if more > 0 {
        let name = format!("{more} more places, see report.json");
        suite.add_test_case(case(report, &name, failure("more", &name, "")));
    }
    for part in parts() {
        let status = match part.verdict.is_growth() {
            true => failure(part.verdict.name(), &part.amount(), &part.reason),
            false => TestCaseStatus::success(),
        };
        suite.add_test_case(case(report, part.what.name(), status));
    }
    let skipped = suite.test_cases.iter();
    let skipped = skipped.filter(|c| matches!(c.status, TestCaseStatus::Skipped { .. }));
    let skipped = skipped.count();
    let mut junit = Junit::new("afterdrop");
    junit.set_time(time);
    junit.add_test_suite(suite);
    let xml = junit.to_string().map_err(|e| e.to_string())?;
    // The first is that of the root, where Jenkins' schema has none.
    let skipped = format!(" skipped=\"{skipped}\"");
    Ok(xml.replacen(&skipped, "", 1).into_bytes())
}

fn case(report: &Report, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(report.workload.clone());
    case
}

fn failure(kind: &str, message: &str, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status
        .set_type(kind)
        .set_message(message)
        .set_description(text);
    status
}

/// The run's own test fails for what no other does.
fn status_of_run(report: &Report, is_told: bool) -> TestCaseStatus {
    if !report.ended.is_complete() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status
            .set_type("failed")
            .set_message(report.ended.to_string());
        return status;
    }
    match report.verdict {
        RunVerdict::Clean => TestCaseStatus::success(),
        _ if is_told => TestCaseStatus::success(),
        verdict => failure(verdict.name(), &report.summary, &report.warnings.join("\n")),
    }
}

fn status_of_site(site: &CallSite) -> TestCaseStatus {
    if let Some(why) = &site.allowed {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("allowed: {why}"));
        return status;
    }
    let message = match site.bytes_per_cycle.filter(|&rate| rate != 0.0) {
        Some(rate) => format!("{} a cycle", bytes(rate)),
        None => format!("{} held", bytes(site.retained_bytes as f64)),
    };
    let holder = site.holder.as_ref().map(|h| h.sentence() + "\n");
    let stack: Vec<String> = site
        .frames()
        .map(|f| format!("  at {} {}", f.function, f.location()))
        .collect();
    let text = format!(
        "{}\n{}{}",
        site.reason,
        holder.unwrap_or_default(),
        stack.join("\n")
    );
    failure(site.verdict.name(), &message, &text)
}
