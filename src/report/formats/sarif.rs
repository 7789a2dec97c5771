//! SARIF 2.1.0 (OASIS), for code scanning: a result at each blame line, the stack as its code flow, the
//! holder as a related location.

use std::path::Path;

use serde_json::{Value, json};

use crate::base::units::bytes;
use crate::model::frame::{Frame, Owner};
use crate::model::report::{CallSite, Report};
use crate::model::verdict::Verdict;

/// Folder that files of the project are relative to.
const ROOT: &str = "%SRCROOT%";

/// Results at most: code scanning shows no more, and takes no file of hundreds of megabytes.
const MOST: usize = 1000;

/// Where a result is that has no line: code scanning wants a file, and each package has this one.
const WITHOUT_LINE: &str = "Cargo.toml";

const RULES: [(Verdict, &str, &str); 3] = [
    (
        Verdict::Leak,
        "error",
        "Memory that every cycle of load, infer and drop leaves behind, beyond the horizon within which a \
         cache fills or a sweep comes.",
    ),
    (
        Verdict::Growing,
        "error",
        "Memory that grew to the end of a run that was too short to tell a leak from a cache.",
    ),
    (
        Verdict::Undecided,
        "warning",
        "Memory of which the numbers allow two answers; the message says what would settle it.",
    ),
];

const HELP: &str = "Screen at the holder and at the stack, free what is kept, and run it again. `afterdrop \
                    explain` shows the figures; what is known goes into afterdrop.toml.";

pub(super) fn render(report: &Report) -> Vec<u8> {
    let rules = RULES.map(|(verdict, level, help)| {
        json!({
            "id": id(verdict),
            "name": format!("Memory{}", capital(verdict.name())),
            "shortDescription": { "text": format!("afterdrop: {verdict}") },
            "fullDescription": { "text": help },
            "help": { "text": HELP },
            "defaultConfiguration": { "level": level },
            "properties": { "tags": ["memory", "leak"], "precision": "very-high" },
        })
    });
    let told = report
        .call_sites
        .iter()
        .filter(|s| rule(s.verdict).is_some());
    let more = told.clone().count().saturating_sub(MOST);
    let mut results: Vec<Value> = told
        .take(MOST)
        .filter_map(|site| result(report, site))
        .collect();
    results.extend(report.process.parts.iter().filter_map(|part| {
        let index = rule(part.verdict)?;
        Some(json!({
            "ruleId": id(part.verdict),
            "ruleIndex": index,
            "level": RULES[index].1,
            "message": { "text": format!("{}: {}", capital(&part.amount()), part.reason) },
            "locations": [location(Some(WITHOUT_LINE), None, part.what.name())],
            "partialFingerprints": {
                "afterdrop/v1": format!("{} {}", report.workload, part.what.name()),
            },
        }))
    }));
    let left_out = (more > 0).then(|| format!("{more} more places are in report.json"));
    let notes = report.warnings.iter().chain(&left_out);
    let file = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "afterdrop",
                    "version": report.version,
                    "semanticVersion": report.version,
                    "rules": rules,
                },
            },
            "automationDetails": { "id": format!("afterdrop/{}/", report.workload) },
            "originalUriBaseIds": { ROOT: { "description": { "text": "The workspace" } } },
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": report.ended.is_complete(),
                "toolExecutionNotifications": notes.map(|text| {
                    json!({ "level": "note", "message": { "text": text } })
                }).collect::<Vec<_>>(),
            }],
            "results": results,
        }],
    });
    serde_json::to_vec_pretty(&file).unwrap_or_default()
}

fn id(verdict: Verdict) -> &'static str {
    verdict.name()
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn rule(verdict: Verdict) -> Option<usize> {
    RULES.iter().position(|r| r.0 == verdict)
}

fn result(report: &Report, site: &CallSite) -> Option<Value> {
    let index = rule(site.verdict)?;
    let amount = match site.bytes_per_cycle.filter(|&rate| rate != 0.0) {
        Some(rate) => format!("{} a cycle", bytes(rate)),
        None => format!("{} held", bytes(site.retained_bytes as f64)),
    };
    let holder = site.holder.as_ref();
    let held = holder.map_or_else(String::new, |h| format!(" {}.", capital(&h.sentence())));
    let text = format!(
        "{}: {amount} from `{}` in {}: {}.{held}",
        capital(site.verdict.name()),
        site.function,
        site.phase,
        site.reason
    );
    // From who called to who allocated, as a debugger steps.
    let frames: Vec<&Frame> = site.frames().rev().collect();
    let steps: Vec<Value> = frames
        .iter()
        .map(|f| json!({ "location": location(f.file.as_deref(), f.line, &f.function) }))
        .collect();
    let mut result = json!({
        "ruleId": id(site.verdict),
        "ruleIndex": index,
        "level": RULES[index].1,
        "message": { "text": text },
        "locations": [location(
            Some(site.file.as_deref().unwrap_or(WITHOUT_LINE)),
            site.line,
            &site.function,
        )],
        "partialFingerprints": { "afterdrop/v1": site.fingerprint },
        "properties": {
            "workload": report.workload,
            "bytesPerCycle": site.bytes_per_cycle,
            "retainedBytes": site.retained_bytes,
            "retainedBlocks": site.retained_blocks,
        },
    });
    if let (Some(source), Some(line)) = (&site.source, site.line) {
        let place = &mut result["locations"][0]["physicalLocation"];
        let text = source.lines.get((line - source.first_line) as usize);
        place["region"]["snippet"] = json!({ "text": text });
        place["contextRegion"] = json!({
            "startLine": source.first_line,
            "endLine": source.first_line + source.lines.len() as u32 - 1,
            "snippet": { "text": source.lines.join("\n") },
        });
    }
    if !steps.is_empty() {
        result["codeFlows"] = json!([{ "threadFlows": [{ "locations": steps }] }]);
    }
    if let Some(holder) = holder.filter(|h| h.file.is_some()) {
        let mut related = location(holder.file.as_deref(), holder.line, &holder.sentence());
        related["id"] = json!(1);
        result["relatedLocations"] = json!([related]);
    }
    if let Some(why) = &site.allowed {
        result["suppressions"] = json!([{ "kind": "external", "justification": why }]);
    }
    Some(result)
}

/// A place in a file, with a message; without a file, of its name alone.
fn location(file: Option<&str>, line: Option<u32>, message: &str) -> Value {
    let mut location = json!({
        "message": { "text": message },
        "logicalLocations": [{ "fullyQualifiedName": message, "kind": "function" }],
    });
    if let Some(file) = file {
        let mut artifact = json!({ "uri": uri(file) });
        if !Path::new(file).is_absolute() {
            artifact["uriBaseId"] = json!(ROOT);
        }
        location["physicalLocation"] = json!({ "artifactLocation": artifact });
        if let Some(line) = line {
            location["physicalLocation"]["region"] = json!({ "startLine": line });
        }
    }
    location
}

/// A path as a URI reference (RFC 3986): what is not unreserved is percent-encoded, but for slashes.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    if Path::new(path).is_absolute() {
        uri += "file://";
    }
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

impl Frame {
    /// Whether a reader would go there.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.owner, Owner::Own | Owner::Generated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("src/a b.rs"), "src/a%20b.rs");
        assert_eq!(uri("/x/\u{e4}%.rs"), "file:///x/%C3%A4%25.rs");
    }
}
