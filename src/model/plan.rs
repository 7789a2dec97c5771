//! What the measured process is to do, and how its parent replies while it waits.
//!
//! The plan travels once, as JSON in an environment variable of the child.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::run::{HeapKind, Strategy};
use super::settings::Settings;

/// Environment variable of the measured child: its [`Plan`] as JSON.
pub(crate) const ENV_PLAN: &str = "AFTERDROP_PLAN";

/// Environment variable of the measured child: the process ID of its parent. Processes that the
/// child starts inherit [`ENV_PLAN`], but have another parent, so that they do not follow it.
pub(crate) const ENV_PARENT: &str = "AFTERDROP_PARENT";

/// What the measured process is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) subject: Subject,
    pub(crate) heap: HeapKind,
    pub(crate) strategy: Strategy,
    /// Cycles to run, warm-up included; with `auto`, at most.
    pub(crate) cycles: u32,
    pub(crate) warmup: u32,
    /// `None` if the number of cycles is fixed.
    pub(crate) auto: Option<Auto>,
    /// Whether to search for holders after the last boundary.
    pub(crate) holders: bool,
    /// The folder that receives the journal and the files of the heap.
    #[serde(with = "super::settings::path")]
    pub(crate) out: PathBuf,
    /// The file descriptor from which the child reads its parent's replies.
    pub(crate) replies: Option<RawFd>,
}

/// When a run whose length is not fixed ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Auto {
    /// The cycle after which the child waits for its parent for the first time.
    pub(crate) first_analysis: u32,
    /// No cycle begins after this time.
    pub(crate) time: Duration,
}

/// What runs in the cycles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subject {
    /// A workload of the command.
    Workload {
        name: String,
        settings: Settings,
        /// Whether to run the model, or only load and drop it.
        infer: bool,
    },
    /// A check of a test, by its key.
    Check { key: String },
}

impl Subject {
    /// Its name in the journal and in the report.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Workload { name, .. } => name,
            Self::Check { key } => key,
        }
    }
}

/// The parent's reply to a child that waits after a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Go on, and wait again after this cycle.
    Continue { next_analysis: u32 },
    /// Run no further cycle.
    Stop,
    /// Search for holders now, then wait again.
    Search,
}

impl Reply {
    /// Bytes of a reply on the pipe.
    pub(crate) const SIZE: usize = 5;

    /// A tag, then a cycle in little-endian order.
    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let (tag, cycle) = match self {
            Self::Continue { next_analysis } => (b'+', next_analysis),
            Self::Stop => (b'.', 0),
            Self::Search => (b'?', 0),
        };
        let [a, b, c, d] = cycle.to_le_bytes();
        [tag, a, b, c, d]
    }

    /// The reverse of [`Reply::to_bytes`]; `None` for an unknown tag.
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
    fn a_reply_survives_the_pipe() {
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
    fn a_plan_survives_the_environment_whatever_its_paths_are() {
        let odd = PathBuf::from(OsStr::from_bytes(b"/tmp/\xff\xfe \"x\""));
        let plan = Plan {
            subject: Subject::Workload {
                name: "burn:mlp".into(),
                settings: Settings {
                    model: Some(odd.clone()),
                    inputs: vec![odd.clone(), "b.npy".into()],
                    scratch: odd.clone(),
                    ..Settings::default()
                },
                infer: true,
            },
            heap: HeapKind::System,
            strategy: Strategy::Swap,
            cycles: 195,
            warmup: 3,
            auto: Some(Auto {
                first_analysis: 11,
                time: Duration::MAX,
            }),
            holders: true,
            out: odd,
            replies: Some(7),
        };
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
