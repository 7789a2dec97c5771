//! How a run ended.

use crate::base::json::{fields, names};

/// How a measured run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Ended {
    /// Whether all cycles were run, or why not.
    pub how: How,
    /// Details, such as the error message or the signal; `None` if the run has completed and could be read
    /// up to its end.
    pub detail: Option<String>,
}

fields! { Ended { how, detail: default } }

/// Ways in which a run can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum How {
    /// All cycles were run, or the run ended early as intended (see [`Early`]).
    Completed,
    /// The workload returned an error or panicked, or the process exited before the end.
    Failed,
    /// The process was killed by a signal.
    Killed,
    /// The process was killed because the timeout had expired.
    TimedOut,
    /// The user interrupted the run.
    Interrupted,
}

names! {
    How {
        Completed: "completed", Failed: "failed", Killed: "killed", TimedOut: "timed-out",
        Interrupted: "interrupted",
    }
}

impl Ended {
    pub(crate) fn new(how: How, detail: impl Into<Option<String>>) -> Self {
        Self {
            how,
            detail: detail.into(),
        }
    }

    /// Whether the run has completed.
    pub fn is_complete(&self) -> bool {
        self.how == How::Completed
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.at(""))
    }
}

impl Ended {
    /// What happened, at which point of the run, and the details: `failed after 6 of 20 cycles: …`.
    /// `point` is empty or begins with a space.
    pub(crate) fn at(&self, point: &str) -> String {
        let how = match self.how {
            How::Completed => "completed",
            How::Failed => "failed",
            How::Killed => "was killed",
            How::TimedOut => "timed out",
            How::Interrupted => "was interrupted",
        };
        match &self.detail {
            Some(detail) if self.how == How::Killed => format!("{how} {detail}{point}"),
            Some(detail) => format!("{how}{point}: {detail}"),
            None => format!("{how}{point}"),
        }
    }
}

/// Why a successful run ended before its last cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Early {
    /// The verdicts of all call sites were settled.
    Settled,
    /// The time limit was reached.
    Time,
}

names! { Early { Settled: "settled", Time: "time" } }
