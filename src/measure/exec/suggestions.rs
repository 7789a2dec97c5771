//! What could mark the cycles of a program: the files that it opened again and again.

use super::processes::Process;
use crate::base::text::count;
use crate::model::exec::{Marks, OPENINGS_FILE};

/// Files that are suggested.
const FILES: usize = 3;

/// What to do about a program without a cycle.
pub(super) fn of(all: &[Process], marks: &Marks) -> String {
    if let Marks::Function(_) = marks {
        return "it has to be a function that is written in Python, by the dotted name of its definition, such \
                as package.module.function; of the script's own functions the name is enough"
            .into();
    }
    let mut files: Vec<(u32, String)> = all.iter().flat_map(openings).collect();
    files.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    files.dedup_by(|a, b| a.1 == b.1);
    files.retain(|(_, path)| is_pattern_of_itself(path));
    if let Some((_, path)) = files.first() {
        let name = path.rsplit('/').next().unwrap_or(path);
        let list: Vec<String> = files
            .iter()
            .take(FILES)
            .map(|(times, path)| format!("{path} {}", count(u64::from(*times), "time")))
            .collect();
        return format!(
            "it opened {}: use --cycle-at open:{name}, if each is a cycle",
            list.join(", ")
        );
    }
    match marks {
        Marks::Every(_) => "use a shorter time with --cycle-at every:",
        _ => {
            "it opened no file twice: use --cycle-at every:30s for a service, or call \
             `afterdrop_cycle` in the program and use --cycle-at call"
        }
    }
    .into()
}

/// Whether the name of a file, taken as a pattern, means this file alone.
fn is_pattern_of_itself(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    !name.trim_matches('.').is_empty() && !name.contains(['*', '?', ','])
}

/// How often the process opened each file, if it did so more than once.
fn openings(process: &Process) -> Vec<(u32, String)> {
    let text = std::fs::read(process.folder.join(OPENINGS_FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
