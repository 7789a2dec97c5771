//! A convolutional network for 28x28 images with one channel.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

use super::shipped::{CLASSES, Shipped};

const SIDE: usize = 28;
const CHANNELS: [usize; 2] = [8, 16];

/// Convolution, ReLU and pooling, twice; then a linear layer.
#[derive(Module, Debug)]
pub(crate) struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    output: Linear,
}

impl Cnn {
    /// # Shapes
    /// `[batch, 1, 28, 28]` to `[batch, 10]`.
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(images)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        self.output.forward(x.flatten(1, 3))
    }
}

impl Shipped for Cnn {
    const NAME: &'static str = "cnn";
    const ABOUT: &'static str = "convolutional network on 28x28 images, two conv + pool, on Burn";
    const INPUT: usize = SIDE * SIDE;

    fn init(device: &Device, width: usize) -> Self {
        let channels = CHANNELS.map(|c| c * width);
        let conv = |from, to| {
            Conv2dConfig::new([from, to], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        let pooled = SIDE / 4;
        Self {
            conv1: conv(1, channels[0]),
            conv2: conv(channels[0], channels[1]),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            output: LinearConfig::new(channels[1] * pooled * pooled, CLASSES).init(device),
        }
    }

    fn logits(&self, input: &[f32], device: &Device) -> Tensor<2> {
        let batch = input.len() / Self::INPUT;
        let data = TensorData::new(input.to_vec(), [batch, 1, SIDE, SIDE]);
        self.forward(Tensor::from_data(data, device))
    }
}
