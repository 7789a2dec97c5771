//! speedscope's file format (github.com/jlfwong/speedscope, `src/lib/file-format-spec.ts`).

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::model::frame::{Frame, NOT_ATTRIBUTED};
use crate::model::report::Report;
use crate::report::names::short;
use crate::report::samples::Sample;

/// Two profiles: everything that is retained, and what leaks or grows, if anything does. Samples are
/// in the report's order, the worst call site first.
pub(super) fn render(report: &Report) -> Vec<u8> {
    let mut frames = Frames::default();
    let workload = &report.workload;
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
    let file = json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": format!("afterdrop {}", report.version),
        "name": format!("{workload}: {}", report.summary),
        "activeProfileIndex": 0,
        "shared": { "frames": frames.all },
        "profiles": profiles,
    });
    serde_json::to_vec(&file).unwrap_or_default()
}

fn profile<'a>(name: String, of: impl Iterator<Item = Sample<'a>>, frames: &mut Frames) -> Value {
    let (mut samples, mut weights) = (Vec::new(), Vec::new());
    for sample in of {
        samples.push(frames.stack(sample));
        weights.push(sample.bytes());
    }
    json!({
        "type": "sampled",
        "name": name,
        "unit": "bytes",
        "startValue": 0,
        "endValue": weights.iter().sum::<u64>(),
        "samples": samples,
        "weights": weights,
    })
}

/// The frames that both profiles share, by their index in the report's profile.
#[derive(Default)]
struct Frames {
    all: Vec<Value>,
    numbers: HashMap<u32, usize>,
}

impl Frames {
    /// The numbers of a stack's frames, the outermost first.
    fn stack(&mut self, sample: Sample<'_>) -> Vec<usize> {
        let frames = sample.stack.frames.iter().zip(sample.frames());
        let mut stack: Vec<usize> = frames
            .map(|(&id, frame)| self.number(id, || known(frame)))
            .collect();
        if stack.is_empty() {
            stack.push(self.number(u32::MAX, || json!({ "name": NOT_ATTRIBUTED })));
        }
        stack.reverse();
        stack
    }

    fn number(&mut self, id: u32, frame: impl FnOnce() -> Value) -> usize {
        *self.numbers.entry(id).or_insert_with(|| {
            self.all.push(frame());
            self.all.len() - 1
        })
    }
}

/// What is known of a frame. The format has no null.
fn known(frame: &Frame) -> Value {
    let mut known = json!({ "name": short(&frame.function) });
    if let Some(file) = &frame.file {
        known["file"] = json!(file);
    }
    if let Some(line) = frame.line {
        known["line"] = json!(line);
    }
    known
}
