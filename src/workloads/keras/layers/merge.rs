//! Layers that make one tensor of several.

use ::burn::tensor::{Bool, Tensor};
use serde_json::Value as Json;

use super::{Config, Extra, Layer};
use crate::workloads::keras::value::{Binary, Flow, Value, axis_of, each};

/// `Add`, `Subtract`, `Multiply`, `Average`, `Maximum`, `Minimum` and `Concatenate`.
pub(super) struct Merge {
    how: How,
    /// A step counts if it does in all inputs, as Keras 2 has it, and not in any.
    needs_all: bool,
}

#[derive(Clone, Copy)]
enum How {
    Fold(Binary),
    Average,
    /// Along an axis, counted from the end if negative.
    Concatenate(i64),
}

impl Merge {
    pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Self, String> {
        let how = match class {
            "Add" => How::Fold(Binary::Add),
            "Subtract" => How::Fold(Binary::Subtract),
            "Multiply" => How::Fold(Binary::Multiply),
            "Maximum" => How::Fold(Binary::Maximum),
            "Minimum" => How::Fold(Binary::Minimum),
            "Average" => How::Average,
            _ => {
                let axis = config.get("axis").map_or(Some(-1), Json::as_i64);
                How::Concatenate(axis.ok_or("its `axis` is no axis")?)
            }
        };
        Ok(Self {
            how,
            needs_all: config.is_keras_2,
        })
    }
}

impl Merge {
    /// The steps that count.
    fn mask(&self, inputs: &[Flow]) -> Result<Option<Tensor<2, Bool>>, String> {
        let both = match self.needs_all {
            true => Tensor::bool_and,
            false => Tensor::bool_or,
        };
        let How::Concatenate(axis) = self.how else {
            let masks = inputs.iter().filter_map(|flow| flow.mask.clone());
            let masks: Vec<Tensor<2, Bool>> = masks.collect();
            // For Keras 3 all steps count where one input does not tell; Keras 2 asks the others.
            let tells = self.needs_all || masks.len() == inputs.len();
            return Ok(masks.into_iter().filter(|_| tells).reduce(both));
        };
        let is_masked = inputs.iter().any(|flow| flow.mask.is_some());
        let mut masks = Vec::new();
        for flow in inputs.iter().filter(|_| is_masked) {
            let Value::R3(x) = &flow.x else {
                return Ok(None);
            };
            let [batch, steps, _] = x.dims();
            let all = || Tensor::<2>::ones([batch, steps], &x.device()).equal_elem(1.0);
            masks.push(flow.mask.clone().unwrap_or_else(all));
        }
        Ok(match axis_of(3, axis)? {
            _ if !is_masked => None,
            1 => Some(Tensor::cat(masks, 1)),
            2 => masks.into_iter().reduce(both),
            _ => Some(Tensor::cat(masks, 0)),
        })
    }
}

impl Layer for Merge {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let Some((first, rest)) = inputs.split_first() else {
            return Err("it is called without inputs".into());
        };
        let fold = |op: Binary| {
            let mut all = rest.iter().map(|flow| flow.x.clone());
            all.try_fold(first.x.clone(), |sum, x| sum.with(x, op))
        };
        let x = match self.how {
            How::Fold(Binary::Subtract) if inputs.len() != 2 => {
                return Err(format!(
                    "it takes two inputs, and is called with {}",
                    inputs.len()
                ));
            }
            How::Fold(op) => fold(op)?,
            How::Average => {
                let count = inputs.len() as f64;
                each!(fold(Binary::Add)?, t => t / count)
            }
            How::Concatenate(axis) => {
                let axis = first.x.axis(axis)?;
                Value::concat(inputs.iter().map(|f| f.x.clone()).collect(), axis)?
            }
        };
        let mask = self.mask(inputs)?;
        Ok(vec![Flow { x, mask }])
    }
}
