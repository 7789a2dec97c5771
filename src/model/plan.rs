//! The messages from the parent to the measured process: the plan of the run, and the replies at
//! interim analyses.
//!
//! The plan is passed once, as JSON in an environment variable of the child.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use super::run::{HeapKind, Strategy};
use super::settings::{Settings, path};
use crate::base::json::{fields, variants};

/// Environment variable of the measured child: its [`Plan`] as JSON.
pub(crate) const ENV_PLAN: &str = "AFTERDROP_PLAN";

/// Environment variable of the measured child: the process ID of its parent. A process that the
/// child starts inherits [`ENV_PLAN`], but has another parent, and so ignores the plan.
pub(crate) const ENV_PARENT: &str = "AFTERDROP_PARENT";

/// The run that the measured process performs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) subject: Subject,
    pub(crate) heap: HeapKind,
    pub(crate) strategy: Strategy,
    /// Cycles to run, including the warm-up; an upper limit if `auto` is set.
    pub(crate) cycles: u32,
    /// Cycles before the baseline.
    pub(crate) warmup: u32,
    /// Cycles after the warm-up beyond which steady growth is a leak.
    pub(crate) horizon: u32,
    /// When to end before the last cycle; `None` if the number of cycles is fixed.
    pub(crate) auto: Option<Auto>,
    /// Whether to search for holders after the last boundary.
    pub(crate) holders: bool,
    /// The folder for the journal, and for the files of jemalloc and dhat.
    pub(crate) out: PathBuf,
    /// The file descriptor on which the child reads the replies of its parent; `None` if the parent
    /// does not reply.
    pub(crate) replies: Option<RawFd>,
}

fields! {
    Plan {
        subject, heap, strategy, cycles, warmup, horizon, auto: default, holders, out: (path),
        replies: default,
    }
}

/// When a run ends whose number of cycles is not fixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Auto {
    /// The cycle after which the child waits for the first interim analysis.
    pub(crate) first_analysis: u32,
    /// Time since the start of the first cycle after which no further cycle begins.
    pub(crate) time: Duration,
}

fields! { Auto { first_analysis, time } }

/// What the cycles run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Subject {
    Workload(WorkloadPlan),
    /// A [`Check`](crate::Check), by its key: its name, made unique within its test.
    Check(String),
    /// A program as it is, by its command line.
    Program(String),
}

variants! { Subject { Workload: "workload", Check: "check", Program: "program" } }

/// A workload of the command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkloadPlan {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    /// Whether to run the model, or only load and drop it.
    pub(crate) infer: bool,
}

fields! { WorkloadPlan { name, settings, infer } }

impl Subject {
    /// The name of the workload or check in the journal and in the report.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Workload(workload) => &workload.name,
            Self::Check(key) => key,
            Self::Program(command) => command,
        }
    }
}

/// Reply to the waiting child: continue, stop, or search for holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Continue, and wait again after the cycle `next_analysis`.
    Continue { next_analysis: u32 },
    /// Run no further cycle.
    Stop,
    /// Search for holders, then wait again.
    Search,
}

impl Reply {
    /// Size of an encoded reply in bytes.
    pub(crate) const SIZE: usize = 5;

    /// Encodes the reply: a tag, then the cycle in little-endian order.
    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let (tag, cycle) = match self {
            Self::Continue { next_analysis } => (b'+', next_analysis),
            Self::Stop => (b'.', 0),
            Self::Search => (b'?', 0),
        };
        let [a, b, c, d] = cycle.to_le_bytes();
        [tag, a, b, c, d]
    }

    /// Decodes a reply; `None` if the tag is unknown.
    pub(crate) fn from_bytes([tag, a, b, c, d]: [u8; Self::SIZE]) -> Option<Self> {
        match tag {
            b'+' => Some(Self::Continue {
                next_analysis: u32::from_le_bytes([a, b, c, d]),
            }),
            b'.' => Some(Self::Stop),
            b'?' => Some(Self::Search),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_decoded_reply_equals_the_encoded_one() {
        let next_analysis = 0x0102_0304;
        for reply in [
            Reply::Continue { next_analysis },
            Reply::Stop,
            Reply::Search,
        ] {
            assert_eq!(Reply::from_bytes(reply.to_bytes()), Some(reply));
        }
        assert_eq!(Reply::from_bytes([0; Reply::SIZE]), None);
    }

    #[test]
    fn a_parsed_plan_equals_the_written_one_even_if_its_paths_are_not_utf_8() {
        let not_utf8 = PathBuf::from(OsStr::from_bytes(b"/tmp/\xff\xfe \"x\""));
        let plan = Plan {
            subject: Subject::Workload(WorkloadPlan {
                name: "burn:mlp".into(),
                settings: Settings {
                    model: Some(not_utf8.clone()),
                    inputs: vec![not_utf8.clone(), "b.npy".into()],
                    scratch: not_utf8.clone(),
                    ..Settings::default()
                },
                infer: true,
            }),
            heap: HeapKind::System,
            strategy: Strategy::Swap,
            cycles: 195,
            warmup: 3,
            horizon: 64,
            auto: Some(Auto {
                first_analysis: 11,
                time: Duration::MAX,
            }),
            holders: true,
            out: not_utf8,
            replies: Some(7),
        };
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
