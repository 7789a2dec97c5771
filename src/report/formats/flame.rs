//! Flame graphs of retained bytes, drawn by inferno (a port of B. Gregg's `flamegraph.pl`), as SVG with
//! its search.

use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::collapsed::line;
use crate::report::{Report, bytes};

/// All stacks, callers below.
pub(super) fn flame(report: &Report) -> Result<Vec<u8>, String> {
    let lines: Vec<String> = report.samples().map(|s| line(&[], s, s.bytes())).collect();
    draw(report, "retained bytes", Direction::Straight, &lines)
}

/// From the top down, a tower for each birth cycle: what leaks has one in each.
pub(super) fn icicle(report: &Report) -> Result<Vec<u8>, String> {
    let cycles = report.cycles_run().to_string().len();
    let lines: Vec<String> = report
        .samples()
        .flat_map(|s| {
            s.stack.live.iter().map(move |born| {
                // Of one width, so that they are sorted by number.
                let generation = format!("born in cycle {:>0cycles$}", born.cycle);
                line(&[generation], s, born.bytes)
            })
        })
        .collect();
    draw(report, "generations", Direction::Inverted, &lines)
}

fn draw(
    report: &Report,
    what: &str,
    direction: Direction,
    lines: &[String],
) -> Result<Vec<u8>, String> {
    let sum: u64 = report.samples().map(|s| s.bytes()).sum();
    let mut options = Options::default();
    options.title = format!("{}: {what}", report.workload);
    options.subtitle = Some(format!(
        "{} at the last boundary, {}; {}",
        bytes(sum as f64),
        report.verdict,
        report.summary
    ));
    options.count_name = "bytes".into();
    options.direction = direction;
    options.deterministic = true;
    options.hash = true;
    // The end of a name says more than its start.
    options.text_truncate_direction = TextTruncateDirection::Left;
    let empty = ["(nothing is retained) 1".to_owned()];
    let lines = if sum == 0 { &empty } else { lines };
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(|l| l.trim_end()), &mut svg)
        .map_err(|e| e.to_string())?;
    Ok(svg)
}
