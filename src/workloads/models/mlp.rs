//! A multilayer perceptron, 784-256-10.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

use super::shipped::{CLASSES, Shipped};

const INPUT: usize = 28 * 28;
const HIDDEN: usize = 256;

/// Two linear layers with a ReLU between them.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    hidden: Linear,
    output: Linear,
}

impl Mlp {
    /// # Shapes
    /// `[batch, 784]` to `[batch, 10]`.
    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let hidden = relu(self.hidden.forward(input));
        self.output.forward(hidden)
    }
}

impl Shipped for Mlp {
    const NAME: &'static str = "mlp";
    const ABOUT: &'static str = "multilayer perceptron 784-256-10 on Burn";
    const INPUT: usize = INPUT;

    fn init(device: &Device, width: usize) -> Self {
        let hidden = HIDDEN * width;
        Self {
            hidden: LinearConfig::new(INPUT, hidden).init(device),
            output: LinearConfig::new(hidden, CLASSES).init(device),
        }
    }

    fn logits(&self, input: &[f32], device: &Device) -> Tensor<2> {
        let batch = input.len() / INPUT;
        let data = TensorData::new(input.to_vec(), [batch, INPUT]);
        self.forward(Tensor::from_data(data, device))
    }
}
