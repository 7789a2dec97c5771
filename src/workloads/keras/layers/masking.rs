//! Masking: the steps that a value marks as missing.

use ::burn::tensor::Tensor;

use super::{Config, Extra, Layer, one};
use crate::workloads::keras::value::{Flow, Value};

/// `Masking`: a step whose features all have the value does not count, and becomes zero.
pub(super) struct Masking(f64);

impl Masking {
    pub(super) fn build(config: &Config<'_>) -> Self {
        Self(config.number("mask_value", 0.0))
    }
}

impl Layer for Masking {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let Value::R3(x) = &one(inputs)?.x else {
            let shape = one(inputs)?.x.shape();
            return Err(format!(
                "its input has the shape {shape:?}, not [batch, steps, features]"
            ));
        };
        let differs = x.clone().not_equal_elem(self.0).float();
        let counts: Tensor<3> = differs.max_dim(2);
        let mask = counts.clone().not_equal_elem(0.0).squeeze_dim::<2>(2);
        let kept = x
            .clone()
            .mask_fill(counts.equal_elem(0.0).repeat_dim(2, x.dims()[2]), 0.0);
        Ok(vec![Flow::masked(Value::R3(kept), Some(mask))])
    }
}
