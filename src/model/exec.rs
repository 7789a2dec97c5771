//! What the command tells the processes of a program that it runs as it is.

use std::path::PathBuf;

use serde_core::de::Error;
use serde_core::{Deserialize, Deserializer, Serialize, Serializer};

use super::settings::path;
use crate::base::json::fields;
/// Environment variable of the program and of all processes that it starts: its [`ExecPlan`] as JSON.
pub(crate) const ENV_EXEC: &str = "AFTERDROP_EXEC";

/// The file in the folder of a process that says what it is: a [`ProcessRecord`] as JSON.
pub(crate) const PROCESS_FILE: &str = "process.json";

/// The file in the folder of a process with the number of openings of each file that it opened more than
/// once, as JSON, the most opened one first.
pub(crate) const OPENINGS_FILE: &str = "openings.json";

/// How the processes of a program are measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExecPlan {
    /// The folder of the run.
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

fields! {
    ExecPlan {
        out: (path), marks, cycles, warmup, horizon, holders, collect, sample_every: default,
    }
}

/// What ends a cycle and begins the next.
#[derive(Clone, Debug, PartialEq)]
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

/// A name, and what there is to it.
impl Serialize for Marks {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Open(pattern) => ("open", pattern).serialize(to),
            Self::Call => ("call", "").serialize(to),
            Self::Function(name) => ("function", name).serialize(to),
            Self::Every(milliseconds) => ("every", milliseconds.to_string()).serialize(to),
            Self::None => ("none", "").serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (name, value): (String, String) = Deserialize::deserialize(from)?;
        match &*name {
            "open" => Ok(Self::Open(value)),
            "call" => Ok(Self::Call),
            "function" => Ok(Self::Function(value)),
            "every" => value.parse().map(Self::Every).map_err(D::Error::custom),
            "none" => Ok(Self::None),
            other => Err(D::Error::unknown_variant(
                other,
                &["open", "call", "function", "every", "none"],
            )),
        }
    }
}

/// A process that the library was loaded into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessRecord {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// The arguments with which its program was started, the first of which is its name.
    pub(crate) arguments: Vec<String>,
    /// The file that has the program's own `malloc`, in whose place that of the library cannot be.
    pub(crate) foreign_malloc: Option<String>,
}

fields! { ProcessRecord { pid, parent, arguments, foreign_malloc: default } }
