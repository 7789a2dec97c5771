//! DHAT's file format, version 2 (valgrind's `dhat/dh_main.c`, "Output format"), for `dh_view.html`.
//!
//! It holds what is retained at the end, and nothing of blocks that were freed. So blocks have no
//! lifetimes here (`bklt` is false), and the viewer says "Retained".

use std::collections::BTreeMap;

use serde_json::json;

use super::interned::Interned;
use crate::model::frame::{Frame, NOT_ATTRIBUTED};
use crate::model::report::Report;

pub(super) fn render(report: &Report) -> Vec<u8> {
    let mut table = Interned::default();
    table.number("[root]");
    // The viewer rejects a file with the same backtrace twice: those of two phases are added.
    let mut sums: BTreeMap<Vec<usize>, (u64, u64)> = BTreeMap::new();
    for sample in report.samples() {
        let mut frames: Vec<usize> = sample.frames().map(|f| table.number(&name(f))).collect();
        if frames.is_empty() {
            frames.push(table.number(NOT_ATTRIBUTED));
        }
        let (bytes, blocks) = sums.entry(frames).or_default();
        *bytes += sample.bytes();
        *blocks += sample.blocks();
    }
    let points: Vec<_> = sums
        .into_iter()
        .map(|(frames, (bytes, blocks))| json!({ "tb": bytes, "tbk": blocks, "fs": frames }))
        .collect();
    let cycles = report.cycles_run().max(1);
    let file = json!({
        "dhatFileVersion": 2,
        "mode": "afterdrop",
        "verb": "Retained",
        "bklt": false,
        "bkacc": false,
        // The viewer shows rates per million units of time. So a cycle is a million units.
        "tu": "millionths of a cycle",
        "Mtu": "cycle",
        "cmd": format!("afterdrop run {} ({})", report.workload, report.options.join(" ")),
        "pid": 0,
        "te": u64::from(cycles) * 1_000_000,
        "pps": points,
        "ftbl": table.all,
    });
    serde_json::to_vec(&file).unwrap_or_default()
}

/// A frame as dhat writes it, without the address: `function (file:line)`.
fn name(frame: &Frame) -> String {
    match frame.location() {
        unknown if unknown.is_empty() => frame.function.clone(),
        location => format!("{} ({location})", frame.function),
    }
}
