//! speedscope's file format (github.com/jlfwong/speedscope, `src/lib/file-format-spec.ts`).

use std::collections::HashMap;

use serde_core::ser::{Serialize, SerializeMap, Serializer};

use crate::base::json::fields;
use crate::base::units::sum;
use crate::model::frame::{Frame, NOT_ATTRIBUTED};
use crate::model::report::Report;
use crate::report::names::short;
use crate::report::samples::Sample;

/// Two profiles: everything that is retained, and what leaks or grows, if anything does. Samples are
/// in the report's order, the worst call site first.
pub(super) fn render(report: &Report) -> Vec<u8> {
    let mut frames = Frames::default();
    let workload = report.heading();
    let mut profiles = vec![profile(
        format!("{workload}: retained"),
        report.samples(),
        &mut frames,
    )];
    if report.growing_call_sites().next().is_some() {
        let growing = report.samples().filter(|s| s.site.verdict.is_growth());
        let name = format!("{workload}: leaks and growth");
        profiles.push(profile(name, growing, &mut frames));
    }
    let file = File {
        schema: "https://www.speedscope.app/file-format-schema.json",
        exporter: format!("afterdrop {}", report.version),
        name: format!("{workload}: {}", report.summary),
        active: 0,
        shared: Shared { frames: frames.all },
        profiles,
    };
    serde_json::to_vec(&file).unwrap_or_default()
}

/// The file. A value of `serde_json` would take far more memory.
struct File<'a> {
    schema: &'a str,
    exporter: String,
    name: String,
    active: u32,
    shared: Shared<'a>,
    profiles: Vec<Profile>,
}

fields! {
    write File<'_> {
        schema: "$schema", exporter, name, active: "activeProfileIndex", shared, profiles,
    }
}

struct Shared<'a> {
    frames: Vec<Known<'a>>,
}

fields! { write Shared<'_> { frames } }

struct Profile {
    kind: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Vec<Vec<u32>>,
    weights: Vec<u64>,
}

fields! {
    write Profile {
        kind: "type", name, unit, start_value: "startValue", end_value: "endValue", samples,
        weights,
    }
}

fn profile<'a>(
    name: String,
    of: impl Iterator<Item = Sample<'a>>,
    frames: &mut Frames<'a>,
) -> Profile {
    let (mut samples, mut weights) = (Vec::new(), Vec::new());
    for sample in of {
        samples.push(frames.stack(sample));
        weights.push(sample.bytes());
    }
    Profile {
        kind: "sampled",
        name,
        unit: "bytes",
        start_value: 0,
        end_value: sum(weights.iter().copied()),
        samples,
        weights,
    }
}

/// The frames that both profiles share, by their index in the report's profile.
#[derive(Default)]
struct Frames<'a> {
    all: Vec<Known<'a>>,
    numbers: HashMap<u32, u32>,
}

impl<'a> Frames<'a> {
    /// The numbers of a stack's frames, the outermost first.
    fn stack(&mut self, sample: Sample<'a>) -> Vec<u32> {
        let frames = sample.stack.frames.iter().zip(sample.frames());
        let mut stack: Vec<u32> = frames
            .map(|(&id, frame)| self.number(id, || Known::of(frame)))
            .collect();
        if stack.is_empty() {
            stack.push(self.number(u32::MAX, Known::nothing));
        }
        stack.reverse();
        stack
    }

    fn number(&mut self, id: u32, frame: impl FnOnce() -> Known<'a>) -> u32 {
        *self.numbers.entry(id).or_insert_with(|| {
            self.all.push(frame());
            // There are no more than indices in the report.
            (self.all.len() - 1) as u32
        })
    }
}

/// What is known of a frame. The format has no null.
struct Known<'a> {
    name: String,
    file: Option<&'a str>,
    line: Option<u32>,
}

impl Serialize for Known<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_map(None)?;
        object.serialize_entry("name", &self.name)?;
        if let Some(file) = self.file {
            object.serialize_entry("file", file)?;
        }
        if let Some(line) = self.line {
            object.serialize_entry("line", &line)?;
        }
        object.end()
    }
}

impl<'a> Known<'a> {
    fn of(frame: &'a Frame) -> Self {
        Self {
            name: short(&frame.function),
            file: frame.file.as_deref(),
            line: frame.line,
        }
    }

    fn nothing() -> Self {
        Self {
            name: NOT_ATTRIBUTED.into(),
            file: None,
            line: None,
        }
    }
}
