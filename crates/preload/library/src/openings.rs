//! The files that the program opens: which of them mark cycles, and how often each was opened.
//!
//! One load may open a file several times, each from another place of the program. So an opening belongs to
//! the running load if its call stack has not opened the file in it, and begins a load otherwise. A stack that
//! has begun one always does: a program may load from several places.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::base::files::write_atomically;
use crate::base::pattern;
use crate::model::exec::OPENINGS_FILE;
use crate::recorder::heap;
use crate::room::with_room;
use crate::{python, session};

/// Files that are counted at most.
const MAX_FILES: usize = 4096;

/// Files in the list.
const LISTED: usize = 20;

static OPENINGS: LazyLock<Mutex<Openings>> = LazyLock::new(Mutex::default);

#[derive(Default)]
pub(crate) struct Openings {
    /// What marks a cycle.
    pattern: Option<Vec<u8>>,
    /// Openings by path.
    files: HashMap<Vec<u8>, u32>,
    /// By file that marks cycles: the stacks that have opened it in the running load.
    running: HashMap<u64, HashSet<u64>>,
    /// Files and stacks that begin loads.
    beginners: HashSet<(u64, u64)>,
}

/// The openings, and the lock that this thread holds.
pub(crate) type OpeningsGuard = MutexGuard<'static, Openings>;

pub(crate) fn lock() -> OpeningsGuard {
    OPENINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to mark cycles by the openings of files of this pattern.
pub(crate) fn watch(pattern: &str) {
    lock().pattern = Some(pattern.into());
}

/// Called before the program opens a file.
pub(crate) fn opened(path: &[u8]) {
    if !heap::records_c() || heap::is_paused() {
        return;
    }
    python::opened();
    let stack = heap::key_of_caller();
    let is_mark = with_room(|| {
        let _paused = heap::pause();
        let mut openings = lock();
        openings.count(path);
        openings.is_mark(path, stack)
    });
    if is_mark {
        session::mark();
    }
}

impl Openings {
    /// Forgets what another process has opened, of which this one is a copy.
    pub(crate) fn forget(&mut self) {
        *self = Self {
            pattern: self.pattern.take(),
            ..Self::default()
        };
    }

    /// Whether an opening by this stack begins a load.
    fn is_mark(&mut self, path: &[u8], stack: u64) -> bool {
        let is_watched = |p: &Vec<u8>| pattern::matches(p, path);
        if !self.pattern.as_ref().is_some_and(is_watched) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let file = hasher.finish();
        let running = self.running.entry(file).or_default();
        let is_first = running.is_empty()
            || running.contains(&stack)
            || self.beginners.contains(&(file, stack));
        if is_first {
            self.beginners.insert((file, stack));
            running.clear();
        }
        running.insert(stack);
        is_first
    }

    fn count(&mut self, path: &[u8]) {
        let has_room = self.files.len() < MAX_FILES || self.files.contains_key(path);
        if !has_room || is_of_the_system(path) {
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
        if list.is_empty() {
            return;
        }
        if let (Ok(text), Some(folder)) = (serde_json::to_vec(&list), session::folder()) {
            let _ = write_atomically(&folder.join(OPENINGS_FILE), |to| to.write_all(&text));
        }
    }
}

/// Writes the list, when the process exits.
pub(crate) fn end() {
    if heap::records_c() {
        let _paused = heap::pause();
        lock().write();
    }
}

/// Whether a file is of the system, or code: nobody loads it as a model.
fn is_of_the_system(path: &[u8]) -> bool {
    let folders: [&[u8]; 4] = [b"/proc/", b"/sys/", b"/dev/", b"/etc/"];
    let endings: [&[u8]; 5] = [b".so", b".py", b".pyc", b".pth", b"/pyvenv.cfg"];
    folders.iter().any(|folder| path.starts_with(folder))
        || endings.iter().any(|ending| path.ends_with(ending))
        || path.windows(4).any(|part| part == b".so.")
}
