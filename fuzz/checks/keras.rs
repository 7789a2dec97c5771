//! What is made of a Keras file: the plan read, the model built, and run if that is cheap.

use std::path::Path;

use burn::tensor::Device;
use keras_burn::{Array, Error, Input, Model, Plan};

/// Largest cost of a model that is run.
const MAX_COST: usize = 1 << 18;
/// Size of a generated axis that the configuration leaves open.
const OPEN_AXIS: usize = 16;

/// Reads a file, and runs its model on zeros, which are also tokens.
///
/// # Errors
/// If the file is not a model that can be run.
pub fn check(path: &Path) -> Result<(), Error> {
    let plan = Plan::read(path)?;
    let shape = |input: &Input| {
        let sizes = input.shape().unwrap_or_default();
        let sizes = sizes.iter().map(|size| size.unwrap_or(OPEN_AXIS));
        [1].into_iter().chain(sizes).collect()
    };
    let shapes: Vec<Vec<usize>> = plan.inputs().iter().map(shape).collect();
    let cost = plan.cost(&shapes)?;
    let model = Model::read(path, &device())?;
    if cost < MAX_COST {
        let inputs = shapes.into_iter().map(|shape| {
            let count = shape.iter().product();
            Array::new(shape, vec![0.0; count])
        });
        model.predict(&inputs.collect::<Result<Vec<Array>, Error>>()?)?;
    }
    Ok(())
}

#[expect(
    deprecated,
    reason = "ndarray is the smallest backend that runs everywhere"
)]
fn device() -> Device {
    Device::ndarray()
}
