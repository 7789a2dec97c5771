//! DHAT's file format, version 2 (valgrind's `dhat/dh_main.c`, "Output format"), for `dh_view.html`.
//!
//! It holds what is retained at the end, and nothing of blocks that were freed. So blocks have no
//! lifetimes here (`bklt` is false), and the viewer says "Retained".

use std::collections::BTreeMap;

use serde_core::{Serialize, Serializer};

use super::interned::Interned;
use crate::base::json::fields;
use crate::model::frame::{Frame, NOT_ATTRIBUTED};
use crate::model::report::Report;

pub(super) fn render(report: &Report) -> Vec<u8> {
    let mut table = Interned::default();
    // There are fewer names than indices in the report, which have 32 bits.
    let mut number = |text: &str| table.number(text) as u32;
    number("[root]");
    // The viewer rejects a file with the same backtrace twice: those of two phases are added.
    let mut sums: BTreeMap<Vec<u32>, (u64, u64)> = BTreeMap::new();
    for sample in report.samples() {
        let mut frames: Vec<u32> = sample.frames().map(|f| number(&name(f))).collect();
        if frames.is_empty() {
            frames.push(number(NOT_ATTRIBUTED));
        }
        let (bytes, blocks) = sums.entry(frames).or_default();
        *bytes = bytes.saturating_add(sample.bytes());
        *blocks = blocks.saturating_add(sample.blocks());
    }
    let cycles = report.cycles_run().max(1);
    let file = File {
        version: 2,
        mode: "afterdrop",
        verb: "Retained",
        has_lifetimes: false,
        has_accesses: false,
        // The viewer shows rates per million units of time. So a cycle is a million units.
        unit: "millionths of a cycle",
        million_units: "cycle",
        command: format!(
            "afterdrop run {} ({})",
            report.heading(),
            report.options.join(" ")
        ),
        pid: 0,
        end: u64::from(cycles) * 1_000_000,
        points: Points(&sums),
        frames: &table.all,
    };
    serde_json::to_vec(&file).unwrap_or_default()
}

/// The file.
struct File<'a> {
    version: u32,
    mode: &'a str,
    verb: &'a str,
    has_lifetimes: bool,
    has_accesses: bool,
    unit: &'a str,
    million_units: &'a str,
    command: String,
    pid: u32,
    end: u64,
    points: Points<'a>,
    frames: &'a [String],
}

fields! {
    write File<'_> {
        version: "dhatFileVersion", mode, verb, has_lifetimes: "bklt", has_accesses: "bkacc",
        unit: "tu", million_units: "Mtu", command: "cmd", pid, end: "te", points: "pps",
        frames: "ftbl",
    }
}

/// Program points: backtraces, each with its bytes and blocks. They are written one by one, because
/// there may be very many.
struct Points<'a>(&'a BTreeMap<Vec<u32>, (u64, u64)>);

struct Point<'a> {
    tb: u64,
    tbk: u64,
    fs: &'a [u32],
}

fields! { write Point<'_> { tb, tbk, fs } }

impl Serialize for Points<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|(fs, &(tb, tbk))| Point { tb, tbk, fs }))
    }
}

/// A frame as dhat writes it, without the address: `function (file:line)`.
fn name(frame: &Frame) -> String {
    match frame.location() {
        unknown if unknown.is_empty() => frame.function.clone(),
        location => format!("{} ({location})", frame.function),
    }
}
