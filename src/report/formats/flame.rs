//! Flame graphs of retained bytes, drawn by inferno (a port of B. Gregg's `flamegraph.pl`), as SVG with
//! its search.

use std::collections::BTreeMap;

use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::collapsed::{folded, joined, name};
use crate::base::error::Error;
use crate::base::units::bytes;
use crate::model::frame::Frame;
use crate::model::report::Report;

/// All stacks, callers below.
pub(super) fn flame(report: &Report) -> Result<Vec<u8>, String> {
    let samples = report.samples();
    let lines: Vec<String> = samples
        .map(|s| folded(s.frames().rev().map(named), s.bytes()))
        .collect();
    draw(report, "retained bytes", Direction::Straight, &lines)
}

/// From the top down, a tower for each birth cycle, down to the blame frames: what leaks has one in each.
pub(super) fn icicle(report: &Report) -> Result<Vec<u8>, String> {
    let cycles = report.cycles_run().to_string().len();
    let lines: Vec<String> = report
        .samples()
        .flat_map(|s| {
            let beneath = s.frames().position(|f| s.site.is_blame(f)).unwrap_or(0);
            let names: Vec<String> = s.frames().skip(beneath).rev().map(named).collect();
            s.stack.live.iter().map(move |born| {
                // Of one width, so that they are sorted by number.
                let generation = format!("{:>0cycles$}: born in this cycle", born.cycle);
                folded(
                    [generation].into_iter().chain(names.iter().cloned()),
                    born.bytes,
                )
            })
        })
        .collect();
    draw(report, "generations", Direction::Inverted, &lines)
}

/// A frame's name as there is room for it.
fn named(frame: &Frame) -> String {
    name(frame, |f| without_modules(&f.function))
}

/// `a::b::C::d<e::f::G>` as `C::d<f::G>`: of each path the last two parts.
fn without_modules(name: &str) -> String {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut short = String::new();
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
        if end == 0 {
            short.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let path = &rest[..end];
        let mut parts = path.rmatch_indices("::");
        // Behind a bracket a path goes on, as in `<A>::b`: that is no beginning.
        let from = match path.starts_with("::") {
            true => Some(0),
            false => parts.nth(1).map(|(at, _)| at + 2),
        };
        short += &path[from.unwrap_or(0)..];
        rest = &rest[end..];
    }
    short
}

fn draw(
    report: &Report,
    what: &str,
    direction: Direction,
    lines: &[String],
) -> Result<Vec<u8>, String> {
    let sum: u64 = report.samples().map(|s| s.bytes()).sum();
    let title = format!("{}: {what}", report.workload);
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

/// What is retained in a later run, red where it is more than in an earlier one, blue where it is less (B.
/// Gregg, "Differential Flame Graphs").
///
/// # Errors
/// If it cannot be drawn.
pub fn difference(before: &Report, after: &Report) -> Result<Vec<u8>, Error> {
    let [before, after] = [super::cleaned(before), super::cleaned(after)];
    let mut sums: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for (run, report) in [&before, &after].into_iter().enumerate() {
        for sample in report.samples() {
            let stack = joined(sample.frames().rev().map(named));
            sums.entry(stack).or_default()[run] += sample.bytes();
        }
    }
    let lines: Vec<String> = sums
        .iter()
        .map(|(stack, [before, after])| format!("{stack} {before} {after}"))
        .collect();
    let empty = ["(nothing is retained) 1 1".to_owned()];
    let is_empty = sums.values().all(|[_, after]| *after == 0);
    let lines = if is_empty { &empty[..] } else { &lines };
    let sum = |report: &Report| bytes(report.samples().map(|s| s.bytes()).sum::<u64>() as f64);
    let title = format!("{}: what has changed", after.workload);
    let subtitle = format!("{} before, {} after", sum(&before), sum(&after));
    svg(title, subtitle, Direction::Straight, lines)
        .map_err(|wrong| Error::usage(format!("cannot draw what has changed: {wrong}")))
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
        let empty = crate::report::terminal::tests::made();
        difference(&after, &empty).unwrap();
        difference(&empty, &empty).unwrap();
    }

    #[test]
    fn a_name_keeps_what_tells_it_from_others() {
        for (whole, short) in [
            ("a::b::C::d", "C::d"),
            ("a::b::c", "b::c"),
            ("f", "f"),
            (
                "<a::b::C as d::e::F<g::h::I>>::j",
                "<b::C as e::F<h::I>>::j",
            ),
            ("a::b::c::{{closure}}", "c::{{closure}}"),
            ("[u8; 4]", "[u8; 4]"),
        ] {
            assert_eq!(without_modules(whole), short);
        }
    }
}
