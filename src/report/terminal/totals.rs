//! What concerns the whole process: its parts that grow, memory over the run, and what adds up.

use std::cmp::Reverse;
use std::fmt::Write;

use super::label::{COLUMN, label};
use crate::base::order::sort_by_key;
use crate::base::text::count;
use crate::base::units::{bytes, exact, rate};
use crate::model::process::Grows;
use crate::model::report::Report;
use crate::report::screen::{Canvas, DIM, PLAIN, color_of};
use crate::report::sparkline::sparkline;
use crate::report::wording::{growing_objects, interval};

/// Columns of a chart.
const CHART: usize = 40;

/// Holders shown, of those that retain at least one fiftieth of the live bytes.
const ROOTS: usize = 3;

/// What grows besides the call sites, if anything does.
pub(super) fn process(canvas: &mut Canvas, report: &Report) {
    let process = &report.process;
    if process.grows != Grows::None {
        let style = color_of(process.verdict).bold();
        label(canvas, process.verdict_word(), style);
        canvas.wrapped(&process.sentence, COLUMN, PLAIN);
        canvas.end_line();
    }
}

/// Live and resident memory at each boundary.
pub(super) fn charts(canvas: &mut Canvas, report: &Report) {
    let boundaries = &report.boundaries;
    let live: Vec<u64> = boundaries.iter().map(|b| b.live_bytes).collect();
    let resident: Option<Vec<u64>> = boundaries.iter().map(|b| b.resident_bytes).collect();
    chart(canvas, "live", &live);
    chart(canvas, "resident", &resident.unwrap_or_default());
}

fn chart(canvas: &mut Canvas, name: &str, values: &[u64]) {
    let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
        return;
    };
    label(canvas, name, DIM);
    let bars = sparkline(values, CHART);
    let (first, last) = (bytes(first as f64), bytes(last as f64));
    canvas.line(&format!("{bars} {first} -> {last}"), PLAIN);
}

/// The objects of Python's that each cycle leaves behind.
pub(super) fn objects(canvas: &mut Canvas, report: &Report) {
    if let Some(objects) = growing_objects(&report.objects) {
        label(canvas, "objects", DIM);
        canvas.wrapped(&objects, COLUMN, PLAIN);
    }
}

/// The holders that alone keep most memory alive.
pub(super) fn roots(canvas: &mut Canvas, report: &Report) {
    let live = report.boundaries.last().map_or(0, |b| b.live_bytes);
    let worth_it = report
        .roots
        .iter()
        .filter(|r| r.retained_bytes.saturating_mul(50) > live && !r.is_of_runtime());
    let shown: Vec<String> = worth_it
        .take(ROOTS)
        .map(|root| {
            format!(
                "{} by {}",
                bytes(root.retained_bytes as f64),
                root.description()
            )
        })
        .collect();
    if !shown.is_empty() {
        label(canvas, "retained", DIM);
        canvas.wrapped(&shown.join("; "), COLUMN, PLAIN);
    }
}

/// Resident memory at the end by use, the largest part first.
pub(super) fn balance(canvas: &mut Canvas, report: &Report) {
    let Some(balance) = report.boundaries.last().and_then(|b| b.balance) else {
        return;
    };
    let mut parts = balance.parts().to_vec();
    parts.retain(|&(_, bytes)| bytes > 0);
    sort_by_key(&mut parts, |&(_, bytes)| Reverse(bytes));
    let resident = bytes(balance.resident_bytes as f64);
    let mut pieces = vec![format!("{resident} resident =")];
    let last = parts.len().saturating_sub(1);
    for (i, &(name, n)) in parts.iter().enumerate() {
        let plus = if i == last { "" } else { " +" };
        pieces.push(format!("{} {name}{plus}", bytes(n as f64)));
    }
    if balance.unexplained_bytes.unsigned_abs().saturating_mul(50) > balance.resident_bytes {
        let rest = bytes(balance.unexplained_bytes as f64);
        pieces.push(format!("({rest} unexplained)"));
    }
    label(canvas, "memory", DIM);
    canvas.wrapped_pieces(pieces.iter().map(String::as_str), COLUMN, PLAIN);
}

