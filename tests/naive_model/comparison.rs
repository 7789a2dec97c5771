//! Reads what was live from the model's file, the journal and the report, and compares.
//!
//! The recorder's stacks get the names of the model's functions from the report: its backtraces say
//! which functions are at which return address. All other frames have no name here.

use std::collections::{BTreeMap, HashMap};
use std::fs::read_to_string;
use std::path::Path;

use afterdrop::Report;
use afterdrop::report::Frame;
use serde_json::Value;

use super::calls::is_known;

/// Birth cycle, number of the phase, and stack: the names of its functions, the outermost first.
type Key = (u32, u8, String);

/// Live bytes and blocks at a boundary.
pub type Live = BTreeMap<Key, (u64, u64)>;

fn add(live: &mut Live, key: Key, (bytes, blocks): (u64, u64)) {
    let sum = live.entry(key).or_default();
    *sum = (sum.0 + bytes, sum.1 + blocks);
}

/// What the model has written, at each boundary.
pub fn of_model(path: &Path) -> Vec<Live> {
    let mut boundaries = BTreeMap::<u64, Live>::new();
    for line in read_to_string(path).unwrap().lines() {
        let mut words = line.splitn(6, ' ');
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let [boundary, cycle, phase, bytes, blocks] = std::array::from_fn(|_| number());
        let stack = words.next().unwrap().to_owned();
        let key = (cycle as u32, phase as u8, stack);
        add(
            boundaries.entry(boundary).or_default(),
            key,
            (bytes, blocks),
        );
    }
    boundaries.into_values().collect()
}

/// The name that the model has for a frame.
fn name(frame: &Frame) -> Option<&str> {
    let is_model = |file: &str| file.ends_with("naive_model/calls.rs");
    let name = frame.function.rsplit("::").next()?;
    (frame.file.as_deref().is_some_and(is_model) && is_known(name)).then_some(name)
}

/// The stack of these names, the innermost first.
fn stack<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.reverse();
    names.join(" ")
}

/// The name of each return address in a function that the model knows.
fn names_by_address(report: &Report) -> HashMap<u64, &str> {
    let mut names = HashMap::new();
    for stack in &report.profile.stacks {
        let mut frames = stack.frames.iter();
        for &(address, inlined) in &stack.calls {
            let frames = frames.by_ref().take(inlined as usize);
            let frames = frames.map(|&i| &report.profile.frames[i as usize]);
            // Only the outermost is a function of its own, and the model's are never inlined.
            if let Some(name) = frames.last().and_then(name) {
                names.insert(address, name);
            }
        }
    }
    names
}

fn records(journal: &Path) -> Vec<Value> {
    let text = read_to_string(journal).unwrap();
    let lines = text.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Whether stacks were walked by call frame information.
pub fn walked_by_cfi(journal: &Path) -> bool {
    records(journal)[0]["start"]["by_cfi"].as_bool().unwrap()
}

/// What the recorder has counted, at each boundary. Stacks without a function of the model are left
/// out.
pub fn of_journal(journal: &Path, report: &Report) -> Vec<Live> {
    let names = names_by_address(report);
    let mut stacks = HashMap::<u64, String>::new();
    let mut census = BTreeMap::<(u64, u64, u64), (u64, u64)>::new();
    let mut boundaries = Vec::new();
    for record in records(journal) {
        if let Some(new) = record.get("stack") {
            let addresses = new["stack"].as_array().unwrap().iter();
            let addresses = addresses.map(|a| a.as_u64().unwrap());
            let known = addresses.filter_map(|a| names.get(&a).copied());
            stacks.insert(new["id"].as_u64().unwrap(), stack(known));
        }
        let Some(changes) = record["boundary"]["census"].as_array() else {
            continue;
        };
        for entry in changes {
            let [stack, birth, phase, bytes, blocks] =
                std::array::from_fn(|i| entry[i].as_u64().unwrap());
            census.insert((stack, birth, phase), (bytes, blocks));
        }
        census.retain(|_, &mut (_, blocks)| blocks > 0);
        let mut live = Live::new();
        for (&(id, birth, phase), &amount) in &census {
            // Blocks without a readable stack have the number 0, which is no stack.
            let stack = stacks.get(&id).map_or("", String::as_str);
            if !stack.is_empty() {
                add(&mut live, (birth as u32, phase as u8, stack.into()), amount);
            }
        }
        boundaries.push(live);
    }
    boundaries
}

/// What the report has at the end.
pub fn of_report(report: &Report) -> Live {
    let mut live = Live::new();
    for profiled in &report.profile.stacks {
        let frames = profiled.frames.iter();
        let frames = frames.map(|&i| &report.profile.frames[i as usize]);
        let stack = stack(frames.filter_map(name));
        let phase = report.call_sites[profiled.site as usize].phase as u8;
        for born in profiled.live.iter().filter(|_| !stack.is_empty()) {
            let key = (born.cycle, phase, stack.clone());
            add(&mut live, key, (born.bytes, born.blocks));
        }
    }
    live
}

/// Where the model and the recorder differ, in words.
pub fn differences(model: &Live, recorded: &Live) -> Vec<String> {
    let keys = model.keys().chain(recorded.keys());
    let mut keys: Vec<&Key> = keys.filter(|k| model.get(k) != recorded.get(k)).collect();
    keys.sort_unstable();
    keys.dedup();
    let words = |key: &Key| {
        let [model, recorded] = [model, recorded].map(|live| live.get(key).unwrap_or(&(0, 0)));
        let (cycle, phase, stack) = key;
        format!("cycle {cycle}, phase {phase}, {stack}: model {model:?}, recorder {recorded:?}")
    };
    keys.into_iter().map(words).collect()
}
