//! The trait of the models that come with afterdrop.

use ::burn::module::Module;
use ::burn::tensor::{Device, Tensor};

/// Classes that each model distinguishes.
pub(super) const CLASSES: usize = 10;

/// Items in the stored batch of input.
#[cfg(any(test, feature = "train"))]
pub(super) const BATCH: usize = 8;

/// A model with stored weights, a stored batch of input, and the output for it.
pub(crate) trait Shipped: Module + std::fmt::Debug + 'static {
    /// The name after `burn:`.
    const NAME: &'static str;
    /// What it is, in one line.
    const ABOUT: &'static str;
    /// Values in one item of input.
    const INPUT: usize;

    /// Creates a model with random weights. `width` is a multiple of the shipped width.
    fn init(device: &Device, width: usize) -> Self;

    /// Logits `[batch, classes]` of a flattened batch with [`Shipped::INPUT`] values per item.
    fn logits(&self, input: &[f32], device: &Device) -> Tensor<2>;
}

/// The flattened logits for an input.
pub(super) fn output<M: Shipped>(
    model: &M,
    input: &[f32],
    device: &Device,
) -> Result<Vec<f32>, String> {
    let logits = model.logits(input, device).into_data();
    let output = logits.try_to_vec::<f32>();
    output.map_err(|e| format!("the output is not f32: {e:?}"))
}
