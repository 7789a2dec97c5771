//! The options of the command that a workload reads.

use std::path::PathBuf;

use crate::base::error::Error;

/// The options of `afterdrop run` that a workload reads. Each is `None` or empty if it was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--device`: where the tensors are.
    pub device: Option<String>,
    /// `--format`: the format of the model's file.
    pub format: Option<String>,
    /// `--model`: a file to load in place of the shipped model.
    pub model: Option<PathBuf>,
    /// `--size`: the width of the model, as a multiple of the shipped one's.
    pub size: Option<u32>,
    /// `--precision`: the number format in which the weights are stored.
    pub precision: Option<String>,
    /// `--input`: the input files of a Keras model, one for each input of the model.
    pub inputs: Vec<PathBuf>,
    /// `--expect`: the file with the output that a Keras model must give.
    pub expect: Option<PathBuf>,
    /// `--batch`: the batch size, where afterdrop generates the input.
    pub batch: Option<u32>,
    /// A folder for temporary files of the workload. It is removed after the run.
    pub scratch: PathBuf,
}

impl Settings {
    /// Fails with the first of these options that was given.
    pub(super) fn refuse(&self, options: &[(&str, bool)]) -> Result<(), Error> {
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::usage(format!("this workload takes no {option}"))),
            None => Ok(()),
        }
    }

    /// Fails if an option was given that only Keras files have.
    pub(super) fn refuse_data(&self) -> Result<(), Error> {
        self.refuse(&[
            ("--input", !self.inputs.is_empty()),
            ("--expect", self.expect.is_some()),
            ("--batch", self.batch.is_some()),
        ])
    }

    /// Fails if any option was given.
    pub(super) fn refuse_all(&self) -> Result<(), Error> {
        self.refuse_data()?;
        self.refuse(&[
            ("--device", self.device.is_some()),
            ("--format", self.format.is_some()),
            ("--model", self.model.is_some()),
            ("--size or --sizes", self.size.is_some()),
            ("--precision", self.precision.is_some()),
        ])
    }
}
