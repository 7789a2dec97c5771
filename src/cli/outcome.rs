//! The results of a command, and their exit codes.

use crate::base::error::Error;
use crate::model::report::RunVerdict;

/// The result of a command. A leak is a result and not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Clean,
    GrowthFound,
    /// Wrong usage, or input that cannot be read.
    BadInput,
    RunFailed,
    Undecided,
}

impl Outcome {
    /// The outcome of a run. `complete` is whether all of its cycles ran.
    pub(super) fn of(verdict: RunVerdict, complete: bool) -> Self {
        match verdict {
            _ if !complete => Self::RunFailed,
            RunVerdict::Clean => Self::Clean,
            RunVerdict::Growing | RunVerdict::Leak => Self::GrowthFound,
            RunVerdict::Undecided => Self::Undecided,
        }
    }

    /// The outcome of a command that could not do what it was asked to.
    pub(super) fn of_error(error: &Error) -> Self {
        match error.is_child() {
            true => Self::RunFailed,
            false => Self::BadInput,
        }
    }

    /// The exit code.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::GrowthFound => 1,
            Self::BadInput => 2,
            Self::RunFailed => 3,
            Self::Undecided => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_exit_code() {
        assert_eq!(Outcome::of(RunVerdict::Clean, true).code(), 0);
        assert_eq!(Outcome::of(RunVerdict::Leak, true).code(), 1);
        assert_eq!(Outcome::of(RunVerdict::Growing, true).code(), 1);
        assert_eq!(Outcome::of(RunVerdict::Leak, false).code(), 3);
        assert_eq!(Outcome::of(RunVerdict::Undecided, true).code(), 4);
        assert_eq!(Outcome::of_error(&Error::usage("no")).code(), 2);
        assert_eq!(Outcome::of_error(&Error::not_begun()).code(), 3);
    }
}
