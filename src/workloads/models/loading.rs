//! The workload that loads a shipped model, or another file of the same model, in each cycle.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::burn::tensor::Device;

use afterdrop_models::ModelFiles;

use super::device::device;
use super::format::Format;
use super::prepare::prepare;
use super::shipped::{Shipped, output};
use super::variant::Variant;
use crate::base::error::Error;
use crate::base::private_folder;
use crate::model::model_file::ModelFile;
use crate::model::settings::Settings;
use crate::recorder::cycle::{Failure, Model, Prediction, Workload};
use crate::workloads::entry::Entry;

/// Largest accepted difference of an output value: devices sum in different orders.
const TOLERANCE: f32 = 1e-3;

/// The entry of a shipped model.
pub(super) fn entry<M: Shipped>(files: &'static ModelFiles) -> Entry {
    let mut entry = Entry::new(format!("burn:{}", M::NAME), M::ABOUT, move |settings| {
        Ok(Box::new(Loading::<M>::new(settings, files)?))
    });
    entry.check = Box::new(check::<M>);
    entry.describe_file = Some(Box::new(move |settings| {
        describe_file::<M>(settings, files)
    }));
    entry
}

/// Checks the settings, and loads the file that `--model` names, so that a run with a wrong file
/// fails before it starts.
fn check<M: Shipped>(settings: &Settings) -> Result<Vec<String>, Error> {
    settings.refuse_data()?;
    let (device, format) = (device(settings)?, Format::of(settings)?);
    let variant = Variant::of(settings, format)?;
    if let Some(path) = &settings.model {
        let metadata = fs::metadata(path).map_err(|e| Error::io("read the model", path, e))?;
        if !metadata.is_file() {
            // A pipe would block, and a device file might have no end.
            let what = format!("{} is not a regular file", path.display());
            return Err(Error::usage(what).hint("name the file of a model with --model"));
        }
        let load = || load::<M>(path, variant, format, &device.create());
        match std::panic::catch_unwind(load) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Error::usage(error)),
            Err(_) => {
                let error = refused::<M>(path, format, "the reader panicked");
                return Err(Error::usage(error));
            }
        }
    }
    let mut options = vec![
        format!("device={}", device.name),
        format!("format={}", format.name()),
    ];
    options.extend(variant.options());
    Ok(options)
}

fn describe_file<M: Shipped>(settings: &Settings, files: &ModelFiles) -> Result<ModelFile, Error> {
    let format = Format::of(settings)?;
    let variant = Variant::of(settings, format)?;
    let folder = Unpacked(settings.scratch.clone());
    Ok(prepare::<M>(variant, files, format, &folder.0)?.file)
}

/// Loads the model from its file in each cycle.
struct Loading<M> {
    path: PathBuf,
    /// The folder of unpacked weights, removed when the workload is dropped.
    _unpacked: Option<Unpacked>,
    variant: Variant,
    format: Format,
    device: Device,
    files: &'static ModelFiles,
    expected: Arc<[f32]>,
    model: PhantomData<M>,
}

impl<M: Shipped> Loading<M> {
    fn new(settings: &Settings, files: &'static ModelFiles) -> Result<Self, Error> {
        let format = Format::of(settings)?;
        let variant = Variant::of(settings, format)?;
        let scratch = &settings.scratch;
        let mut expected = files.expected();
        let (path, unpacked) = match &settings.model {
            Some(path) => (path.clone(), None),
            None if variant == Variant::SHIPPED => {
                let bytes = match format {
                    Format::Burnpack => files.burnpack,
                    Format::Safetensors => files.safetensors,
                };
                let path = scratch.join(format!("{}.{}", M::NAME, format.name()));
                private_folder::create_or_use(scratch)?;
                fs::write(&path, bytes).map_err(|e| Error::io("unpack the model to", &path, e))?;
                (path, Some(Unpacked(scratch.clone())))
            }
            None => {
                let prepared = prepare::<M>(variant, files, format, scratch)?;
                expected = prepared.expected;
                (prepared.path, Some(Unpacked(scratch.clone())))
            }
        };
        Ok(Self {
            path,
            _unpacked: unpacked,
            variant,
            format,
            device: device(settings)?.create(),
            files,
            expected: expected.into(),
            model: PhantomData,
        })
    }
}

/// A folder that is removed when this is dropped.
struct Unpacked(PathBuf);

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl<M: Shipped> Workload for Loading<M> {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        Ok(Box::new(Loaded {
            model: load::<M>(&self.path, self.variant, self.format, &self.device)?,
            device: self.device.clone(),
            files: self.files,
            expected: Arc::clone(&self.expected),
        }))
    }

    fn sync(&mut self) -> Result<(), Failure> {
        Ok(self.device.sync().map_err(|e| format!("device: {e:?}"))?)
    }

    fn cleanup(&mut self) {
        self.device.memory_cleanup();
    }
}

struct Loaded<M> {
    model: M,
    device: Device,
    files: &'static ModelFiles,
    expected: Arc<[f32]>,
}

impl<M: Shipped> Model for Loaded<M> {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        let output = output(&self.model, &self.files.input(), &self.device)?;
        compare(&output, &self.expected)?;
        Ok(output)
    }
}

fn load<M: Shipped>(
    path: &Path,
    variant: Variant,
    format: Format,
    device: &Device,
) -> Result<M, String> {
    let loaded = variant.load(path, format, device);
    loaded.map_err(|error| refused::<M>(path, format, &error))
}

/// Why a file cannot be loaded as this model, in one line.
fn refused<M: Shipped>(path: &Path, format: Format, error: &str) -> String {
    /// Characters of Burn's message that are shown.
    const SHOWN: usize = 300;
    let words: Vec<&str> = error.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(SHOWN).collect();
    format!(
        "{} is not a {} file of burn:{}: {line}",
        path.display(),
        format.name(),
        M::NAME
    )
}

/// Compares an output with the expected one. A value that is not a number differs from every other.
fn compare(output: &[f32], expected: &[f32]) -> Result<(), String> {
    if output.len() != expected.len() {
        return Err(format!(
            "the output has {} values, but {} were expected",
            output.len(),
            expected.len()
        ));
    }
    let differs = |(o, e): &(&f32, &f32)| {
        (*o - *e)
            .abs()
            .partial_cmp(&TOLERANCE)
            .is_none_or(|o| o.is_gt())
    };
    match output.iter().zip(expected).find(differs) {
        Some((o, e)) => Err(format!("the output is wrong: {o}, expected {e}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_output_is_found() {
        assert!(compare(&[1.0, 2.0], &[1.0, 2.0001]).is_ok());
        assert!(compare(&[1.0, 2.0], &[1.0, 2.1]).is_err());
        assert!(compare(&[1.0], &[1.0, 2.0]).is_err());
        assert!(compare(&[f32::NAN], &[1.0]).is_err());
    }
}
