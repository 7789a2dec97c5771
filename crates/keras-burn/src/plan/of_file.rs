//! The plan of a file's model.

use std::fmt;
use std::path::{Path, PathBuf};

use super::input::{self, Input};
use super::model::ModelPlan;
use super::{check, shapes, types};
use crate::config::model::{LayerSpec, ModelSpec};
use crate::error::{Error, Result};
use crate::file::Container;
use crate::tensor::dtype;
use crate::tensor::shape::Shape;

/// A model as its file describes it, without its weights: its inputs and outputs, and the cost of a
/// prediction.
///
/// A plan is read from the configuration alone, in milliseconds, and says whether a model can be run
/// at all.
///
/// # Example: the inputs of a file
/// ```
/// use keras_burn::Plan;
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/keras/lenet/model.keras");
/// let plan = Plan::read(path).unwrap();
/// let input = &plan.inputs()[0];
/// assert_eq!(input.shape(), Some(&[Some(28), Some(28), Some(1)][..]));
/// assert!(plan.cost(&[vec![8, 28, 28, 1]]).is_ok());
/// assert!(plan.cost(&[vec![8, 28, 28, 3]]).unwrap_err().is_input());
/// ```
pub struct Plan {
    path: PathBuf,
    pub(crate) model: ModelPlan,
    inputs: Vec<Input>,
    outputs: Vec<String>,
    is_half_precision: bool,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("path", &self.path)
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// Reads the plan of a file, `.h5` or `.keras`. The format is recognised by the content, not by
    /// the name.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or describes a model that cannot be run: the layer is
    /// named.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::of(path, &mut Container::open(path)?)
    }

    /// The plan of an open file, whose configuration it takes.
    pub(crate) fn of(path: &Path, container: &mut Container) -> Result<Self> {
        let wrong = |what: String| Error::file(path, what);
        let is_keras_2 = container.is_keras_2;
        let spec = ModelSpec::read(container.config.take()).map_err(wrong)?;
        check::classes(path, &spec)?;
        let mut inputs = input::read(&spec).map_err(wrong)?;
        let outputs = spec.output_keys.clone();
        let layers = spec.all_layers().into_iter();
        let is_half_precision = layers.filter_map(LayerSpec::dtype).any(dtype::is_half);
        let model = ModelPlan::new(spec, is_keras_2).map_err(wrong)?;
        check::arguments(&model, is_keras_2).map_err(wrong)?;
        types::check(&model, is_keras_2).map_err(wrong)?;
        input::set_tokens(&mut inputs, &model);
        Ok(Self {
            path: path.into(),
            model,
            inputs,
            outputs,
            is_half_precision,
        })
    }

    /// The inputs, in the order in which a prediction takes them.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The names of the outputs, in the order in which a prediction gives them: their keys, if the
    /// model was made with a dictionary of outputs, else the names of their layers.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Whether Keras computes a part of the model in `float16` or `bfloat16`. Here all is computed
    /// in `f32`, so that predictions differ by what Keras rounds.
    pub fn is_half_precision(&self) -> bool {
        self.is_half_precision
    }

    /// Works out the shape of every tensor of a prediction on inputs of these shapes, the batch
    /// first, and returns what the prediction costs: the number of elements of all tensors, and of
    /// cells that the windows of pooling layers read.
    ///
    /// # Errors
    /// If a shape does not fit the model, or the prediction would exceed one of these bounds: 2^28
    /// elements of a tensor, 2^35 of all, 2^18 calls of layers and steps of recurrent layers, and
    /// 2^32 cells that pooling windows read.
    pub fn cost(&self, shapes: &[Shape]) -> Result<usize> {
        let fits = self.inputs.iter().zip(shapes);
        let fits = fits.map(|(input, shape)| input.check(shape));
        let fits: std::result::Result<(), String> = fits.collect();
        let budget = fits.and_then(|()| shapes::check(&self.model, shapes));
        let budget = budget.map_err(|what| self.input_error(what))?;
        Ok(budget.spent())
    }

    /// An error about the inputs of a prediction.
    pub(crate) fn input_error(&self, what: String) -> Error {
        Error::input(Some(&self.path), what)
    }
}
