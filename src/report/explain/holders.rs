//! The holder of a call site with the whole retaining path, and what each holder of the report
//! retains.

use crate::base::text::count;
use crate::base::units::{bytes, exact};
use crate::model::holder::Holder;
use crate::model::report::{CallSite, Report};
use crate::report::names::short;
use crate::report::screen::{Canvas, PLAIN};
use crate::report::wording::in_thread;

/// Holders shown with their retained size.
const ROOTS: usize = 10;

pub(super) fn of_site(canvas: &mut Canvas, report: &Report, site: &CallSite) {
    if report.holder_search.is_none() {
        return;
    }
    canvas.end_line();
    canvas.line("who holds it", PLAIN);
    match (&site.holder, &site.holder_unknown) {
        (Some(holder), _) => path(canvas, holder),
        (None, Some(why)) => canvas.wrapped(why, 2, PLAIN),
        (None, None) => canvas.line("  not known", PLAIN),
    }
    if !report.roots.is_empty() {
        canvas.end_line();
        canvas.line(
            "retained by each holder alone: freed if it were cleared",
            PLAIN,
        );
        let roots = report.roots.iter().filter(|r| r.retained_bytes > 0);
        for root in roots.take(ROOTS) {
            let retained = bytes(root.retained_bytes as f64);
            let text = format!("{retained:>8}  {}", root.description());
            canvas.line(&format!("  {text}"), PLAIN);
        }
    }
}

fn path(canvas: &mut Canvas, holder: &Holder) {
    if holder.kind.has_no_root() {
        canvas.wrapped(&holder.lost(), 2, PLAIN);
        if !holder.is_cause() && holder.name.is_some() {
            canvas.pad_to(4);
            canvas.frame(&holder.allocated_by(), &holder.location(), PLAIN);
        }
    } else {
        let (kind, name) = holder.kind_and_name();
        canvas.pad_to(2);
        canvas.styled(&kind, PLAIN);
        let thread = in_thread(holder.thread.as_deref());
        let name = format!("{name}{}{thread}", holder.part());
        canvas.frame(&name, &holder.location(), PLAIN);
    }
    // The elements of a list are one line.
    for same in holder.path.chunk_by(|a, b| a == b) {
        let Some(block) = same.first() else {
            continue;
        };
        canvas.pad_to(4);
        let times = match same.len() {
            1 => String::new(),
            n => format!("{n} times "),
        };
        let size = exact(block.bytes);
        let kind = block.step();
        canvas.styled(&format!("\u{2514} {times}{kind} of {size} B  "), PLAIN);
        canvas.frame(&short(&block.function), &block.location(), PLAIN);
    }
    let left_out = u64::from(holder.path_blocks).saturating_sub(holder.path.len() as u64);
    if left_out > 0 {
        let more = count(left_out, "more block");
        canvas.wrapped(&format!("({more} in the middle, not shown)"), 4, PLAIN);
    }
}
