//! `Masking`: steps that a certain value marks as missing.

use burn::tensor::Tensor;

use super::class::{Class, Kwargs, Layer, Parsed, Weightless, one};
use crate::config::settings::Settings;
use crate::tensor::dtype::ResultType;
use crate::tensor::shape::wrong_input;
use crate::tensor::{DynTensor, Masked};

pub(super) const CLASSES: &[Class] =
    &[Class::new("Masking", Masking::read).gives(ResultType::Same)];

/// A step whose features all have the value is not valid, and becomes zero.
#[derive(Clone)]
struct Masking {
    value: f64,
}

impl Masking {
    fn read(settings: &Settings<'_>) -> Parsed {
        let value = settings.number("mask_value", 0.0);
        Ok(Box::new(Self { value }))
    }
}

impl Weightless for Masking {}

impl Layer for Masking {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = &one(inputs)?.x;
        let DynTensor::R3(x) = input else {
            return Err(wrong_input(&input.shape(), "[batch, steps, features]"));
        };
        let differs = x.clone().not_equal_elem(self.value).float();
        let is_valid: Tensor<3> = differs.max_dim(2);
        let mask = is_valid.clone().not_equal_elem(0.0).squeeze_dim::<2>(2);
        let is_missing = is_valid.equal_elem(0.0).repeat_dim(2, x.dims()[2]);
        let kept = x.clone().mask_fill(is_missing, 0.0);
        Ok(vec![Masked::new(DynTensor::R3(kept), Some(mask))])
    }
}
