//! The orderings in the sources of the recorder.

use std::fs;
use std::path::Path;

use crate::recorder::primitive::sites::Site;

const STRONGER: [&str; 4] = ["Acquire", "Release", "AcqRel", "SeqCst"];

/// All lines with an ordering stronger than `Relaxed` below a folder, without tests and imports.
pub fn orderings(recorder: &Path) -> Vec<(Site, String)> {
    let mut found = Vec::new();
    let mut folders = vec![recorder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the recorder's sources") {
            let path = entry.expect("a file of the recorder").path();
            let name = path.strip_prefix(recorder).expect("a path below it");
            let name = name.to_str().expect("a name in UTF-8");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "heap/tests.rs" {
                let text = fs::read_to_string(&path).expect("a source file");
                found.extend(lines(name, &text));
            }
        }
    }
    found.sort();
    found
}

fn lines(file: &str, text: &str) -> Vec<(Site, String)> {
    let mut is_import = false;
    let code = text.lines().take_while(|line| *line != "mod tests {");
    let with_ordering = (1..).zip(code).filter(|(_, line)| {
        is_import |= line.trim_start().starts_with("use ");
        let is_skipped = is_import;
        is_import &= !line.trim_end().ends_with(';');
        let code = line.split("//").next().unwrap_or_default();
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        !is_skipped && words.any(|word| STRONGER.contains(&word))
    });
    with_ordering
        .map(|(line, text)| {
            let file = file.to_owned();
            (Site { file, line }, text.trim().to_owned())
        })
        .collect()
}
