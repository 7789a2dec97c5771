//! Layers that make one tensor of several.

use ::burn::tensor::Tensor;
use serde_json::Value as Json;

use super::{Config, Extra, Layer};
use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::{Binary, Flow, Mask, Value, axis_of, broadcast, each};

/// `Add`, `Subtract`, `Multiply`, `Average`, `Maximum`, `Minimum` and `Concatenate`.
pub(super) struct Merge {
    how: How,
    /// A step counts if it does in all inputs, as Keras 2 has it, and not in any.
    needs_all: bool,
    /// What a mask hides is left out of products and of what is largest or smallest, as Keras 3 has it.
    heeds_masks: bool,
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
        let heeds_masks = matches!(class, "Multiply" | "Maximum" | "Minimum");
        Ok(Self {
            how,
            needs_all: config.is_keras_2,
            heeds_masks: heeds_masks && !config.is_keras_2,
        })
    }

    /// The steps that count.
    fn mask(&self, inputs: &[Flow]) -> Result<Option<Mask>, String> {
        let both = match self.needs_all {
            true => Tensor::bool_and,
            false => Tensor::bool_or,
        };
        let How::Concatenate(axis) = self.how else {
            let masks: Vec<Mask> = inputs.iter().filter_map(Flow::mask).collect();
            // For Keras 3 all steps count where one input does not tell; Keras 2 asks the others.
            let tells = self.needs_all || masks.len() == inputs.len();
            return Ok(masks.into_iter().filter(|_| tells).reduce(both));
        };
        let is_masked = inputs.iter().any(|flow| flow.mask().is_some());
        let mut masks = Vec::new();
        for flow in inputs.iter().filter(|_| is_masked) {
            let Value::R3(x) = &flow.x else {
                return Ok(None);
            };
            let [batch, steps, _] = x.dims();
            let all = || Tensor::<2>::ones([batch, steps], &x.device()).equal_elem(1.0);
            masks.push(flow.mask().unwrap_or_else(all));
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
        let first = inputs.first().ok_or("it is called without inputs")?;
        let is_masked = inputs.iter().any(|flow| flow.mask().is_some());
        let fold = |op: Binary| {
            let mut all = of_one_rank(inputs)?.into_iter();
            let first = all.next().ok_or("it is called without inputs")?;
            all.try_fold(first, |sum, x| sum.with(x, op))
        };
        let x = match self.how {
            How::Fold(Binary::Subtract) if inputs.len() != 2 => {
                return Err(format!(
                    "it takes two inputs, and is called with {}",
                    inputs.len()
                ));
            }
            How::Fold(op) if self.heeds_masks && is_masked => fold_counting(inputs, op)?,
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
        Ok(vec![Flow::masked(x, mask)])
    }
}

/// The shape of what is merged element by element: axes of size 1 stand behind the batch of those
/// with fewer.
///
/// # Errors
/// If the shapes do not fit.
pub(super) fn planned(inputs: &[Shape]) -> Result<Shape, String> {
    let rank = inputs.iter().map(Vec::len).max().unwrap_or(0);
    let mut all = inputs.iter().map(|shape| widened(shape, rank));
    let first = all.next().ok_or("it is called without inputs")?;
    all.try_fold(first, |sum, next| broadcast(&sum, &next))
}

fn widened(shape: &[usize], rank: usize) -> Shape {
    let (batch, rest) = shape.split_at(shape.len().min(1));
    [batch, &vec![1; rank - shape.len()], rest].concat()
}

fn of_one_rank(inputs: &[Flow]) -> Result<Vec<Value>, String> {
    let rank = inputs.iter().map(|flow| flow.x.rank()).max().unwrap_or(0);
    let values = inputs.iter().map(|flow| flow.x.clone());
    let values = values.map(|x| {
        let shape = widened(&x.shape(), rank);
        x.reshape(&shape)
    });
    values.collect()
}

/// An input, and which of its values count, 1 or 0, if a mask tells.
type Counted = (Tensor<3>, Option<Tensor<3>>);

/// As Keras 3 merges what is masked (keras/src/layers/merging/base_merge.py and multiply.py): a value
/// that does not count is 1 in a product, and else the one that it is compared with.
fn fold_counting(inputs: &[Flow], op: Binary) -> Result<Value, String> {
    let input = |flow: &Flow| -> Result<Counted, String> {
        let Value::R3(x) = &flow.x else {
            let shape = flow.x.shape();
            return Err(format!(
                "a masked input of the shape {shape:?} is not supported"
            ));
        };
        let counts = flow.mask().map(|mask| mask.float().unsqueeze_dim::<3>(2));
        let counts = counts.map(|counts| counts.repeat_dim(2, x.dims()[2]));
        Ok((x.clone(), counts))
    };
    let mut all = inputs.iter().map(input);
    let (mut x, mut counts) = all.next().ok_or("it is called without inputs")??;
    let is_product = op == Binary::Multiply;
    let chosen = |x: Tensor<3>, counts: &Option<Tensor<3>>, other: Tensor<3>| match counts {
        Some(counts) => x.mask_where(counts.clone().equal_elem(0.0), other),
        None => x,
    };
    if is_product {
        x = chosen(x.clone(), &counts, x.ones_like());
    }
    for next in all {
        let (mut y, both) = next?;
        if x.dims() != y.dims() {
            let shapes = (x.dims(), y.dims());
            return Err(format!(
                "masked inputs of the shapes {shapes:?} are not supported"
            ));
        }
        let other = if is_product { y.ones_like() } else { x.clone() };
        y = chosen(y, &both, other);
        if !is_product {
            x = chosen(x, &counts, y.clone());
        }
        counts = counts.zip(both).map(|(a, b)| a.max_pair(b));
        let joined = Value::R3(x).with(Value::R3(y), op)?;
        let Value::R3(joined) = joined else {
            return Err("masked inputs of other ranks are not supported".into());
        };
        x = joined;
    }
    if is_product {
        x = chosen(x.clone(), &counts, x.zeros_like());
    }
    Ok(Value::R3(x))
}
