//! Keras files: the model of a `.h5` or `.keras` file, built on Burn from its configuration and
//! loaded in each cycle.

use std::path::{Path, PathBuf};

use ::burn::tensor::Device;

use super::{Entry, Settings};
use crate::base::error::Error;
use crate::base::random::Random;
use crate::recorder::cycle::{Failure, Model, Prediction, Workload};

mod call;
mod config;
mod container;
mod dtype;
mod graph;
mod layers;
mod npy;
mod plan;
mod signature;
#[cfg(test)]
mod tests;
mod value;
mod weights;
mod wiring;

use container::Container;
use graph::{Graph, InputShape};
use npy::Array;
use value::{Flow, Value};

/// How far an output may be from what is expected: absolute, and relative to it.
const ABSOLUTE: f32 = 1e-5;
const RELATIVE: f32 = 1e-4;

/// Size of the batch where no input is given.
const BATCH: u32 = 8;
/// Largest batch.
const MOST_BATCH: u32 = 65_536;
/// Steps or cells of an axis that the configuration leaves open.
const OPEN_AXIS: usize = 16;

/// Whether an argument names a Keras file in place of a workload.
pub(crate) fn is_file(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|e| e.to_str());
    let ending = ending.map(str::to_ascii_lowercase);
    ending.is_some_and(|e| matches!(&*e, "h5" | "hdf5" | "keras"))
}

/// What to say of an argument that is no workload, but something on disk that is no Keras file by its
/// name.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
pub(crate) fn no_file(name: &str) -> Option<Error> {
    let what = match std::fs::metadata(name).ok()? {
        metadata if metadata.is_dir() => "a folder, such as a SavedModel, cannot be read",
        _ => "a file whose name has another ending is not read",
    };
    let error = format!("`{name}` is no workload, and no Keras file: {what}");
    Some(
        Error::usage(error)
            .hint("a Keras file ends in .h5, .hdf5 or .keras: `model.save(\"m.keras\")`"),
    )
}

/// The workload of a file.
pub(crate) fn entry(path: &str) -> Entry {
    let file = PathBuf::from(path);
    let mut entry = Entry::new(path, "a Keras model on Burn", move |settings| {
        Ok(Box::new(KerasFile::new(&file, settings)?))
    });
    let file = PathBuf::from(path);
    entry.check = Box::new(move |settings| check(&file, settings));
    entry
}

/// Loads the file and runs it once, so that what cannot work is said before anything is measured.
fn check(path: &Path, settings: &Settings) -> Result<Vec<String>, Error> {
    settings.refuse(&[
        ("--format", settings.format.is_some()),
        ("--model", settings.model.is_some()),
        ("--size or --sizes", settings.size.is_some()),
        ("--precision", settings.precision.is_some()),
    ])?;
    let place = super::models::device::device(settings)?;
    let workload = KerasFile::new(path, settings)?;
    let ran = workload.open()?.infer();
    ran.map_err(|error| container::wrong(path, error.to_string()))?;
    let mut options = vec![format!("device={}", place.name)];
    options.push(format!("batch={}", workload.batch()));
    Ok(options)
}

/// Most elements of all tensors of a model that is run to be tried.
const SMALL: usize = 1 << 18;

/// Reads a file, plans a run, builds its model, and runs it if it is small: for the fuzz target.
pub(crate) fn build(path: &Path) -> Result<(), String> {
    let one = Settings {
        batch: Some(1),
        ..Settings::default()
    };
    let file = KerasFile::new(path, &one).map_err(|e| e.to_string())?;
    let mut model = file.open().map_err(|e| e.to_string())?;
    match file.elements {
        0..SMALL => model.infer().map(drop).map_err(|e| e.to_string()),
        _ => Ok(()),
    }
}

/// A file, and what it is run on.
struct KerasFile {
    path: PathBuf,
    device: Device,
    inputs: Vec<Array>,
    expected: Option<Vec<Array>>,
    /// Elements of all tensors of a run, and cells that its pooling looks at.
    elements: usize,
}

