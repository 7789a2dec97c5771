//! The comparison as text for a terminal.

use super::comparison::{Became, Change, Comparison};
use crate::report::names::short;
use crate::report::screen::{BOLD, Canvas, DIM, GREEN, PLAIN, RED, Screen, YELLOW};

/// Draws the comparison.
pub fn render(comparison: &Comparison, screen: Screen) -> String {
    let mut canvas = Canvas::new(screen);
    let [before, after] = &comparison.verdicts;
    let summary = comparison.summary();
    let head = format!(
        "{}: {before} -> {after}; {summary}",
        comparison.workloads[1]
    );
    canvas.line(&head, BOLD);
    canvas.end_line();
    for change in &comparison.changes {
        draw(&mut canvas, change);
    }
    if !comparison.changes.is_empty() {
        canvas.end_line();
    }
    let row = |name: &str, [before, after, change]: [&str; 3]| {
        format!("  {name:<20}  {before:>10}  {after:>10}  {change:>9}")
    };
    canvas.line(&row("", ["before", "after", "change"]), DIM);
    for figure in &comparison.figures {
        let words = figure.words();
        let words = words.each_ref().map(String::as_str);
        canvas.line(&row(figure.name, words), PLAIN);
    }
    for warning in &comparison.warnings {
        canvas.styled("  note: ", PLAIN);
        canvas.wrapped(warning, "  note: ".len(), PLAIN);
    }
    canvas.into_text()
}

fn draw(canvas: &mut Canvas, change: &Change) {
    let (word, style) = match (&change.allowed, change.became) {
        (Some(_), _) => ("allowed", PLAIN),
        (None, b @ (Became::New | Became::Worse)) => (b.name(), RED),
        (None, b @ Became::Open) => (b.name(), YELLOW),
        (None, b @ (Became::Better | Became::Fixed)) => (b.name(), GREEN),
        (None, b @ Became::Same) => (b.name(), PLAIN),
    };
    canvas.pad_to(2);
    canvas.styled(&format!("{word:<10}"), style);
    let phase = change.phase.unwrap_or_default();
    canvas.styled(&format!("{:<24}  {phase:<7}  ", change.rates()), PLAIN);
    canvas.frame(&short(&change.function), &change.location, PLAIN);
}
