//! pprof's profile: `proto/profile.proto` of github.com/google/pprof, gzip-compressed.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::interned::Interned;
use super::profile_message::{Function, Label, Line, Location, Mapping, Profile, Sample};
use crate::model::frame::{Frame, NOT_ATTRIBUTED};
use crate::model::report::Report;

/// The mapping of all locations. One is enough, because they are symbolized.
const PROGRAM: u64 = 1;

/// The report with a sample for each backtrace and birth cycle.
pub(super) fn render(report: &Report) -> Result<Vec<u8>, String> {
    let mut made = Maker::default();
    // The format requires the empty string to be the first.
    made.text("");
    let empty = Profile::of_blocks_in_use(&mut made.texts);
    let program = report.profile.mappings.first();
    let mapping = Mapping {
        id: PROGRAM,
        memory_start: program.map_or(0, |m| m.start),
        memory_limit: program.map_or(0, |m| m.end),
        file_offset: program.map_or(0, |m| m.offset),
        filename: made.text(program.map_or("afterdrop", |m| &m.path)),
        has_functions: true,
        has_filenames: true,
        has_line_numbers: true,
        has_inline_frames: true,
        build_id: 0,
    };
    let mut zipped = GzEncoder::new(Vec::new(), Compression::default());
    for sample in report.samples() {
        let mut location_id: Vec<u64> = sample.frames().map(|f| made.location(f)).collect();
        if location_id.is_empty() {
            location_id.push(made.location_of(NOT_ATTRIBUTED, None, None));
        }
        for born in &sample.stack.live {
            let word = |made: &mut Maker, key: &str, value: &str| Label {
                key: made.text(key),
                str: made.text(value),
                ..Label::default()
            };
            let label = vec![
                Label {
                    key: made.text("generation"),
                    num: i64::from(born.cycle),
                    num_unit: made.text("cycle"),
                    ..Label::default()
                },
                word(&mut made, "phase", sample.site.phase.name()),
                word(&mut made, "verdict", sample.site.verdict.name()),
            ];
            // A profile is the sum of its parts, so that each sample is written at once.
            let part = Profile {
                sample: vec![Sample {
                    location_id: location_id.clone(),
                    value: vec![born.blocks as i64, born.bytes as i64],
                    label,
                }],
                ..Profile::default()
            };
            zipped
                .write_all(&part.encode_to_vec())
                .map_err(|e| e.to_string())?;
        }
    }
    let profile = Profile {
        mapping: vec![mapping],
        period: report.sampling.map_or(1, |s| s.every_bytes as i64),
        comment: vec![made.text(&format!("{}: {}", report.heading(), report.summary))],
        location: made.locations,
        function: made.functions,
        string_table: made.texts.all,
        ..empty
    };
    zipped
        .write_all(&profile.encode_to_vec())
        .and_then(|()| zipped.finish())
        .map_err(|e| e.to_string())
}

/// Bytes and blocks of a profile, all samples together.
#[cfg(test)]
pub(super) fn sums(bytes: &[u8]) -> (u64, u64) {
    let profile = Profile::decode(bytes).expect("a profile");
    let of = |i: usize| profile.sample.iter().map(|s| s.value[i] as u64).sum();
    let ids = profile.location.iter().map(|l| l.id);
    assert!(ids.eq(1..=profile.location.len() as u64));
    (of(1), of(0))
}

/// Strings, functions and locations, each once and numbered.
#[derive(Default)]
struct Maker {
    texts: Interned,
    functions: Vec<Function>,
    function_numbers: HashMap<(i64, i64), u64>,
    locations: Vec<Location>,
    location_numbers: HashMap<(u64, i64), u64>,
}

impl Maker {
    fn text(&mut self, text: &str) -> i64 {
        self.texts.number(text) as i64
    }

    fn location(&mut self, frame: &Frame) -> u64 {
        self.location_of(&frame.function, frame.file.as_deref(), frame.line)
    }

    fn location_of(&mut self, function: &str, file: Option<&str>, line: Option<u32>) -> u64 {
        let name = self.text(function);
        let filename = self.text(file.unwrap_or_default());
        // Numbers begin at 1: 0 stands for none.
        let next = self.functions.len() as u64 + 1;
        let function_id = *self
            .function_numbers
            .entry((name, filename))
            .or_insert(next);
        if function_id == next {
            self.functions.push(Function {
                id: next,
                name,
                system_name: name,
                filename,
            });
        }
        let line = i64::from(line.unwrap_or(0));
        let next = self.locations.len() as u64 + 1;
        let id = *self
            .location_numbers
            .entry((function_id, line))
            .or_insert(next);
        if id == next {
            self.locations.push(Location {
                id,
                mapping_id: PROGRAM,
                address: 0,
                line: vec![Line { function_id, line }],
            });
        }
        id
    }
}
