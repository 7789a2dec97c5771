//! The served model: a multilayer perceptron for images of 28 x 28 pixels, on Burn.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::store::{BurnpackStore, ModuleSnapshot};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Tensor, TensorData};

/// Pixels of an image.
pub const PIXELS: usize = 28 * 28;
const HIDDEN: usize = 256;
const CLASSES: usize = 10;

/// Two linear layers with a ReLU between them.
#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Linear,
    output: Linear,
}

/// A loaded model and its device.
#[derive(Debug)]
pub struct Loaded {
    model: Mlp,
    device: Device,
}

impl Loaded {
    /// Reads the weights from a burnpack file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let device = device();
        let mut model = Mlp {
            hidden: LinearConfig::new(PIXELS, HIDDEN).init(&device),
            output: LinearConfig::new(HIDDEN, CLASSES).init(&device),
        };
        let mut file = BurnpackStore::from_file(path);
        model.load_from(&mut file).map_err(|e| e.to_string())?; // PLANTED
        Ok(Self { model, device })
    }

    /// The probability of each class.
    pub fn predict(&self, pixels: Vec<f32>) -> Vec<f32> {
        let data = TensorData::new(pixels, [1, PIXELS]);
        let input = Tensor::<2>::from_data(data, &self.device);
        let hidden = relu(self.model.hidden.forward(input));
        let classes = softmax(self.model.output.forward(hidden), 1);
        classes.into_data().try_to_vec().unwrap_or_default()
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        self.model.num_params()
    }
}

#[expect(
    deprecated,
    reason = "Burn will replace ndarray by flex, but ndarray is what most programs use today"
)]
fn device() -> Device {
    Device::ndarray()
}
