//! Flame graphs of retained bytes, drawn by inferno (a port of B. Gregg's `flamegraph.pl`), as SVG with
//! a search.

use std::collections::BTreeMap;

use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::collapsed::{folded, label, line};
use crate::base::error::Error;
use crate::base::units::{bytes, exact, sum};
use crate::model::report::Report;
use crate::report::names::short_of_stack;
use crate::report::samples::Sample;

/// All stacks, with callers below.
pub(super) fn flame(report: &Report) -> Result<Vec<u8>, String> {
    report.check_text(|_| 1)?;
    let samples = report.samples();
    let lines: Vec<String> = samples.map(|s| line(labels(s), s.bytes())).collect();
    draw(report, "retained bytes", Direction::Straight, &lines)
}

/// A tower for each generation, from the outermost frame down to the blame frame. A leak has a tower
/// in every generation.
pub(super) fn icicle(report: &Report) -> Result<Vec<u8>, String> {
    report.check_text(|stack| stack.live.len())?;
    let digits = report.cycles_run().to_string().len();
    let lines: Vec<String> = report
        .samples()
        .flat_map(|s| {
            let blame = s.frames().position(|f| s.site.is_blame(f)).unwrap_or(0);
            let labels = labels(s).split_off(blame);
            s.stack.live.iter().map(move |born| {
                // Of one width, because towers are sorted by name.
                let generation = format!("{:>0digits$}: born in this cycle", born.cycle);
                let mut labels = labels.clone();
                labels.push(generation);
                line(labels, born.bytes)
            })
        })
        .collect();
    draw(report, "generations", Direction::Inverted, &lines)
}

/// The labels of a stack, innermost first.
fn labels(sample: Sample<'_>) -> Vec<String> {
    let names = short_of_stack(sample.frames());
    let labels = sample.frames().zip(names);
    labels.map(|(frame, name)| label(&name, frame)).collect()
}

fn draw(
    report: &Report,
    what: &str,
    direction: Direction,
    lines: &[String],
) -> Result<Vec<u8>, String> {
    let sum = retained(report)?;
    let title = format!("{}: {what}", report.heading());
    let subtitle = format!(
        "{} at the last boundary, {}; {}",
        bytes(sum as f64),
        report.verdict,
        report.summary
    );
    let empty = ["(nothing is retained) 1".to_owned()];
    let lines = if sum == 0 { &empty } else { lines };
    svg(title, subtitle, direction, lines)
}

/// The bytes of all stacks.
///
/// # Errors
/// If they are more than any memory has. inferno adds them up without a check.
fn retained(report: &Report) -> Result<u64, String> {
    const MOST: u64 = 1 << 60;
    match sum(report.samples().map(|s| s.bytes())) {
        sum if sum <= MOST => Ok(sum),
        sum => Err(format!("{} B are more than any memory has", exact(sum))),
    }
}

/// What a later run retains: red where it is more than in an earlier one, blue where it is less (B.
/// Gregg, "Differential Flame Graphs").
///
/// # Errors
/// If inferno cannot draw it, or the stacks are too long as text.
pub fn difference(before: &Report, after: &Report) -> Result<Vec<u8>, Error> {
    let cannot = |wrong| Error::usage(format!("cannot draw the flame graph: {wrong}"));
    for report in [before, after] {
        report.check_text(|_| 1).map_err(cannot)?;
    }
    let retained = [before, after].map(|r| retained(r).map(|sum| bytes(sum as f64)));
    let [retained_before, retained_after] = retained.map(|sum| sum.map_err(cannot));
    let [before, after] = [before.cleaned(), after.cleaned()];
    let mut sums: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for (run, report) in [&before, &after].into_iter().enumerate() {
        for sample in report.samples() {
            let stack = folded(labels(sample));
            let sum = &mut sums.entry(stack).or_default()[run];
            *sum = sum.saturating_add(sample.bytes());
        }
    }
    let lines: Vec<String> = sums
        .iter()
        .map(|(stack, [before, after])| format!("{stack} {before} {after}"))
        .collect();
    let empty = ["(nothing is retained) 1 1".to_owned()];
    let is_empty = sums.values().all(|[_, after]| *after == 0);
    let lines = if is_empty { &empty[..] } else { &lines };
    let title = format!("{}: change of retained bytes", after.heading());
    let subtitle = format!("{} before, {} after", retained_before?, retained_after?);
    svg(title, subtitle, Direction::Straight, lines).map_err(cannot)
}

fn svg(
    title: String,
    subtitle: String,
    direction: Direction,
    lines: &[String],
) -> Result<Vec<u8>, String> {
    let mut options = Options::default();
    options.title = title;
    options.subtitle = Some(subtitle);
    options.count_name = "bytes".into();
    options.direction = direction;
    options.deterministic = true;
    options.hash = true;
    options.text_truncate_direction = TextTruncateDirection::Right;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(|l| l.trim_end()), &mut svg)
        .map_err(|e| e.to_string())?;
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_no_memory_has_are_refused() {
        let report = crate::report::formats::tests::with_profile("serving::reload");
        let mut huge = report.clone();
        for stack in &mut huge.profile.stacks {
            stack.live[0].bytes = u64::MAX;
        }
        for result in [flame(&huge), icicle(&huge)] {
            assert!(result.unwrap_err().contains("more than any memory has"));
        }
        assert!(difference(&report, &huge).is_err());
    }

    #[test]
    fn a_difference_has_both_runs() {
        let after = crate::report::formats::tests::with_profile("serving::reload");
        let mut before = after.clone();
        before.profile.stacks[1].live[0].bytes = 400;
        let svg = String::from_utf8(difference(&before, &after).unwrap()).unwrap();
        // Of all, and of the stack that grew by 600 bytes.
        assert!(
            svg.contains("1,312 bytes") && svg.contains("+45.73%"),
            "{svg}"
        );
        let empty = crate::report::example::report();
        difference(&after, &empty).unwrap();
        difference(&empty, &empty).unwrap();
    }
}
