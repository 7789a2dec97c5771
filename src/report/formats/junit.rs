//! JUnit XML as Jenkins reads it (llg.cubic.org/docs/junit), written by quick-junit: a test case for the
//! run, and one for each call site that is not harmless.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use crate::model::report::{CallSite, Report, RunVerdict};
use crate::model::verdict::Verdict;
use crate::report::names::{short, short_of_stack};

/// Call sites with a test case of their own.
const MOST: usize = 1000;

pub(super) fn render(report: &Report) -> Result<Vec<u8>, String> {
    let time = Duration::try_from_secs_f64(report.cost.cycle_seconds).unwrap_or_default();
    let mut suite = TestSuite::new(format!("afterdrop {}", report.heading()));
    suite.set_time(time);
    let serious = || {
        let call_sites = report.call_sites.iter();
        call_sites.filter(|s| s.verdict >= Verdict::Undecided)
    };
    let parts = || report.process.parts.iter();
    let other_fails =
        serious().any(|s| s.allowed.is_none()) || parts().any(|p| p.verdict.is_growth());
    let mut run = case(report, "the run", status_of_run(report, other_fails));
    run.set_time(time);
    suite.add_test_case(run);
    for site in serious().take(MOST) {
        let name = format!(
            "{} {} ({})",
            short(&site.function),
            site.location(),
            site.phase
        );
        suite.add_test_case(case(report, &name, status_of_site(site)));
    }
    let more = serious().count().saturating_sub(MOST);
    if more > 0 {
        let name = format!("{more} more call sites, see report.json");
        suite.add_test_case(case(report, &name, failure("more", &name, "")));
    }
    for part in parts() {
        let status = match part.verdict.is_growth() {
            true => failure(part.verdict.name(), &part.amount(), &part.reason),
            false => TestCaseStatus::success(),
        };
        suite.add_test_case(case(report, part.what.name(), status));
    }
    let cases = suite.test_cases.iter();
    let skipped = cases.filter(|c| matches!(c.status, TestCaseStatus::Skipped { .. }));
    let skipped = format!(" skipped=\"{}\"", skipped.count());
    let mut junit = Junit::new("afterdrop");
    junit.set_time(time);
    junit.add_test_suite(suite);
    let xml = junit.to_string().map_err(|e| e.to_string())?;
    // Jenkins' schema has no such attribute on the root, which comes first.
    Ok(xml.replacen(&skipped, "", 1).into_bytes())
}

fn case(report: &Report, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(report.heading());
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

/// The status of the run's own test case. It fails for what no other test case shows.
fn status_of_run(report: &Report, other_fails: bool) -> TestCaseStatus {
    if !report.ended.is_complete() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status
            .set_type("failed")
            .set_message(report.ended.to_string());
        return status;
    }
    match report.verdict {
        RunVerdict::Clean => TestCaseStatus::success(),
        _ if other_fails => TestCaseStatus::success(),
        verdict => failure(verdict.name(), &report.summary, &report.warnings.join("\n")),
    }
}

fn status_of_site(site: &CallSite) -> TestCaseStatus {
    if let Some(why) = &site.allowed {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("allowed: {why}"));
        return status;
    }
    let holder = site.holder.as_ref().map(|h| h.sentence() + "\n");
    let names = short_of_stack(site.shown_frames());
    let stack: Vec<String> = site
        .shown_frames()
        .iter()
        .zip(names)
        .map(|(frame, name)| format!("  at {name} {}", frame.location()))
        .collect();
    let text = format!(
        "{}\n{}{}",
        site.reason,
        holder.unwrap_or_default(),
        stack.join("\n")
    );
    failure(site.verdict.name(), &site.amount(), &text)
}
