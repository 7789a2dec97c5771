//! jemalloc's heap profile, as its `prof_dump` writes it (`src/prof_data.c`), for `jeprof`.
//!
//! It is a *symbolized* profile, as `jeprof --raw` writes it: it contains the names of functions, so
//! that it opens without the executable.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::frame::{Frame, NOT_ATTRIBUTED};
use crate::model::report::Report;
use crate::report::samples::Sample;

/// Stands for the address where a stack could not be read.
const NOWHERE: u64 = 1;

/// The names of addresses, the stacks as addresses, and the mappings.
pub(super) fn render(report: &Report) -> String {
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    let mut stacks = String::new();
    let (mut all_blocks, mut all_bytes) = (0, 0);
    for sample in report.samples() {
        let (blocks, bytes) = (sample.blocks(), sample.bytes());
        all_blocks += blocks;
        all_bytes += bytes;
        // Writing to a string cannot fail.
        let _ = write!(stacks, "@");
        for (i, (address, name)) in calls(sample).into_iter().enumerate() {
            let _ = write!(stacks, " {address:#x}");
            // `jeprof` looks up all but the innermost address less 1, because the call is before
            // its return address.
            let key = address.saturating_sub(u64::from(i > 0));
            names.entry(key).or_insert(name);
        }
        let _ = writeln!(stacks, "\n  t*: {blocks}: {bytes} [0: 0]");
    }
    let program = report.profile.mappings.first();
    let mut text = String::from("--- symbol\n");
    if let Some(program) = program {
        let _ = writeln!(text, "binary={}", program.path);
    }
    for (address, name) in names {
        let _ = writeln!(text, "{address:#x} {name}");
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
    text
}

/// The addresses of a stack, innermost first, with their names. The name of an inlined function
/// follows that of the function it is inlined into.
fn calls(sample: Sample<'_>) -> Vec<(u64, String)> {
    let mut frames = sample.frames();
    let calls: Vec<(u64, String)> = sample
        .stack
        .calls
        .iter()
        .map(|&(address, count)| {
            let mut inlined: Vec<String> = frames.by_ref().take(count as usize).map(name).collect();
            inlined.reverse();
            (address, inlined.join("--"))
        })
        .collect();
    match calls.is_empty() {
        true => vec![(NOWHERE, NOT_ATTRIBUTED.into())],
        false => calls,
    }
}

/// A frame's name and location. The separator of inlined frames becomes a dash.
fn name(frame: &Frame) -> String {
    let name = format!("{} {}", frame.function, frame.location());
    name.trim_end().replace("--", "-")
}
