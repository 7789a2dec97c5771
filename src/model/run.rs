//! Parameters of a run: phases of a cycle, strategies, and the allocator backend.

use std::fmt;
use std::str::FromStr;

use crate::base::error::Error;
use crate::base::json::names;
use crate::base::names::pick;

/// What a cycle is doing. Each block has the phase in which it was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "lowercase"))]
#[repr(u8)]
#[non_exhaustive]
pub enum Phase {
    /// Outside of the cycles: set-up, or another thread at a boundary.
    Outside = 0,
    /// In a cycle, outside of the phases below.
    Cycle = 1,
    /// Loading the model.
    Load = 2,
    /// Running inference.
    Infer = 3,
    /// Dropping the model.
    Drop = 4,
}

names! { Phase { Outside: "outside", Cycle: "cycle", Load: "load", Infer: "infer", Drop: "drop" } }

impl Phase {
    /// All phases, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Outside,
        Self::Cycle,
        Self::Load,
        Self::Infer,
        Self::Drop,
    ];

    /// The phase with this number; [`Phase::Outside`] if there is none.
    pub(crate) fn from_number(number: u8) -> Self {
        *Self::ALL.get(usize::from(number)).unwrap_or(&Self::Outside)
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Cycle => "cycle",
            Self::Load => "load",
            Self::Infer => "infer",
            Self::Drop => "drop",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// When a cycle loads and drops its models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Strategy {
    /// Each cycle loads a model, runs inference, and drops the model. Nothing should be retained.
    #[default]
    Fresh,
    /// As `fresh`; then the cycle waits for the device and has it free its unused memory. Nothing
    /// should be retained.
    Session,
    /// One slot: the old model is dropped *before* the next one is loaded, and predictions are written
    /// to disk. Nothing should be retained, and the peak is one model.
    Slot,
    /// The next model is loaded *before* the old one is dropped (hot reload). At each boundary one
    /// model is live, that of the last cycle, and the peak is two models.
    Swap,
    /// No model is dropped. Each cycle retains one model, as a leak does.
    Keep,
}

names! { Strategy { Fresh: "fresh", Session: "session", Slot: "slot", Swap: "swap", Keep: "keep" } }

impl Strategy {
    /// All strategies, in the order in which reports list them.
    pub const ALL: [Self; 5] = [
        Self::Fresh,
        Self::Session,
        Self::Slot,
        Self::Swap,
        Self::Keep,
    ];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Session => "session",
            Self::Slot => "slot",
            Self::Swap => "swap",
            Self::Keep => "keep",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        pick("strategy", name, Self::ALL, Self::name)
    }
}

/// The allocator backend of the measured process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum HeapKind {
    /// jemalloc, with prefixed symbols; needs the feature `jemalloc`.
    #[cfg_attr(feature = "jemalloc", default)]
    Jemalloc,
    /// dhat, which also writes a profile for DHAT's viewer; needs the feature `dhat`.
    Dhat,
    /// The allocator that the [`Heap`](crate::Heap) wraps: the system's, unless another one was given.
    #[cfg_attr(not(feature = "jemalloc"), default)]
    System,
}

names! { HeapKind { Jemalloc: "jemalloc", Dhat: "dhat", System: "system" } }

impl HeapKind {
    /// All backends, also those that this build does not have.
    pub const ALL: [Self; 3] = [Self::Jemalloc, Self::Dhat, Self::System];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jemalloc => "jemalloc",
            Self::Dhat => "dhat",
            Self::System => "system",
        }
    }

    /// Whether this build has the backend.
    pub const fn is_available(self) -> bool {
        match self {
            Self::Jemalloc => cfg!(feature = "jemalloc"),
            Self::Dhat => cfg!(feature = "dhat"),
            Self::System => true,
        }
    }
}

impl fmt::Display for HeapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for HeapKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        pick("heap", name, Self::ALL, Self::name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_and_number_is_parsed_back() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_number(phase as u8), phase);
        }
        for strategy in Strategy::ALL {
            assert_eq!(strategy.name().parse::<Strategy>().unwrap(), strategy);
        }
        for heap in HeapKind::ALL {
            assert_eq!(heap.name().parse::<HeapKind>().unwrap(), heap);
        }
    }

    #[test]
    fn a_misspelled_name_gets_a_suggestion() {
        let error = "swpa".parse::<Strategy>().unwrap_err();
        assert!(error.to_string().contains("did you mean `swap`"), "{error}");
    }
}
