//! What can be run: the registry of workloads, and those that come with afterdrop.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::error::Error;
use crate::model::holders::Kind;
use crate::model::process::Grows;
use crate::model::run::Phase;
use crate::model::verdict::Verdict;
use crate::recorder::cycle::Workload;

#[cfg(feature = "planted")]
mod held;
#[cfg(feature = "keras")]
pub(crate) mod keras;
#[cfg(feature = "burn")]
pub(crate) mod models;
#[cfg(feature = "planted")]
mod planted;

#[cfg(feature = "keras")]
pub use keras::keras_file;

/// What a workload is told on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--device`, if it was given.
    pub device: Option<String>,
    /// `--format`, if it was given.
    pub format: Option<String>,
    /// `--model`, if it was given: a file to load in place of the shipped one.
    pub model: Option<PathBuf>,
    /// `--size`, if it was given: how many times as wide as the shipped model.
    pub size: Option<u32>,
    /// `--precision`, if it was given: in what the weights are stored.
    pub precision: Option<String>,
    /// `--input`, as often as it was given: what a Keras model is run on.
    pub inputs: Vec<PathBuf>,
    /// `--expect`, if it was given: what it must predict.
    pub expect: Option<PathBuf>,
    /// `--batch`, if it was given: the size of a batch that is made.
    pub batch: Option<u32>,
    /// A folder for what the workload unpacks; it is removed after the run.
    pub scratch: PathBuf,
}

/// What is known beforehand of a planted case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Truth {
    /// The verdict that its marked line must get.
    pub verdict: Verdict,
    /// File of the marked line, relative to the repository.
    pub file: String,
    /// The marked line.
    pub line: u32,
    /// Phase of the marked allocation.
    pub phase: Phase,
    /// Bytes that a cycle leaves there on average, or by how much it lets the process grow; 0 if it
    /// does not leak.
    pub bytes_per_cycle: f64,
    /// Blocks that a cycle leaves there on average; 0 if it does not leak.
    pub blocks_per_cycle: f64,
    /// The rates are only near what a run shows.
    pub roughly: bool,
    /// What grows besides the blocks that the ledger sees.
    pub grows: Grows,
    /// Who holds what is left there, if it is stated.
    pub holder: Option<HolderTruth>,
    /// The horizon that is right for it.
    pub horizon: u32,
    /// Cycles enough for the verdict.
    pub cycles: u32,
    /// It shows itself only after a run that ends by itself has ended.
    pub shows_late: bool,
}

/// Who holds what a planted case leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct HolderTruth {
    /// What it is.
    pub kind: Kind,
    /// How its name ends.
    pub name: String,
    /// Where it is declared in the case's file.
    pub line: Option<u32>,
    /// Blocks of the cycle, where it is one.
    pub cycle_blocks: Option<u32>,
}

type Make = Box<dyn Fn(&Settings) -> Result<Box<dyn Workload>, Error>>;

/// What is known of a model's file beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Facts {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Largest difference of an output to that of the same weights in `f32`.
    pub error: f64,
}

type FactsOf = Box<dyn Fn(&Settings) -> Result<Facts, Error>>;

/// Looks at settings before a run and gives those that count, as `name=value`.
type Check = Box<dyn Fn(&Settings) -> Result<Vec<String>, Error>>;

/// A workload that the command knows by name.
pub struct Entry {
    name: String,
    about: String,
    truth: Option<Truth>,
    check: Check,
    /// `None` where there is no model's file.
    facts: Option<FactsOf>,
    make: Make,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// A workload under a name, with a line of what it is, and how to set it up. `make` runs in
    /// the measured process before the first cycle.
    pub fn new(
        name: impl Into<String>,
        about: impl Into<String>,
        make: impl Fn(&Settings) -> Result<Box<dyn Workload>, Error> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            about: about.into(),
            truth: None,
            check: Box::new(takes_no_settings),
            facts: None,
            make: Box::new(make),
        }
    }

    /// The name it is run by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, in a line.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// What is known of it beforehand; `None` unless it is planted.
    pub fn truth(&self) -> Option<&Truth> {
        self.truth.as_ref()
    }

    /// Finds out before the run whether the settings can work, and gives those that count, as
    /// `name=value`, for the report.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) fn check(&self, settings: &Settings) -> Result<Vec<String>, Error> {
        (self.check)(settings)
    }

    /// What is known of the model's file with these settings; `None` where there is none.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) fn facts(&self, settings: &Settings) -> Option<Result<Facts, Error>> {
        self.facts.as_ref().map(|facts| facts(settings))
    }

    /// Sets it up.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) fn make(&self, settings: &Settings) -> Result<Box<dyn Workload>, Error> {
        (self.make)(settings)
    }
}

impl Settings {
    /// Refuses the first of these options that was given.
    fn refuse(&self, options: &[(&str, bool)]) -> Result<(), Error> {
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::usage(format!("this workload takes no {option}"))),
            None => Ok(()),
        }
    }

    /// Refuses what only Keras files have.
    pub(crate) fn refuse_data(&self) -> Result<(), Error> {
        self.refuse(&[
            ("--input", !self.inputs.is_empty()),
            ("--expect", self.expect.is_some()),
            ("--batch", self.batch.is_some()),
        ])
    }
}

fn takes_no_settings(settings: &Settings) -> Result<Vec<String>, Error> {
    settings.refuse_data()?;
    settings.refuse(&[
        ("--device", settings.device.is_some()),
        ("--format", settings.format.is_some()),
        ("--model", settings.model.is_some()),
        ("--size or --sizes", settings.size.is_some()),
        ("--precision", settings.precision.is_some()),
    ])?;
    Ok(Vec::new())
}

/// Looks whether each workload can be told from the others and be named on a command line.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
pub(crate) fn check_names(entries: &[Entry]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for name in entries.iter().map(Entry::name) {
        let shown = name.escape_debug();
        if name.is_empty() || name.starts_with('-') || name.contains(char::is_control) {
            return Err(Error::usage(format!(
                "`{shown}` cannot be the name of a workload"
            )));
        }
        if !seen.insert(name) {
            return Err(Error::usage(format!(
                "two workloads have the name `{shown}`"
            )));
        }
    }
    Ok(())
}

/// The workloads that come with this build of afterdrop, as `afterdrop list` shows them.
pub fn all() -> Vec<Entry> {
    #[allow(unused_mut)]
    let mut entries = Vec::new();
    #[cfg(feature = "burn")]
    entries.extend(models::entries());
    #[cfg(feature = "planted")]
    entries.extend(planted::entries());
    #[cfg(feature = "planted")]
    entries.extend(held::entries());
    entries
}

#[cfg(test)]
mod tests {
    use crate::model::layout::WORKLOADS;

    #[test]
    fn the_folder_has_the_name_by_which_it_counts_as_the_users() {
        assert_eq!(file!().strip_suffix("/mod.rs"), Some(WORKLOADS));
    }
}