impl KerasFile {
    fn new(path: &Path, settings: &Settings) -> Result<Self, Error> {
        let container = Container::open(path)?;
        let spec = &container.spec;
        graph::refuse_unsupported(&container, spec)?;
        let shapes = graph::input_shapes(&container, spec)?;
        let plan = |shapes: &[Vec<usize>]| {
            let planned = plan::check(spec, container.is_keras_2(), shapes);
            planned.map_err(|what| container.wrong(what))
        };
        let elements;
        let inputs = if settings.inputs.is_empty() {
            if settings.expect.is_some() {
                return Err(Error::usage(
                    "--expect needs --input: what a model predicts for an input that is made is \
                     not known",
                ));
            }
            let batch = settings.batch.unwrap_or(BATCH);
            if !(1..=MOST_BATCH).contains(&batch) {
                return Err(Error::usage(format!(
                    "--batch {batch} is out of range: from 1 to {MOST_BATCH}"
                )));
            }
            let dims = shapes.iter();
            let dims = dims.map(|shape| made_shape(&container, shape, batch as usize));
            let dims = dims.collect::<Result<Vec<_>, _>>()?;
            elements = plan(&dims)?;
            let made = shapes.iter().zip(dims);
            made.map(|(shape, dims)| made_input(shape, dims)).collect()
        } else {
            if settings.batch.is_some() {
                return Err(Error::usage(
                    "--batch is for inputs that are made: --input has its own",
                ));
            }
            let mut arrays = Vec::new();
            for file in &settings.inputs {
                arrays.extend(npy::read_all(file)?);
            }
            let names: Vec<&str> = shapes.iter().map(|s| &*s.name).collect();
            npy::sort_by_names(&mut arrays, &[&names, &strs(&spec.input_names)]);
            let arrays: Vec<Array> = arrays.into_iter().map(|(_, array)| array).collect();
            if arrays.len() != shapes.len() {
                let names: Vec<&str> = shapes.iter().map(|s| &*s.name).collect();
                return Err(Error::usage(format!(
                    "{} takes {} inputs ({}), and --input gives {}",
                    path.display(),
                    shapes.len(),
                    names.join(", "),
                    arrays.len()
                )));
            }
            let taken = arrays.into_iter().zip(&shapes);
            let taken = taken.map(|(array, shape)| shape.takes(array));
            let taken: Result<Vec<Array>, String> = taken.collect();
            let arrays = taken.map_err(|what| container.wrong(what))?;
            let dims: Vec<Vec<usize>> = arrays.iter().map(|a| a.shape.clone()).collect();
            elements = plan(&dims)?;
            arrays
        };
        let expected = match &settings.expect {
            None => None,
            Some(file) => {
                let mut arrays = npy::read_all(file)?;
                npy::sort_by_names(&mut arrays, &[&strs(&spec.output_names)]);
                Some(arrays.into_iter().map(|(_, array)| array).collect())
            }
        };
        Ok(Self {
            path: path.into(),
            device: super::models::device::device(settings)?.create(),
            inputs,
            expected,
            elements,
        })
    }

    /// Loads the model.
    fn open(&self) -> Result<Loaded, Error> {
        let container = Container::open(&self.path)?;
        Ok(Loaded {
            graph: Graph::load(&container, &self.device)?,
            device: self.device.clone(),
            inputs: self.inputs.clone(),
            expected: self.expected.clone(),
            is_half: container.spec.is_half(),
        })
    }

    fn batch(&self) -> usize {
        self.inputs
            .first()
            .and_then(|i| i.shape.first().copied())
            .unwrap_or(0)
    }
}

fn strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// The shape of an input that is made, as the configuration says.
fn made_shape(
    container: &Container,
    shape: &InputShape,
    batch: usize,
) -> Result<Vec<usize>, Error> {
    let sizes = shape.sizes.as_ref().ok_or_else(|| {
        container
            .wrong(format!("the input `{}` has no shape", shape.name))
            .hint("give one with --input x.npy")
    })?;
    let sizes = sizes.iter().map(|size| size.unwrap_or(OPEN_AXIS));
    Ok([batch].into_iter().chain(sizes).collect())
}

