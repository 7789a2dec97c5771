//! `Dense` and `Embedding`.

use burn::tensor::{Tensor, module};

use super::activation::Activation;
use super::class::{Class, Kwargs, Layer, LayerPlan, Parsed, WeightCount, one};
use super::weights::LayerWeights;
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::tensor::budget::Budget;
use crate::tensor::shape::{Shape, with_last, wrong_input};
use crate::tensor::{DynTensor, Masked};

pub(super) const CLASSES: &[Class] = &[
    Class::new("Dense", DensePlan::read),
    Class::new("Embedding", EmbeddingPlan::read),
];

struct DensePlan {
    units: usize,
    use_bias: bool,
    activation: Activation,
}

impl DensePlan {
    fn read(settings: &Settings<'_>) -> Parsed {
        settings.refuse("lora_rank", &[])?;
        settings.refuse("quantization_config", &[])?;
        Ok(Box::new(Self {
            units: settings.size("units")?,
            use_bias: settings.flag("use_bias", true),
            activation: Activation::read(settings, "activation", "linear")?,
        }))
    }
}

impl LayerPlan for DensePlan {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        let shape = with_last(one(inputs)?, self.units);
        Ok(vec![self.activation.shape(&shape)?])
    }

    fn weight_count(&self) -> WeightCount {
        WeightCount::trainable(1 + usize::from(self.use_bias))
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        Ok(Box::new(Dense {
            kernel: weights.matrix("kernel", [None, Some(self.units)])?,
            bias: weights.vector_if(self.use_bias, "bias", Some(self.units))?,
            activation: self.activation,
        }))
    }
}

/// `activation(x kernel + bias)` over the last axis.
struct Dense {
    /// `[features, units]`.
    kernel: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
}

impl Layer for Dense {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        let [features, units] = self.kernel.dims();
        let shape = input.x.shape();
        if shape.len() < 2 || input.x.last() != features {
            return Err(wrong_input(&shape, &format!("[batch, ..., {features}]")));
        }
        let rows = shape.iter().product::<usize>() / features.max(1);
        let DynTensor::R2(x) = input.x.clone().reshape(&[rows, features])? else {
            return Err("its input is not a matrix".into());
        };
        let mut y = x.matmul(self.kernel.clone());
        if let Some(bias) = &self.bias {
            y = y + bias.clone().unsqueeze_dim::<2>(0);
        }
        let y = DynTensor::R2(y).reshape(&with_last(&shape, units))?;
        let y = self.activation.apply(y)?;
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}

struct EmbeddingPlan {
    tokens: usize,
    width: usize,
    mask_zero: bool,
}

impl EmbeddingPlan {
    fn read(settings: &Settings<'_>) -> Parsed {
        Ok(Box::new(Self {
            tokens: settings.size("input_dim")?,
            width: settings.size("output_dim")?,
            mask_zero: settings.flag("mask_zero", false),
        }))
    }
}

impl LayerPlan for EmbeddingPlan {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        Ok(vec![[&one(inputs)?[..], &[self.width]].concat()])
    }

    fn weight_count(&self) -> WeightCount {
        WeightCount::trainable(1)
    }

    fn tokens(&self) -> Option<usize> {
        Some(self.tokens)
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        let shape = [Some(self.tokens), Some(self.width)];
        Ok(Box::new(Embedding {
            table: weights.matrix("embeddings", shape)?,
            mask_zero: self.mask_zero,
        }))
    }
}

/// A row of a table for each token.
struct Embedding {
    /// `[tokens, width]`.
    table: Tensor<2>,
    /// Steps whose token is 0 are not valid.
    mask_zero: bool,
}

impl Layer for Embedding {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = &one(inputs)?.x;
        let shape = input.shape();
        let tokens = input.to_tokens();
        let [rows, width] = self.table.dims();
        let (least, most) = (tokens.clone().min(), tokens.clone().max());
        let (least, most) = (least.into_scalar::<i64>(), most.into_scalar::<i64>());
        if least < 0 || most >= rows as i64 {
            return Err(format!(
                "its table has {rows} rows, and its input has tokens from {least} to {most}"
            ));
        }
        let mask = match (self.mask_zero, &shape[..]) {
            (false, _) => None,
            (true, &[batch, steps]) => {
                Some(tokens.clone().reshape([batch, steps]).not_equal_elem(0))
            }
            (true, shape) => {
                return Err(format!(
                    "a mask of tokens of the shape {shape:?}, not [batch, steps], is not supported"
                ));
            }
        };
        let embedded = module::embedding(self.table.clone(), tokens);
        let shape = [&shape[..], &[width]].concat();
        let embedded = DynTensor::R3(embedded).reshape(&shape)?;
        Ok(vec![Masked::new(embedded, mask)])
    }
}
