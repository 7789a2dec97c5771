//! A transformer encoder that classifies short sequences.

use burn::module::Module;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::shipped::{CLASSES, Shipped};

/// Tokens in a sequence.
const LENGTH: usize = 32;
/// Distinct tokens.
pub(crate) const VOCABULARY: usize = 64;
const WIDTH: usize = 64;

/// Embedding, two encoder layers, the mean over the sequence, a linear layer.
#[derive(Module, Debug)]
pub(crate) struct Transformer {
    embedding: Embedding,
    encoder: TransformerEncoder,
    output: Linear,
}

impl Transformer {
    /// # Shapes
    /// `[batch, 32]` to `[batch, 10]`.
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let x = self.embedding.forward(tokens);
        let x = self.encoder.forward(TransformerEncoderInput::new(x));
        let [batch, _, width] = x.dims();
        let mean = x.mean_dim(1).reshape([batch, width]);
        self.output.forward(mean)
    }
}

impl Shipped for Transformer {
    const NAME: &'static str = "transformer";
    const ABOUT: &'static str = "transformer encoder, 2 layers of width 64 with embedding, on Burn";
    const INPUT: usize = LENGTH;

    fn init(device: &Device, width: usize) -> Self {
        let width = WIDTH * width;
        // No dropout: on an autodiff device it would make the output random.
        let encoder = TransformerEncoderConfig::new(width, 4 * width, 4, 2).with_dropout(0.0);
        Self {
            embedding: EmbeddingConfig::new(VOCABULARY, width).init(device),
            encoder: encoder.init(device),
            output: LinearConfig::new(width, CLASSES).init(device),
        }
    }

    fn logits(&self, input: &[f32], device: &Device) -> Tensor<2> {
        let batch = input.len() / LENGTH;
        // Token numbers are small integers, which `f32` represents exactly.
        let tokens: Vec<i64> = input.iter().map(|&t| t as i64).collect();
        let data = TensorData::new(tokens, [batch, LENGTH]);
        self.forward(Tensor::from_data(data, device))
    }
}
