//! Layers that make one tensor of several.

use burn::tensor::Tensor;

use super::class::{Class, Kwargs, Layer, Parsed, Weightless};
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::tensor::budget::Budget;
use crate::tensor::dtype::ResultType;
use crate::tensor::shape::{NO_INPUT, Shape, axis_index, broadcast, concatenated};
use crate::tensor::{Binary, DynTensor, Mask, Masked, map};

pub(super) const CLASSES: &[Class] = &[
    Class::new("Add", |s| Merge::read(s, Op::Fold(Binary::Add))).gives(ResultType::MayWrap),
    Class::new("Average", |s| Merge::read(s, Op::Average)).gives(ResultType::MayWrap),
    Class::new("Concatenate", |s| {
        Merge::read(s, Op::Concatenate(s.axis("axis", -1)?))
    })
    .gives(ResultType::Same),
    Class::new("Maximum", |s| Merge::read(s, Op::Fold(Binary::Maximum))).gives(ResultType::Same),
    Class::new("Minimum", |s| Merge::read(s, Op::Fold(Binary::Minimum))).gives(ResultType::Same),
    Class::new("Multiply", |s| Merge::read(s, Op::Fold(Binary::Multiply)))
        .gives(ResultType::MayWrap),
    Class::new("Subtract", |s| Merge::read(s, Op::Fold(Binary::Subtract)))
        .gives(ResultType::MayWrap),
];

#[derive(Clone, Copy)]
enum Op {
    Fold(Binary),
    Average,
    /// Along an axis, counted from the end if negative.
    Concatenate(i64),
}

#[derive(Clone)]
struct Merge {
    op: Op,
    is_keras_2: bool,
}

impl Merge {
    fn read(settings: &Settings<'_>, op: Op) -> Parsed {
        Ok(Box::new(Self {
            op,
            is_keras_2: settings.is_keras_2,
        }))
    }

    /// The valid steps of the result. In Keras 2 a step is valid if it is in all inputs, in Keras 3
    /// if it is in any.
    fn mask(&self, inputs: &[Masked]) -> Result<Option<Mask>, String> {
        let both = match self.is_keras_2 {
            true => Tensor::bool_and,
            false => Tensor::bool_or,
        };
        let Op::Concatenate(axis) = self.op else {
            let masks: Vec<Mask> = inputs.iter().filter_map(Masked::mask).collect();
            // In Keras 3 all steps of an input without a mask are valid; Keras 2 skips that input.
            let counts = self.is_keras_2 || masks.len() == inputs.len();
            return Ok(masks.into_iter().filter(|_| counts).reduce(both));
        };
        if inputs.iter().all(|input| input.mask().is_none()) {
            return Ok(None);
        }
        let mut masks = Vec::new();
        for input in inputs {
            let DynTensor::R3(x) = &input.x else {
                return Ok(None);
            };
            let [batch, steps, _] = x.dims();
            let all_valid = || Tensor::<2>::ones([batch, steps], &x.device()).equal_elem(1.0);
            masks.push(input.mask().unwrap_or_else(all_valid));
        }
        Ok(match axis_index(3, axis)? {
            1 => Some(Tensor::cat(masks, 1)),
            2 => masks.into_iter().reduce(both),
            _ => Some(Tensor::cat(masks, 0)),
        })
    }
}

impl Weightless for Merge {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        let output = match self.op {
            Op::Concatenate(axis) => concatenated(axis, inputs)?,
            Op::Fold(_) | Op::Average => merged(inputs)?,
        };
        Ok(vec![output])
    }
}

