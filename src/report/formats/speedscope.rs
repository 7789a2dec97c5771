//! speedscope's file format (github.com/jlfwong/speedscope, `src/lib/file-format-spec.ts`).

use std::collections::HashMap;

use serde_json::{Value, json};

use super::NOT_ATTRIBUTED;
use crate::model::profile::Sample;
use crate::model::report::Report;

/// Two profiles: all that is retained, and what leaks or grows, if anything does.
pub(super) fn render(report: &Report) -> Vec<u8> {
    let mut frames: Vec<Value> = Vec::new();
    // By call site, the worst first, so that its order over time is the report's.
    let mut numbers: HashMap<u32, usize> = HashMap::new();
    let mut stack = |sample: Sample<'_>| -> Vec<usize> {
        let named = sample.stack.frames.iter().zip(sample.frames());
        let mut numbered: Vec<usize> = named
            .map(|(&id, frame)| {
                *numbers.entry(id).or_insert_with(|| {
                    let mut known = json!({ "name": frame.function });
                    // What is not known is left out: the format has no null.
                    if let Some(file) = &frame.file {
                        known["file"] = json!(file);
                    }
                    if let Some(line) = frame.line {
                        known["line"] = json!(line);
                    }
                    frames.push(known);
                    frames.len() - 1
                })
            })
            .collect();
        if numbered.is_empty() {
            numbered.push(*numbers.entry(u32::MAX).or_insert_with(|| {
                frames.push(json!({ "name": NOT_ATTRIBUTED }));
                frames.len() - 1
            }));
        }
        numbered.reverse();
        numbered
    };
    let mut profile = |name: String, of: &dyn Fn(&Sample<'_>) -> bool| {
        let (mut samples, mut weights) = (Vec::new(), Vec::new());
        for sample in report.samples().filter(of) {
            samples.push(stack(sample));
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
    };
    let mut profiles = vec![profile(format!("{}: retained", report.workload), &|_| true)];
    if report.growing_call_sites().next().is_some() {
        let grows = |s: &Sample<'_>| s.site.verdict.is_growth();
        profiles.push(profile(
            format!("{}: leaks and growth", report.workload),
            &grows,
        ));
    }
    let file = json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": format!("afterdrop {}", report.version),
        "name": format!("{}: {}", report.workload, report.summary),
        "activeProfileIndex": 0,
        "shared": { "frames": frames },
        "profiles": profiles,
    });
    serde_json::to_vec(&file).unwrap_or_default()
}
