//! The files that the program opens: which of them mark cycles, and how often each was opened.
//!
//! One load may open a file several times, each from another place of the program. So a cycle begins
//! when an opening is the first of the n-th load: when no call stack has opened the file n times before.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::base::files::write_atomically;
use crate::model::exec::OPENINGS_FILE;
use crate::pattern;
use crate::recorder::heap;
use crate::session;

/// Files that are counted at most.
const MAX_FILES: usize = 4096;

/// Files in the list.
const LISTED: usize = 20;

static OPENINGS: LazyLock<Mutex<Openings>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Openings {
    /// What marks a cycle.
    pattern: Option<Vec<u8>>,
    /// The folder of this process; empty before it is known.
    folder: PathBuf,
    /// Openings by path.
    files: HashMap<Vec<u8>, u32>,
    /// Openings by path and call stack, of files that mark cycles.
    stacks: HashMap<(u64, u64), u32>,
    /// The most openings of each file by one stack.
    loads: HashMap<u64, u32>,
}

/// Begins to count openings, and to mark cycles by those of this pattern.
pub(crate) fn watch(pattern: Option<String>, folder: PathBuf) {
    let mut openings = OPENINGS.lock().unwrap_or_else(PoisonError::into_inner);
    openings.pattern = pattern.map(String::into_bytes);
    openings.folder = folder;
}

/// Called before the program opens a file.
pub(crate) fn opened(path: &[u8]) {
    if !heap::records_c() || heap::is_paused() {
        return;
    }
    let is_mark = {
        let _paused = heap::pause();
        let mut openings = OPENINGS.lock().unwrap_or_else(PoisonError::into_inner);
        openings.count(path);
        openings.is_mark(path)
    };
    if is_mark {
        session::mark();
    }
}

impl Openings {
    /// Whether an opening begins a load.
    fn is_mark(&mut self, path: &[u8]) -> bool {
        let is_watched = |p: &Vec<u8>| pattern::matches(p, path);
        if !self.pattern.as_ref().is_some_and(is_watched) {
            return false;
        }
        let stack = heap::key_of_caller();
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let file = hasher.finish();
        let by_stack = self.stacks.entry((file, stack)).or_default();
        *by_stack += 1;
        let loads = self.loads.entry(file).or_default();
        let is_first = *by_stack > *loads;
        *loads = (*loads).max(*by_stack);
        is_first
    }

    fn count(&mut self, path: &[u8]) {
        let has_room = self.files.len() < MAX_FILES || self.files.contains_key(path);
        if self.folder.as_os_str().is_empty() || !has_room || is_of_the_system(path) {
            return;
        }
        let count = self.files.entry(path.to_vec()).or_default();
        *count += 1;
        // A process that is killed leaves a list that is at most half too small.
        if *count > 1 && count.is_power_of_two() {
            self.write();
        }
    }

    /// Writes the list. If that fails, a suggestion is missing, and nothing else.
    fn write(&self) {
        let again = self.files.iter().filter(|(_, count)| **count > 1);
        let mut list: Vec<(u32, String)> = again
            .map(|(path, count)| (*count, String::from_utf8_lossy(path).into_owned()))
            .collect();
        list.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        list.truncate(LISTED);
        let Ok(text) = serde_json::to_vec(&list) else {
            return;
        };
        let _ = write_atomically(&self.folder.join(OPENINGS_FILE), |to| to.write_all(&text));
    }
}

/// Writes the list, when the process exits.
pub(crate) fn end() {
    if heap::records_c() {
        let _paused = heap::pause();
        OPENINGS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write();
    }
}

/// Whether a file is of the system, or code: nobody loads it as a model.
fn is_of_the_system(path: &[u8]) -> bool {
    let folders: [&[u8]; 4] = [b"/proc/", b"/sys/", b"/dev/", b"/etc/"];
    let endings: [&[u8]; 4] = [b".so", b".py", b".pyc", b".pth"];
    folders.iter().any(|folder| path.starts_with(folder))
        || endings.iter().any(|ending| path.ends_with(ending))
        || path.windows(4).any(|part| part == b".so.")
}
