//! A workload in the list of a command.

use std::collections::BTreeSet;

use super::truth::Truth;
use crate::base::error::Error;
use crate::model::model_file::ModelFile;
use crate::model::settings::Settings;
use crate::recorder::cycle::{Closure, Failure, Prediction, Workload};

/// Checks settings before the run; returns those that have an effect, as `name=value`.
pub(super) type Check = Box<dyn Fn(&Settings) -> Result<Vec<String>, Error>>;

/// Describes the model's file.
pub(super) type DescribeFile = Box<dyn Fn(&Settings) -> Result<ModelFile, Error>>;

/// Creates the workload in the measured process.
type Make = Box<dyn Fn(&Settings) -> Result<Box<dyn Workload>, Failure>>;

/// A workload that the command runs by name.
///
/// # Example: a workload from a closure
/// ```no_run
/// use afterdrop::workloads::Entry;
///
/// #[global_allocator]
/// static HEAP: afterdrop::Heap = afterdrop::Heap::new();
///
/// fn main() -> std::process::ExitCode {
///     let sum = Entry::from_fn("sum", "a vector of weights and their sum", || {
///         let weights = vec![0.5_f32; 1000];
///         Ok(move || Ok(vec![weights.iter().sum()]))
///     });
///     afterdrop::main(vec![sum])
/// }
/// ```
pub struct Entry {
    name: String,
    about: String,
    pub(super) truth: Option<Truth>,
    pub(super) check: Check,
    /// `None` if the workload has no model file.
    pub(super) describe_file: Option<DescribeFile>,
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
    /// Creates an entry from a function that creates the workload.
    ///
    /// `about` is the line that `list` shows. `make` runs in the measured process, before the first
    /// cycle; its error ends the run, and is shown.
    pub fn new(
        name: impl Into<String>,
        about: impl Into<String>,
        make: impl Fn(&Settings) -> Result<Box<dyn Workload>, Failure> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            about: about.into(),
            truth: None,
            check: Box::new(|settings| settings.refuse_all().map(|()| Vec::new())),
            describe_file: None,
            make: Box::new(make),
        }
    }

    /// Creates an entry from a closure that loads the model.
    ///
    /// `load` runs in each cycle, and what it returns is the model: a closure that infers. When a
    /// cycle drops the model, it drops that closure with everything that it has captured. What
    /// `load` itself captures lives for the whole run.
    ///
    /// A workload that must wait for a device at the end of a cycle implements [`Workload`] instead.
    ///
    /// # Example: a cache that keeps every prediction
    /// ```
    /// use std::sync::Mutex;
    ///
    /// use afterdrop::workloads::Entry;
    ///
    /// static CACHE: Mutex<Vec<f32>> = Mutex::new(Vec::new());
    ///
    /// let entry = Entry::from_fn("cached", "caches its predictions", || {
    ///     let weight: f32 = "0.5".parse()?;
    ///     Ok(move || {
    ///         let mut cache = CACHE.lock().map_err(|e| e.to_string())?;
    ///         cache.push(2.0 * weight);
    ///         Ok(cache.clone())
    ///     })
    /// });
    /// assert_eq!(entry.name(), "cached");
    /// ```
    pub fn from_fn<M>(
        name: impl Into<String>,
        about: impl Into<String>,
        load: impl FnMut() -> Result<M, Failure> + 'static,
    ) -> Self
    where
        M: FnMut() -> Result<Prediction, Failure> + 'static,
    {
        let closure = Closure::new(load);
        Self::new(name, about, move |_| Ok(Box::new(closure.clone())))
    }

    /// The name that selects it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, in one line.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The known result, if this is a planted case.
    pub fn truth(&self) -> Option<&Truth> {
        self.truth.as_ref()
    }

    /// Checks, before the run, that the workload accepts the settings. Returns those that have an
    /// effect, as `name=value`, for the report.
    pub(crate) fn check(&self, settings: &Settings) -> Result<Vec<String>, Error> {
        (self.check)(settings)
    }

    /// Describes the model's file with these settings; `None` if there is none.
    pub(crate) fn model_file(&self, settings: &Settings) -> Option<Result<ModelFile, Error>> {
        self.describe_file.as_ref().map(|file| file(settings))
    }

    /// Creates the workload.
    pub(crate) fn make(&self, settings: &Settings) -> Result<Box<dyn Workload>, Failure> {
        (self.make)(settings)
    }
}

/// Checks that the names are unique and can be given on a command line.
pub(crate) fn check_names(entries: &[Entry]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for name in entries.iter().map(Entry::name) {
        let shown = name.escape_debug();
        if name.is_empty() || name.starts_with('-') || name.contains(char::is_control) {
            return Err(
                Error::usage(format!("`{shown}` cannot be the name of a workload")).hint(
                    "a name has at least one character, no control character, and does not begin \
                     with `-`",
                ),
            );
        }
        if !seen.insert(name) {
            return Err(Error::usage(format!(
                "two workloads have the name `{shown}`"
            )));
        }
    }
    Ok(())
}
