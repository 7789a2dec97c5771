//! The finished report, schema `afterdrop/2`, and its formats: one file a format.
//!
//! A format computes nothing: what it shows is in the [`Report`].

use std::path::Path;

use crate::base::error::Error;
use crate::base::files;

pub use crate::model::end::{Early, Ended, How};
pub use crate::model::frame::{Frame, Owner};
pub use crate::model::holder::{Holder, HolderSearch, PathBlock, Root};
pub use crate::model::holders::Kind;
pub use crate::model::journal::JemallocBytes;
pub use crate::model::process::{Balance, Grows, Part, Process};
pub use crate::model::profile::{
    Bin, Born, Excerpt, Generation, Mapping, Profile, ProfileStack, Sample,
};
pub use crate::model::report::{
    Attribution, Boundary, CallSite, Cost, OtherStack, Report, RunVerdict, SCHEMA, Witness,
};
pub use crate::model::sampling::Sampling;
pub use crate::model::verdict::{Evidence, RisesBy, Rule};

#[cfg(feature = "formats")]
pub mod compare;
pub mod explain;
#[cfg(feature = "formats")]
pub mod formats;
mod json;
mod names;
mod paths;
pub mod strategies;
pub mod terminal;

impl Report {
    /// Reads a `report.json`.
    ///
    /// # Errors
    /// If it cannot be read, is not a report, or is of another schema.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let report: Self = json::read(path, "report", SCHEMA)?;
        match report.profile.is_whole(report.call_sites.len()) {
            true => Ok(report),
            false => Err(Error::malformed(
                path,
                None,
                "its profile names call sites or frames that are not there",
            )),
        }
    }

    /// The report as JSON, indented, with plain lists on one line.
    pub fn to_json(&self) -> String {
        json::indented(self)
    }

    /// The same without the user's home folder in any text: `~` stands for it. Whoever reads a report
    /// elsewhere has another.
    pub(crate) fn without_home(self) -> Self {
        match files::home() {
            // To look is cheaper than to change it, and it is seldom there.
            Some(home) if json::mentions(&self, &home) => self.with_path(&home, "~"),
            _ => self,
        }
    }

    /// The same with another path for what is at one, and below it, in every text.
    pub(crate) fn with_path(&self, from: &str, to: &str) -> Self {
        self.with_texts(&mut |text| {
            if text.contains(from) {
                *text = paths::replaced(text, from, to);
            }
        })
    }

    /// A copy of which all texts are changed, whatever they are of.
    pub(crate) fn with_texts(&self, change: &mut dyn FnMut(&mut String)) -> Self {
        json::with_texts(self, change).unwrap_or_else(|| self.clone())
    }

    /// Writes it under a temporary name and renames it.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        files::write_bytes(path, self.to_json().as_bytes())
    }

    /// Call sites that leak or grow.
    pub fn growing_call_sites(&self) -> impl Iterator<Item = &CallSite> {
        self.call_sites.iter().filter(|s| s.verdict.is_growth())
    }

    /// The median of a figure over the cycles after the warm-up; `None` if none ran.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) fn median(&self, value: fn(&Boundary) -> f64) -> Option<f64> {
        let after = self.boundaries.iter().filter(|b| b.cycle > self.warmup);
        let mut values: Vec<f64> = after.map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// Cycles that reached their boundary.
    pub fn cycles_run(&self) -> u32 {
        self.boundaries.len() as u32
    }
}
