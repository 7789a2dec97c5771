//! What a run is: its phases, the strategies that handle a model, and the allocator beneath the recorder.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::error::Error;
use crate::base::names::pick;

/// What a cycle is doing; a block carries the phase of its allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[non_exhaustive]
pub enum Phase {
    /// Not in a cycle: set-up, or another thread's work at a boundary.
    Outside = 0,
    /// In a cycle that does not mark its phases.
    Cycle = 1,
    /// Loading a model.
    Load = 2,
    /// Running it.
    Infer = 3,
    /// Dropping it.
    Drop = 4,
}

impl Phase {
    /// All phases, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Outside,
        Self::Cycle,
        Self::Load,
        Self::Infer,
        Self::Drop,
    ];

    /// The phase with this number, as a block of the ledger carries it.
    pub(crate) fn from_number(number: u8) -> Self {
        *Self::ALL.get(usize::from(number)).unwrap_or(&Self::Outside)
    }

    /// The word for it in reports.
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

/// How cycles handle the model: the three habits of serving teams, and two more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Strategy {
    /// Load, infer, drop at the end of the cycle. Nothing should be retained.
    #[default]
    Fresh,
    /// Load inside a session; on leaving it drop, wait for the device and clean its memory up.
    /// Nothing should be retained.
    Session,
    /// One slot: the old model is dropped *before* the next is loaded, predictions are written to
    /// disk and not kept. Nothing should be retained, and the peak is one model.
    Slot,
    /// The next model is loaded *before* the old one is dropped (hot reload). One model is alive
    /// at each boundary, none older than a cycle, and the peak is two models.
    Swap,
    /// Every model is kept. One model a cycle is retained: what a leak looks like.
    Keep,
}

impl Strategy {
    /// All strategies, in the order in which they are listed.
    pub const ALL: [Self; 5] = [
        Self::Fresh,
        Self::Session,
        Self::Slot,
        Self::Swap,
        Self::Keep,
    ];

    /// The word for it on the command line and in reports.
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

/// Which allocator is beneath the ledger in the measured process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HeapKind {
    /// jemalloc, prefixed; needs the feature `jemalloc`.
    #[cfg_attr(feature = "jemalloc", default)]
    Jemalloc,
    /// dhat, which writes a profile for DHAT's viewer; needs the feature `dhat`.
    Dhat,
    /// What the [`Heap`](crate::Heap) was laid over: the system's allocator unless another was
    /// named.
    #[cfg_attr(not(feature = "jemalloc"), default)]
    System,
}

impl HeapKind {
    /// All kinds, whether this build has them or not.
    pub const ALL: [Self; 3] = [Self::Jemalloc, Self::Dhat, Self::System];

    /// The word for it on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jemalloc => "jemalloc",
            Self::Dhat => "dhat",
            Self::System => "system",
        }
    }

    /// Whether this build has it.
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
    fn names_and_numbers_come_back() {
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
    fn a_wrong_name_gets_the_nearest() {
        let error = "swpa".parse::<Strategy>().unwrap_err();
        assert!(error.to_string().contains("did you mean `swap`"), "{error}");
    }
}
