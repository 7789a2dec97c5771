//! A model with its weights, and its predictions.

use std::fmt;
use std::path::Path;

use burn::tensor::Device;

use crate::array::Array;
use crate::error::{Error, Result};
use crate::file::Container;
use crate::model::Graph;
use crate::plan::{Input, Plan};
use crate::tensor::{DynTensor, Masked};

/// A model in memory, its weights on a device. The file is closed.
///
/// # Example: the predictions of a file
/// ```
/// use burn::tensor::Device;
/// use keras_burn::{Array, Model};
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/keras/mlp/model.keras");
/// # #[allow(deprecated)]
/// let device = Device::ndarray();
/// let model = Model::read(path, &device).unwrap();
/// let batch = Array::new(vec![2, 64], vec![0.5; 128]).unwrap();
/// let outputs = model.predict(&[batch]).unwrap();
/// assert_eq!(outputs[0].shape(), [2, 10]);
/// ```
pub struct Model {
    plan: Plan,
    graph: Graph,
    device: Device,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Reads a model from a file, `.h5` or `.keras`, and puts its weights on a device.
    ///
    /// Weights are read one after the other: the file is never in memory as a whole.
    ///
    /// # Errors
    /// As [`Plan::read`], and if a weight is missing or does not fit the configuration: the layer
    /// is named.
    pub fn read(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        let mut container = Container::open(path)?;
        let plan = Plan::of(path, &mut container)?;
        let graph = Graph::load(&container, &plan.model, device);
        Ok(Self {
            graph: graph.map_err(|what| Error::file(path, what))?,
            plan,
            device: device.clone(),
        })
    }

    /// The plan that the model was built from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The inputs, in the order in which [`Model::predict`] takes them.
    pub fn inputs(&self) -> &[Input] {
        self.plan.inputs()
    }

    /// The names of the outputs, in the order in which [`Model::predict`] gives them.
    pub fn outputs(&self) -> &[String] {
        self.plan.outputs()
    }

    /// Computes the outputs of the model for a batch of inputs, as Keras's `predict` does.
    ///
    /// `inputs` has one array for each input, the batch first in its shape. Its numbers are
    /// converted to the type of the input. The outputs have the batch first, too.
    ///
    /// # Errors
    /// If the inputs do not fit the model, or as [`Plan::cost`]: the layer is named.
    pub fn predict(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|input| input.shape.clone()).collect();
        self.plan.cost(&shapes)?;
        let outputs = self.run(inputs);
        outputs.map_err(|what| self.plan.input_error(what))
    }

    fn run(&self, inputs: &[Array]) -> std::result::Result<Vec<Array>, String> {
        let mut tensors = Vec::new();
        for (input, array) in self.inputs().iter().zip(inputs) {
            let array = input.convert(array.clone())?;
            let tensor = DynTensor::from_data(array.values, &array.shape, &self.device)?;
            tensors.push(Masked::unmasked(tensor));
        }
        let outputs = self.graph.run(&self.plan.model, &tensors)?;
        let outputs = outputs.into_iter().map(|output| {
            Ok(Array {
                shape: output.x.shape(),
                values: output.x.to_vec()?,
            })
        });
        outputs.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_can_be_shared_between_threads() {
        fn is_shared<T: Send + Sync>() {}
        is_shared::<Model>();
        is_shared::<Plan>();
        is_shared::<Error>();
    }
}
