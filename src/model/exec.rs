//! What the command tells the processes of a program that it runs as it is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Environment variable of the program and of all processes that it starts: its [`ExecPlan`] as JSON.
pub(crate) const ENV_EXEC: &str = "AFTERDROP_EXEC";

/// The file in the folder of a process that says what it is: a [`ProcessRecord`] as JSON.
pub(crate) const PROCESS_FILE: &str = "process.json";

/// The file in the folder of a process with the number of openings of each file that it opened more than
/// once, as JSON, the most opened one first.
pub(crate) const OPENINGS_FILE: &str = "openings.json";

/// How the processes of a program are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExecPlan {
    /// The folder of the run.
    #[serde(with = "super::settings::path")]
    pub(crate) out: PathBuf,
    /// What ends a cycle and begins the next.
    pub(crate) marks: Marks,
    /// Cycles to record, including the warm-up.
    pub(crate) cycles: u32,
    pub(crate) warmup: u32,
    pub(crate) horizon: u32,
    pub(crate) holders: bool,
    /// Python's garbage is collected at each mark.
    pub(crate) collect: bool,
    /// Mean number of bytes between two samples; `None` to record every block.
    pub(crate) sample_every: Option<u64>,
}

/// What ends a cycle and begins the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Marks {
    /// The opening of a file whose name, or path, is of this pattern.
    Open(String),
    /// A call of `afterdrop_cycle`.
    Call,
    /// A call of a function of Python's, by its dotted name.
    Function(String),
    /// Milliseconds.
    Every(u64),
    /// None: files that are opened again and again are counted.
    None,
}

/// A process that the library was loaded into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// The arguments with which its program was started, the first of which is its name.
    pub(crate) arguments: Vec<String>,
    /// The file that has the program's own `malloc`, in whose place that of the library cannot be.
    pub(crate) foreign_malloc: Option<String>,
}
