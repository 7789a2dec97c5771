//! jemalloc's heap profile, as its `prof_dump` writes it (`src/prof_data.c`), for `jeprof`.
//!
//! It is a *symbolized* profile, as `jeprof --raw` writes it: it contains the names of functions, so
//! that it opens without the executable.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::base::units::sum;
use crate::model::frame::{Frame, NOT_ATTRIBUTED};
use crate::model::profile::ProfileStack;
use crate::model::report::Report;
use crate::report::samples::Sample;

/// Stands for the address where a stack could not be read.
const NOWHERE: u64 = 1;

/// The names of addresses, the stacks as addresses, and the mappings.
pub(super) fn render(report: &Report) -> Result<String, String> {
    report.check_text(|_| 1)?;
    let mut inlined: BTreeMap<u64, &[u32]> = BTreeMap::new();
    let mut stacks = String::new();
    let all_blocks = sum(report.samples().map(Sample::blocks));
    let all_bytes = sum(report.samples().map(Sample::bytes));
    for sample in report.samples() {
        let (blocks, bytes) = (sample.blocks(), sample.bytes());
        // Writing to a string cannot fail.
        let _ = write!(stacks, "@");
        for (i, (address, frames)) in calls(sample.stack).enumerate() {
            let _ = write!(stacks, " {address:#x}");
            // `jeprof` looks up all but the innermost address less 1, because the call is before
            // its return address.
            let key = address.saturating_sub(u64::from(i > 0));
            inlined.entry(key).or_insert(frames);
        }
        let _ = writeln!(stacks, "\n  t*: {blocks}: {bytes} [0: 0]");
    }
    let program = report.profile.mappings.first();
    let mut text = String::from("--- symbol\n");
    if let Some(program) = program {
        let _ = writeln!(text, "binary={}", program.path);
    }
    for (address, frames) in inlined {
        let _ = writeln!(text, "{address:#x} {}", names(report, frames));
    }
    // A sampling rate of 0: `jeprof` does not scale the figures.
    let _ = write!(
        text,
        "---\n--- heap\nheap_v2/0\n  t*: {all_blocks}: {all_bytes} [0: 0]\n{stacks}\nMAPPED_LIBRARIES:\n"
    );
    for m in &report.profile.mappings {
        let _ = writeln!(
            text,
            "{:x}-{:x} r-xp {:08x} 00:00 0 {}",
            m.start, m.end, m.offset, m.path
        );
    }
    Ok(text)
}

/// The addresses of a stack, innermost first, with the frames that are inlined into one another there.
fn calls(stack: &ProfileStack) -> impl Iterator<Item = (u64, &[u32])> {
    let mut left = &stack.frames[..];
    let calls = stack.calls.iter().map(move |&(address, count)| {
        let (frames, rest) = left.split_at(left.len().min(count as usize));
        left = rest;
        (address, frames)
    });
    let nowhere = stack.calls.is_empty().then_some((NOWHERE, &[][..]));
    calls.chain(nowhere)
}

/// The names of frames that are inlined into one another. The name of an inlined function follows that
/// of the function it is inlined into.
fn names(report: &Report, frames: &[u32]) -> String {
    if frames.is_empty() {
        return NOT_ATTRIBUTED.into();
    }
    let all = &report.profile.frames;
    let names = frames.iter().rev().map(|&i| name(&all[i as usize]));
    names.collect::<Vec<_>>().join("--")
}

/// A frame's name and location. The separator of inlined frames becomes a dash.
fn name(frame: &Frame) -> String {
    let name = format!("{} {}", frame.function, frame.location());
    name.trim_end().replace("--", "-")
}