/// Where the live bytes belong, and how they compare with the allocator's own count.
pub(super) fn sums(canvas: &mut Canvas, report: &Report) {
    let a = &report.attribution;
    if report.boundaries.is_empty() {
        return;
    }
    let mut sum = match &report.sampling {
        None => format!(
            "{} B live = {} B from set-up + {} B at call sites",
            exact(a.live_bytes),
            exact(a.setup_bytes),
            exact(a.call_site_bytes)
        ),
        Some(sampling) => format!(
            "{}{} live, estimated from one block per {}",
            bytes(a.live_bytes as f64),
            interval(Some(sampling.live_bytes_interval)),
            bytes(sampling.every_bytes as f64)
        ),
    };
    // Writing to a `String` cannot fail.
    if a.unattributed_bytes > 0 {
        let _ = write!(sum, " ({} B without a stack)", exact(a.unattributed_bytes));
    }
    if let Some(difference) = a.allocator_difference {
        let more = if difference < 0 { "less" } else { "more" };
        let why = match report.sampling {
            None => "size classes, thread caches",
            Some(_) => "size classes, a page for each sampled block, the estimate's error",
        };
        let difference = exact(difference.unsigned_abs());
        let _ = write!(sum, "; jemalloc counts {difference} B {more} ({why})");
    }
    label(canvas, "total", DIM);
    canvas.wrapped(&sum, COLUMN, PLAIN);
}

/// Whether dhat counts the same.
pub(super) fn witness(canvas: &mut Canvas, report: &Report) {
    let Some(witness) = &report.witness else {
        return;
    };
    let stacks = count(u64::from(witness.stacks), "stack");
    let sentence = match witness.agrees {
        true => format!(
            "agrees with the ledger on {stacks}: {} B in {}",
            exact(witness.dhat_bytes),
            count(witness.dhat_blocks, "block")
        ),
        false => format!(
            "disagrees with the ledger on {} of {stacks}: ledger {} B, dhat {} B; {}",
            witness.differences.len(),
            exact(witness.ledger_bytes),
            exact(witness.dhat_bytes),
            witness.differences.first().map_or("", |d| d)
        ),
    };
    label(canvas, "dhat", DIM);
    canvas.wrapped(&sentence, COLUMN, PLAIN);
}

/// Time and memory that the measurement took.
pub(super) fn cost(canvas: &mut Canvas, report: &Report) {
    if report.boundaries.is_empty() {
        return;
    }
    let memory = format!(
        "the ledger takes {}",
        bytes(report.cost.ledger_bytes as f64)
    );
    let seconds = report.cost.cycle_seconds.max(1e-9);
    let sentence = match report.cost.hook_seconds.map(|hooks| hooks / seconds) {
        // Several threads may be in the hooks at once, and outside of cycles too.
        Some(share) if share > 1.0 => format!(
            "all threads together spent {} times the cycles' time in the hooks, allocator \
             included; {memory}",
            rate(share)
        ),
        Some(share) => format!(
            "{:.1} % of the time was spent in the hooks, allocator included; {memory}",
            100.0 * share
        ),
        None => memory,
    };
    label(canvas, "cost", DIM);
    canvas.wrapped(&sentence, COLUMN, PLAIN);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::holder::Root;
    use crate::model::holders::HolderKind;
    use crate::report::example;
    use crate::report::screen::Screen;

    #[test]
    fn statics_of_rusts_libraries_hold_nothing_of_a_program() {
        let root = |name: &str| Root {
            kind: HolderKind::Static,
            name: Some(name.into()),
            file: None,
            line: None,
            thread: None,
            retained_bytes: 9_000_000,
            retained_blocks: 1,
            reached_bytes: 9_000_000,
            reached_blocks: 1,
        };
        let mut report = example::report();
        report.roots = vec![root("std::io::stdio::STDOUT"), root("serving::MODELS")];
        let mut canvas = Canvas::new(Screen::default());
        roots(&mut canvas, &report);
        let text = canvas.into_text();
        assert!(
            text.contains("serving::MODELS") && !text.contains("STDOUT"),
            "{text}"
        );
    }
}
