//! The finished report, schema `afterdrop/2`, and its formats: one file a format.
//!
//! A format computes nothing: all it shows is in the [`Report`].

mod bounded;
#[cfg(feature = "formats")]
pub mod compare;
#[cfg(test)]
mod example;
pub mod explain;
#[cfg(feature = "formats")]
pub mod formats;
mod json;
pub(crate) mod names;
mod paths;
mod samples;
mod screen;
mod sparkline;
mod stored;
#[cfg(any(feature = "cli", feature = "formats"))]
pub mod strategies;
pub mod terminal;
mod texts;
mod wording;

pub use samples::Sample;

pub use crate::model::end::{Early, Ended, How};
pub use crate::model::frame::{Frame, Owner};
pub use crate::model::holder::{Holder, HolderSearch, PathBlock, Root};
pub use crate::model::holders::HolderKind;
pub use crate::model::journal::JemallocBytes;
pub use crate::model::objects::ObjectGrowth;
pub use crate::model::peak::{CrateShare, Peak, PeakCallSite};
pub use crate::model::process::{Balance, Grows, Part, Process};
pub use crate::model::profile::{Bin, Born, Excerpt, Generation, Mapping, Profile, ProfileStack};
pub use crate::model::report::{
    Attribution, Boundary, CallSite, Cost, LiveWindows, OtherStack, Report, RunVerdict, SCHEMA,
    Witness,
};
pub use crate::model::sampling::Sampling;
pub use crate::model::verdict::{Evidence, RisesBy, Rule};
