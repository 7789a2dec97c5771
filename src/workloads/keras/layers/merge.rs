//! Layers that make one tensor of several.

use ::burn::tensor::{Bool, Tensor};
use serde_json::Value as Json;

use super::{Config, Extra, Layer};
use crate::workloads::keras::value::{Binary, Flow, Value, each};

/// `Add`, `Subtract`, `Multiply`, `Average`, `Maximum`, `Minimum` and `Concatenate`.
pub(super) struct Merge {
    how: How,
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
        Ok(Self { how })
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
        // A step of a sum counts if it does in any input, one of joined tensors if it does in all;
        // and all must say so.
        let masks = inputs.iter().filter_map(|flow| flow.mask.clone());
        let all = inputs.iter().all(|flow| flow.mask.is_some());
        let joined = matches!(self.how, How::Concatenate(_));
        let both = |a: Tensor<2, Bool>, b| if joined { a.bool_and(b) } else { a.bool_or(b) };
        let mask = masks.reduce(both).filter(|_| all);
        Ok(vec![Flow { x, mask }])
    }
}
