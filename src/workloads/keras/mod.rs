//! Keras files as workloads: the model of an `.h5` or `.keras` file, read and built on Burn by the
//! crate `keras-burn` in each cycle.

mod compare;
mod data;
mod error;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use keras_burn::{Array, Model, Plan};

use super::{Entry, Settings};
use crate::base::error::Error;
use crate::recorder::cycle;
use crate::recorder::cycle::{Failure, Prediction, Workload};

/// The workload of a Keras file, `.h5` or `.keras`, for a command of your own: its name is the path.
///
/// # Example: a file under a name of its own
/// ```
/// let entry = afterdrop::workloads::keras_file("model.keras");
/// assert_eq!(entry.name(), "model.keras");
/// ```
pub fn keras_file(path: &str) -> Entry {
    let file = PathBuf::from(path);
    let mut entry = Entry::new(path, "a Keras model on Burn", move |settings| {
        Ok(Box::new(KerasFile::new(&file, settings)?))
    });
    let file = PathBuf::from(path);
    entry.check = Box::new(move |settings| check(&file, settings));
    entry
}

/// Whether an argument of the command names a Keras file and not a workload.
#[cfg(feature = "cli")]
pub(crate) fn is_file(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    let extension = extension.map(str::to_ascii_lowercase);
    extension.is_some_and(|e| matches!(&*e, "h5" | "hdf5" | "keras"))
}

/// The error for an argument that is not a workload, but names something on disk that is not a Keras
/// file either.
#[cfg(feature = "cli")]
pub(crate) fn not_a_file(name: &str) -> Option<Error> {
    let what = match std::fs::metadata(name).ok()? {
        metadata if metadata.is_dir() => "folders, such as a SavedModel, are not supported",
        _ => "its extension is a different one",
    };
    let error = format!("`{name}` is neither a workload nor a Keras file: {what}");
    Some(
        Error::usage(error)
            .hint("a Keras file ends in .h5, .hdf5 or .keras: `model.save(\"m.keras\")`"),
    )
}

/// Loads the file and runs it once, so that an error is reported before anything is measured.
fn check(path: &Path, settings: &Settings) -> Result<Vec<String>, Error> {
    settings.refuse(&[
        ("--format", settings.format.is_some()),
        ("--model", settings.model.is_some()),
        ("--size or --sizes", settings.size.is_some()),
        ("--precision", settings.precision.is_some()),
    ])?;
    let place = super::models::place(settings)?;
    let workload = KerasFile::new(path, settings)?;
    let model = Model::read(path, &workload.device).map_err(error::from_reader)?;
    let outputs = model
        .predict(&workload.inputs)
        .map_err(error::from_reader)?;
    workload
        .compare(&model, &outputs)
        .map_err(|what| Error::malformed(path, None, what))?;
    Ok(vec![
        format!("device={}", place.name()),
        format!("batch={}", workload.batch()),
    ])
}

/// A file, and what its model is run on.
#[derive(Clone)]
struct KerasFile {
    path: PathBuf,
    device: Device,
    inputs: Arc<[Array]>,
    /// What the model must predict, if it is known.
    expected: Option<Arc<[Array]>>,
}

impl KerasFile {
    fn new(path: &Path, settings: &Settings) -> Result<Self, Error> {
        let plan = Plan::read(path).map_err(error::from_reader)?;
        let inputs = if !settings.inputs.is_empty() {
            if settings.batch.is_some() {
                return Err(Error::usage(
                    "--batch is for generated inputs: the arrays of --input have their own batch",
                ));
            }
            data::given(path, &plan, &settings.inputs)?
        } else if settings.expect.is_some() {
            return Err(Error::usage(
                "--expect needs --input: what a model predicts for generated inputs is not known",
            ));
        } else {
            data::generated(path, &plan, settings.batch)?
        };
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|a| a.shape().to_vec()).collect();
        plan.cost(&shapes).map_err(error::from_reader)?;
        Ok(Self {
            path: path.into(),
            device: super::models::place(settings)?.device(),
            inputs: inputs.into(),
            expected: match &settings.expect {
                Some(file) => Some(data::expected(&plan, file)?.into()),
                None => None,
            },
        })
    }

    fn batch(&self) -> usize {
        let first = self.inputs.first().and_then(|input| input.shape().first());
        first.copied().unwrap_or(0)
    }

    /// Compares predictions with the expected ones.
    fn compare(&self, model: &Model, outputs: &[Array]) -> Result<(), String> {
        let Some(expected) = &self.expected else {
            return Ok(());
        };
        compare::all(outputs, expected).map_err(|what| match model.plan().is_half_precision() {
            true => {
                format!("{what}; Keras computes this model in half precision, which rounds more")
            }
            false => what,
        })
    }
}

impl Workload for KerasFile {
    fn load(&mut self) -> Result<Box<dyn cycle::Model>, Failure> {
        Ok(Box::new(Loaded {
            model: Model::read(&self.path, &self.device)?,
            file: self.clone(),
        }))
    }

    fn sync(&mut self) -> Result<(), Failure> {
        Ok(self.device.sync().map_err(|e| format!("device: {e:?}"))?)
    }

    fn cleanup(&mut self) {
        self.device.memory_cleanup();
    }
}

/// A model in memory. The file is closed.
struct Loaded {
    model: Model,
    file: KerasFile,
}

impl cycle::Model for Loaded {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        let outputs = self.model.predict(&self.file.inputs)?;
        self.file.compare(&self.model, &outputs)?;
        let values = outputs.into_iter().flat_map(Array::into_values);
        Ok(values.collect())
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        format!("{}/fixtures/keras/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn a_file_is_recognised_by_its_extension() {
        assert!(is_file("a.h5") && is_file("b/A.HDF5") && is_file("c.Keras"));
        assert!(!is_file("c.zip") && !is_file("h5"));
        let error = not_a_file(&fixture("README.md")).unwrap();
        assert!(error.to_string().contains("nor a Keras file"), "{error}");
        let error = not_a_file(&fixture("mlp")).unwrap();
        assert!(error.to_string().contains("SavedModel"), "{error}");
        assert!(not_a_file("mnlist").is_none());
    }

    #[test]
    fn a_difference_to_half_precision_is_explained() {
        let settings = |expected: &str| Settings {
            inputs: vec![fixture("bfloat16/input.npy").into()],
            expect: Some(fixture(expected).into()),
            ..Settings::default()
        };
        let path = fixture("bfloat16/model.keras");
        let error = check(path.as_ref(), &settings("bfloat16/expected.npy")).unwrap_err();
        assert!(error.to_string().contains("half precision"), "{error}");
    }
}