/// A seeded input.
fn made_input(input: &InputShape, shape: Vec<usize>) -> Array {
    let mut random = Random::new(42);
    let mut value = || match input.tokens {
        Some(tokens) => random.below(tokens.max(1) as u64) as f32,
        None => random.fraction(),
    };
    let count = shape.iter().product();
    Array {
        values: (0..count).map(|_| value()).collect(),
        shape,
    }
}

impl Workload for KerasFile {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        Ok(Box::new(self.open()?))
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
    graph: Graph,
    device: Device,
    inputs: Vec<Array>,
    expected: Option<Vec<Array>>,
    /// Keras computes a part of it in a type of two bytes.
    is_half: bool,
}

impl Model for Loaded {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        let mut flows = Vec::new();
        for input in &self.inputs {
            let value = Value::from_data(input.values.clone(), &input.shape, &self.device)?;
            flows.push(Flow::of(value));
        }
        let outputs = self.graph.predict(&flows)?;
        let mut made = Vec::new();
        for output in outputs {
            made.push(Array {
                shape: output.x.shape(),
                values: output.x.to_vec()?,
            });
        }
        if let Some(expected) = &self.expected {
            compare_all(&made, expected).map_err(|what| match self.is_half {
                true => format!(
                    "{what}; Keras computes this model in half precision, which rounds more"
                ),
                false => what,
            })?;
        }
        Ok(made.into_iter().flat_map(|array| array.values).collect())
    }
}

/// Compares with what is expected; what is not a number must be the same.
fn compare(output: &[f32], expected: &[f32]) -> Result<(), String> {
    if output.len() != expected.len() {
        return Err(format!(
            "the output has {} values, and {} are expected",
            output.len(),
            expected.len()
        ));
    }
    let differs = |(o, e): (&f32, &f32)| {
        // Of what is infinite a part is infinite, too.
        let near = e.is_finite() && (o - e).abs() <= ABSOLUTE + RELATIVE * e.abs();
        !(near || o == e || (o.is_nan() && e.is_nan()))
    };
    match output.iter().zip(expected).position(differs) {
        Some(at) => Err(format!(
            "the output is {} where {} is expected (value {at})",
            output[at], expected[at]
        )),
        None => Ok(()),
    }
}

/// Compares outputs with what is expected of each, or with all values in a row.
fn compare_all(outputs: &[Array], expected: &[Array]) -> Result<(), String> {
    let counts = |arrays: &[Array]| arrays.iter().map(|a| a.values.len()).collect::<Vec<_>>();
    if outputs.len() < 2 || counts(outputs) != counts(expected) {
        let all = |arrays: &[Array]| {
            arrays
                .iter()
                .flat_map(|a| a.values.clone())
                .collect::<Vec<_>>()
        };
        compare(&all(outputs), &all(expected))?;
        return compare_shapes(outputs, expected);
    }
    for (n, (output, expected)) in outputs.iter().zip(expected).enumerate() {
        let same = compare(&output.values, &expected.values);
        same.map_err(|what| format!("output {n} of {}: {what}", outputs.len()))?;
    }
    compare_shapes(outputs, expected)
}

/// Compares the shapes of outputs with those that are expected. An array of one axis may hold all
/// values in a row.
fn compare_shapes(outputs: &[Array], expected: &[Array]) -> Result<(), String> {
    if expected.len() != outputs.len() {
        return Ok(());
    }
    let differs = |(o, e): &(&Array, &Array)| e.shape.len() > 1 && o.shape != e.shape;
    match outputs.iter().zip(expected).find(differs) {
        Some((output, expected)) => Err(format!(
            "the output has the shape {:?}, and {:?} is expected",
            output.shape, expected.shape
        )),
        None => Ok(()),
    }
}
