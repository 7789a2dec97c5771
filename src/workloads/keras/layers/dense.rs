//! Dense and Embedding.

use ::burn::tensor::{Tensor, module};

use super::activation::Activation;
use super::{Config, Extra, Layer, keeping_mask, one};
use crate::base::error::Error;
use crate::workloads::keras::value::{Flow, Value};
use crate::workloads::keras::weights::Vars;

/// `activation(x kernel + bias)` over the last axis.
pub(super) struct Dense {
    /// `[in, units]`.
    kernel: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
}

impl Dense {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let units = vars.checked(config.size("units"))?;
        vars.checked(config.refuse("lora_rank", &[]))?;
        vars.checked(config.refuse("quantization_config", &[]))?;
        let activation = vars.checked(Activation::of(config, "activation", "linear"))?;
        let kernel = vars.matrix("kernel", [None, Some(units)])?;
        Ok(Self {
            kernel,
            bias: vars.vector_if(config.flag("use_bias", true), "bias", Some(units))?,
            activation,
        })
    }
}

impl Layer for Dense {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let [size, units] = self.kernel.dims();
        let mut shape = input.x.shape();
        if shape.len() < 2 || input.x.last() != size {
            return Err(format!(
                "its kernel takes {size} features, and its input has the shape {shape:?}"
            ));
        }
        let rows = shape.iter().product::<usize>() / size.max(1);
        let Value::R2(x) = input.x.clone().reshape(&[rows, size])? else {
            return Err("its input is no matrix".into());
        };
        let mut y = x.matmul(self.kernel.clone());
        if let Some(bias) = &self.bias {
            y = y + bias.clone().unsqueeze_dim::<2>(0);
        }
        if let Some(last) = shape.last_mut() {
            *last = units;
        }
        let y = Value::R2(y).reshape(&shape)?;
        Ok(keeping_mask(input, self.activation.apply(y)?))
    }
}

/// A row of a table for each token.
pub(super) struct Embedding {
    /// `[tokens, width]`.
    table: Tensor<2>,
    mask_zero: bool,
}

impl Embedding {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let tokens = vars.checked(config.size("input_dim"))?;
        let width = vars.checked(config.size("output_dim"))?;
        Ok(Self {
            table: vars.matrix("embeddings", [Some(tokens), Some(width)])?,
            mask_zero: config.flag("mask_zero", false),
        })
    }
}

impl Layer for Embedding {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = &one(inputs)?.x;
        let shape = input.shape();
        let tokens = input.tokens();
        let [count, width] = self.table.dims();
        let (least, most) = (tokens.clone().min(), tokens.clone().max());
        let (least, most) = (least.into_scalar::<i64>(), most.into_scalar::<i64>());
        if least < 0 || most >= count as i64 {
            return Err(format!(
                "its table has {count} rows, and its input has tokens from {least} to {most}"
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
        let rows = module::embedding(self.table.clone(), tokens);
        let rows = Value::R3(rows).reshape(&[&shape[..], &[width]].concat())?;
        Ok(vec![Flow::masked(rows, mask)])
    }
}
