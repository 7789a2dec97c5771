//! The call sites: the worst with their stacks and holders, the others in a line each.

use super::label::{COLUMN, label};
use crate::base::text::count;
use crate::base::units::{bytes, exact, sum};
use crate::model::frame::{Frame, Owner, relevant};
use crate::model::holder::{Holder, PathBlock};
use crate::model::holders::HolderKind;
use crate::model::report::{CallSite, Report};
use crate::model::verdict::Verdict;
use crate::report::names::{short, short_of_stack};
use crate::report::screen::{BOLD, Canvas, DIM, PLAIN, color_of};
use crate::report::wording::{growing_objects, interval};

/// Call sites shown in a line, of each kind.
const IN_BRIEF: usize = 5;

/// Frames shown between the allocation and the blame frame.
const CALLED: usize = 3;

/// Blocks shown of a retaining path.
const ON_PATH: usize = 4;

/// Draws `in_full` call sites in full, and some of the others in a line.
pub(super) fn all(canvas: &mut Canvas, report: &Report, in_full: usize) {
    let (serious, harmless): (Vec<_>, Vec<_>) = report
        .call_sites
        .iter()
        .partition(|s| s.verdict >= Verdict::Undecided && s.allowed.is_none());
    let mut explained: Vec<Verdict> = Vec::new();
    for site in serious.iter().take(in_full) {
        site_in_full(canvas, site);
        // Once per verdict: repeated reasons would push the rest off the screen.
        if !explained.contains(&site.verdict) {
            explained.push(site.verdict);
            canvas.wrapped(&site.reason, COLUMN, PLAIN);
        }
    }
    for site in serious.iter().skip(in_full).take(IN_BRIEF) {
        site_in_brief(canvas, report, site);
    }
    more(canvas, serious.iter().skip(in_full + IN_BRIEF));
    for site in harmless.iter().take(IN_BRIEF) {
        site_in_brief(canvas, report, site);
    }
    more(canvas, harmless.iter().skip(IN_BRIEF));
    if !report.call_sites.is_empty() {
        canvas.end_line();
    }
}

fn site_in_full(canvas: &mut Canvas, site: &CallSite) {
    label(canvas, site.verdict.name(), color_of(site.verdict).bold());
    let growth = site.growth_in_full().map(|growth| growth + "; ");
    let figures = format!(
        "{}{}{} retained in {} of {}; phase {}",
        growth.unwrap_or_default(),
        bytes(site.retained_bytes as f64),
        interval(site.retained_bytes_interval),
        count(site.retained_blocks, "block"),
        count(u64::from(site.generations), "generation"),
        site.phase,
    );
    canvas.wrapped(&figures, COLUMN, PLAIN);
    canvas.pad_to(COLUMN);
    canvas.frame(&short(&site.function), &site.location(), BOLD);
    let frames = frames_below(site);
    for (frame, name) in frames.iter().zip(short_of_stack(frames.iter().copied())) {
        canvas.pad_to(COLUMN + 2);
        canvas.frame(&name, &frame.location(), DIM);
    }
    held(canvas, site);
    if let Some(objects) = growing_objects(&site.objects) {
        canvas.wrapped(&format!("objects of Python: {objects}"), COLUMN, PLAIN);
    }
    if let Some(pool) = &site.pool {
        canvas.wrapped(pool, COLUMN, PLAIN);
    }
    if site.stacks > 1 {
        canvas.pad_to(COLUMN + 2);
        let more = count(u64::from(site.stacks - 1), "more stack");
        canvas.line(&format!("and {more} of this call site"), DIM);
    }
}

