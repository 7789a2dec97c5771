//! How a run ended.

use serde::{Deserialize, Serialize};

/// How a measured run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Ended {
    /// Whether all cycles ran, and if not, what kind of end it was.
    pub how: How,
    /// What else is known, for a person to read; `None` for a run that completed.
    pub detail: Option<String>,
}

/// Kinds of end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum How {
    /// All cycles ran.
    Completed,
    /// The workload failed or panicked, or the process exited early.
    Failed,
    /// A signal ended the process.
    Killed,
    /// It took longer than allowed, and was killed.
    TimedOut,
    /// The user interrupted it.
    Interrupted,
}

impl Ended {
    pub(crate) fn new(how: How, detail: impl Into<Option<String>>) -> Self {
        Self {
            how,
            detail: detail.into(),
        }
    }

    /// Whether all cycles ran.
    pub fn is_complete(&self) -> bool {
        self.how == How::Completed
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match self.how {
            How::Completed => "completed",
            How::Failed => "failed",
            How::Killed => "was killed",
            How::TimedOut => "timed out",
            How::Interrupted => "was interrupted",
        };
        match &self.detail {
            Some(detail) if self.how == How::Killed => write!(f, "{how} {detail}"),
            Some(detail) => write!(f, "{how}: {detail}"),
            None => f.write_str(how),
        }
    }
}

/// Why a run that went well ended before all its cycles ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Early {
    /// Every call site was settled.
    Settled,
    /// The time that it was given was over.
    Time,
}