impl Layer for Merge {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let first = inputs.first().ok_or(NO_INPUT)?;
        let is_masked = inputs.iter().any(|input| input.mask().is_some());
        let x = match self.op {
            Op::Fold(Binary::Subtract) if inputs.len() != 2 => {
                return Err(format!(
                    "it takes two inputs, and is called with {}",
                    inputs.len()
                ));
            }
            Op::Fold(op @ (Binary::Multiply | Binary::Maximum | Binary::Minimum))
                if is_masked && !self.is_keras_2 =>
            {
                fold_valid(inputs, op)?
            }
            Op::Fold(op) => fold(inputs, op)?,
            Op::Average => {
                let count = inputs.len() as f64;
                map!(fold(inputs, Binary::Add)?, t => t / count)
            }
            Op::Concatenate(axis) => {
                let axis = first.x.axis(axis)?;
                DynTensor::concat(inputs.iter().map(|input| input.x.clone()).collect(), axis)?
            }
        };
        let mask = self.mask(inputs)?;
        Ok(vec![Masked::new(x, mask)])
    }
}

/// The shape of tensors that are merged element by element. Those of a lower rank get axes of size
/// 1 after the batch.
///
/// # Errors
/// If the shapes do not fit.
fn merged(inputs: &[Shape]) -> Result<Shape, String> {
    let rank = inputs.iter().map(Vec::len).max().unwrap_or(0);
    let mut all = inputs.iter().map(|shape| widened_after_batch(shape, rank));
    let first = all.next().ok_or(NO_INPUT)?;
    all.try_fold(first, |merged, next| broadcast(&merged, &next))
}

/// The shape with axes of size 1 after the batch.
fn widened_after_batch(shape: &[usize], rank: usize) -> Shape {
    let (batch, rest) = shape.split_at(shape.len().min(1));
    [batch, &vec![1; rank - shape.len()], rest].concat()
}

fn fold(inputs: &[Masked], op: Binary) -> Result<DynTensor, String> {
    let rank = inputs.iter().map(|input| input.x.rank()).max().unwrap_or(0);
    let mut all = inputs.iter().map(|input| {
        let shape = widened_after_batch(&input.x.shape(), rank);
        input.x.clone().reshape(&shape)
    });
    let first = all.next().ok_or(NO_INPUT)??;
    all.try_fold(first, |folded, next| folded.combine(next?, op))
}

/// A tensor, and 1 for each of its elements that is valid, else 0; `None` if all are.
type Validated = (Tensor<3>, Option<Tensor<3>>);

/// As Keras 3 merges what is masked (keras/src/layers/merging/base_merge.py and multiply.py): in a
/// product an element that is not valid is replaced by 1, and in a maximum or minimum by the
/// element that it is compared with.
fn fold_valid(inputs: &[Masked], op: Binary) -> Result<DynTensor, String> {
    let validated = |input: &Masked| -> Result<Validated, String> {
        let DynTensor::R3(x) = &input.x else {
            let shape = input.x.shape();
            return Err(format!(
                "a masked input of the shape {shape:?} is not supported"
            ));
        };
        let is_valid = input.mask().map(|mask| mask.float().unsqueeze_dim::<3>(2));
        let is_valid = is_valid.map(|valid| valid.repeat_dim(2, x.dims()[2]));
        Ok((x.clone(), is_valid))
    };
    let replace_invalid = |x: Tensor<3>, is_valid: &Option<Tensor<3>>, by: Tensor<3>| match is_valid
    {
        Some(is_valid) => x.mask_where(is_valid.clone().equal_elem(0.0), by),
        None => x,
    };
    let mut all = inputs.iter().map(validated);
    let (mut x, mut is_valid) = all.next().ok_or(NO_INPUT)??;
    let is_product = op == Binary::Multiply;
    if is_product {
        x = replace_invalid(x.clone(), &is_valid, x.ones_like());
    }
    for next in all {
        let (mut y, also_valid) = next?;
        if x.dims() != y.dims() {
            return Err(format!(
                "masked inputs of the shapes {:?} and {:?} are not supported",
                x.dims(),
                y.dims()
            ));
        }
        let by = if is_product { y.ones_like() } else { x.clone() };
        y = replace_invalid(y, &also_valid, by);
        if !is_product {
            x = replace_invalid(x, &is_valid, y.clone());
        }
        is_valid = is_valid.zip(also_valid).map(|(a, b)| a.max_pair(b));
        x = op.apply(x, y);
    }
    if is_product {
        x = replace_invalid(x.clone(), &is_valid, x.zeros_like());
    }
    Ok(DynTensor::R3(x))
}
