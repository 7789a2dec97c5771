//! SARIF 2.1.0 (OASIS), for code scanning: a result at each blame line, the stack as its code flow, the
//! holder as a related location.

use std::path::Path;

use serde_json::{Value, json};

use crate::model::process::Part;
use crate::model::report::{CallSite, Report};
use crate::model::verdict::Verdict;
use crate::report::names::{short, short_of_stack};

/// The base of relative paths.
const ROOT: &str = "%SRCROOT%";

/// Most results: code scanning shows no more, and rejects very large files.
const MOST: usize = 1000;

/// The file of results without a line. Code scanning requires one, and every package has this one.
const WITHOUT_LINE: &str = "Cargo.toml";

/// The verdicts that are results, with their level and description.
const RULES: [(Verdict, &str, &str); 3] = [
    (
        Verdict::Leak,
        "error",
        "Memory that every cycle of load, infer and drop retains, beyond the horizon within which a \
         cache fills up or a sweep frees it.",
    ),
    (
        Verdict::Growing,
        "error",
        "Memory that grew to the end of a run that was too short to tell a leak from a cache.",
    ),
    (
        Verdict::Undecided,
        "warning",
        "Memory that may be a leak or a cache; the message says how many more cycles would decide.",
    ),
];

const HELP: &str = "Look at the holder and at the stack, release what is retained, and run again. \
                    `afterdrop explain` shows the figures behind the verdict. To allow a known leak, \
                    add it to afterdrop.toml.";

pub(super) fn render(report: &Report) -> Vec<u8> {
    let serious = report
        .call_sites
        .iter()
        .filter(|s| rule(s.verdict).is_some());
    let more = serious.clone().count().saturating_sub(MOST);
    let mut results: Vec<Value> = serious
        .take(MOST)
        .filter_map(|site| of_site(report, site))
        .collect();
    let parts = report.process.parts.iter();
    results.extend(parts.filter_map(|part| of_part(report, part)));
    let left_out = (more > 0).then(|| format!("{more} more call sites are in report.json"));
    let notes: Vec<Value> = report
        .warnings
        .iter()
        .chain(&left_out)
        .map(|text| json!({ "level": "note", "message": { "text": text } }))
        .collect();
    let file = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "afterdrop",
                    "version": report.version,
                    "semanticVersion": report.version,
                    "rules": rules(),
                },
            },
            "automationDetails": { "id": format!("afterdrop/{}/", report.workload) },
            "originalUriBaseIds": { ROOT: { "description": { "text": "The workspace" } } },
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": report.ended.is_complete(),
                "toolExecutionNotifications": notes,
            }],
            "results": results,
        }],
    });
    serde_json::to_vec_pretty(&file).unwrap_or_default()
}

fn rules() -> Value {
    let rules = RULES.map(|(verdict, level, help)| {
        json!({
            "id": verdict.name(),
            "name": format!("Memory{}", capital(verdict.name())),
            "shortDescription": { "text": format!("afterdrop: {verdict}") },
            "fullDescription": { "text": help },
            "help": { "text": HELP },
            "defaultConfiguration": { "level": level },
            "properties": { "tags": ["memory", "leak"], "precision": "very-high" },
        })
    });
    json!(rules)
}

/// Index of a verdict's rule, if it is a result.
fn rule(verdict: Verdict) -> Option<usize> {
    RULES.iter().position(|r| r.0 == verdict)
}

/// The text with a capital first letter.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn of_part(report: &Report, part: &Part) -> Option<Value> {
    let index = rule(part.verdict)?;
    let name = part.what.name();
    Some(json!({
        "ruleId": part.verdict.name(),
        "ruleIndex": index,
        "level": RULES[index].1,
        "message": { "text": format!("{}: {}", capital(&part.amount()), part.reason) },
        "locations": [location(Some(WITHOUT_LINE), None, name, name)],
        "partialFingerprints": {
            "afterdrop/v1": format!("{} {name}", report.workload),
        },
    }))
}

fn of_site(report: &Report, site: &CallSite) -> Option<Value> {
    let index = rule(site.verdict)?;
    let name = short(&site.function);
    let mut result = json!({
        "ruleId": site.verdict.name(),
        "ruleIndex": index,
        "level": RULES[index].1,
        "message": { "text": message(site, &name) },
        "locations": [location(
            Some(site.file.as_deref().unwrap_or(WITHOUT_LINE)),
            site.line,
            &name,
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
        let index = line.checked_sub(source.first_line);
        let text = index.and_then(|i| source.lines.get(i as usize));
        place["region"]["snippet"] = json!({ "text": text });
        place["contextRegion"] = json!({
            "startLine": source.first_line,
            "endLine": u64::from(source.first_line) + (source.lines.len() as u64).saturating_sub(1),
            "snippet": { "text": source.lines.join("\n") },
        });
    }
    let steps = steps(site);
    if !steps.is_empty() {
        result["codeFlows"] = json!([{ "threadFlows": [{ "locations": steps }] }]);
    }
    if let Some(holder) = site.holder.as_ref().filter(|h| h.file.is_some()) {
        let sentence = holder.sentence();
        let name = holder.name.as_deref().unwrap_or(&sentence);
        let mut related = location(holder.file.as_deref(), holder.line, &sentence, name);
        related["id"] = json!(1);
        result["relatedLocations"] = json!([related]);
    }
    if let Some(why) = &site.allowed {
        result["suppressions"] = json!([{ "kind": "external", "justification": why }]);
    }
    Some(result)
}

/// The verdict, the amount, the reason and the holder, in sentences.
fn message(site: &CallSite, name: &str) -> String {
    let holder = site.holder.as_ref();
    let held = holder.map_or_else(String::new, |h| format!(" {}.", capital(&h.sentence())));
    format!(
        "{}: {} from `{name}` in phase {}: {}.{held}",
        capital(site.verdict.name()),
        site.amount(),
        site.phase,
        site.reason
    )
}

/// The stack from its outermost frame to the allocation, as a debugger steps.
fn steps(site: &CallSite) -> Vec<Value> {
    let frames = site.shown_frames();
    let names = short_of_stack(frames);
    let steps = frames.iter().zip(names).rev();
    steps
        .map(|(f, name)| {
            json!({ "location": location(f.file.as_deref(), f.line, &name, &f.function) })
        })
        .collect()
}

/// A location with a message and the whole name of its function. The file may be missing.
fn location(file: Option<&str>, line: Option<u32>, message: &str, function: &str) -> Value {
    let mut location = json!({
        "message": { "text": message },
        "logicalLocations": [{ "fullyQualifiedName": function, "kind": "function" }],
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

/// A path as a URI reference (RFC 3986): all but unreserved characters and slashes is
/// percent-encoded.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("src/a b.rs"), "src/a%20b.rs");
        assert_eq!(uri("/x/\u{e4}%.rs"), "file:///x/%C3%A4%25.rs");
    }
}