/// Who holds the call site's blocks, with the retaining path.
fn held(canvas: &mut Canvas, site: &CallSite) {
    let Some(holder) = &site.holder else {
        if let Some(why) = &site.holder_unknown {
            canvas.wrapped(&format!("holder unknown: {why}"), COLUMN, DIM);
        }
        return;
    };
    if holder.kind.has_no_root() {
        canvas.wrapped(&holder.lost(), COLUMN, BOLD);
        if holder.is_cause() {
            return;
        }
        if matches!(
            holder.kind,
            HolderKind::Lost | HolderKind::NotFound | HolderKind::Garbage
        ) {
            canvas.pad_to(COLUMN + 2);
            canvas.frame(&holder.allocated_by(), &holder.location(), DIM);
        }
    } else {
        let (kind, name) = holder.kind_and_name();
        canvas.pad_to(COLUMN);
        canvas.styled(&format!("held{} by {kind}", holder.part()), BOLD);
        canvas.frame(&name, &holder.location(), BOLD);
    }
    path(canvas, holder);
}

/// The blocks of the retaining path: those nearest to the holder, and those nearest to the call
/// site.
fn path(canvas: &mut Canvas, holder: &Holder) {
    let blocks = holder.path.as_slice();
    if blocks.is_empty() {
        return;
    }
    let more = (holder.path_blocks as usize).saturating_sub(ON_PATH);
    let (front, back) = match more {
        0 => (blocks, &[][..]),
        _ => (
            &blocks[..(ON_PATH / 2).min(blocks.len())],
            &blocks[blocks.len().saturating_sub(ON_PATH / 2)..],
        ),
    };
    let step = |block: &PathBlock| match block.location() {
        none if none.is_empty() => format!("\u{2514} {}", block.step()),
        location => format!("\u{2514} {} ({location})", block.step()),
    };
    let thread = holder.thread.iter().map(|t| format!("in thread `{t}`"));
    let mut steps: Vec<String> = thread.chain(front.iter().map(step)).collect();
    if more > 0 {
        steps.push(format!("\u{2514} {} more", exact(more as u64)));
    }
    steps.extend(back.iter().map(step));
    canvas.wrapped_pieces(steps.iter().map(String::as_str), COLUMN, DIM);
}

fn site_in_brief(canvas: &mut Canvas, report: &Report, site: &CallSite) {
    let word = match site.allowed {
        Some(_) => "allowed",
        None => site.verdict.name(),
    };
    label(canvas, word, color_of(site.verdict));
    let amount = match site.growth() {
        Some(growth) => {
            let (amount, time) = report.growth_rate(growth);
            format!("{amount}/{time}")
        }
        None => bytes(site.retained_bytes as f64),
    };
    canvas.styled(&format!("{amount:<14}  {:<7}  ", site.phase.name()), PLAIN);
    canvas.frame(&short(&site.function), &site.location(), PLAIN);
}

/// How many call sites are left out.
fn more<'a>(canvas: &mut Canvas, rest: impl Iterator<Item = &'a &'a CallSite> + Clone) {
    let number = rest.clone().count();
    if number > 0 {
        let retained = sum(rest.map(|s| s.retained_bytes));
        canvas.pad_to(COLUMN);
        let text = format!(
            "and {}, retaining {}: see report.json",
            count(number as u64, "more call site"),
            bytes(retained as f64)
        );
        canvas.line(&text, DIM);
    }
}

/// The frames worth showing beside the blame frame: of those that it called, where each further
/// crate was entered, from the allocation outwards; then its nearest caller, in the user's own code
/// if there is one.
fn frames_below(site: &CallSite) -> Vec<&Frame> {
    let relevant = relevant(&site.stack);
    let blame = relevant.iter().position(|f| site.is_blame(f));
    let (called, callers) = match blame {
        Some(i) => (&relevant[..i], &relevant[i + 1..]),
        None => (relevant, &[][..]),
    };
    let mut chosen: Vec<&Frame> = Vec::new();
    for frame in called.iter().filter(|f| f.owner == Owner::Dependency) {
        if chosen.len() < CALLED && !chosen.iter().any(|c| c.package() == frame.package()) {
            chosen.push(frame);
        }
    }
    let own = callers.iter().find(|f| f.owner == Owner::Own);
    let any = || callers.iter().find(|f| f.owner == Owner::Dependency);
    chosen.extend(own.or_else(any));
    chosen
}
