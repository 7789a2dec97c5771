//! Operations that give a tensor another shape or order of axes, the batch included.

use crate::tensor::DynTensor;
use crate::tensor::shape::{Shape, axis_indices, is_permutation, reshaped};

/// What happens to the axes.
#[derive(Debug)]
pub(crate) enum Rearrange {
    /// New axes of size 1, by their places in the result.
    ExpandDims(Vec<i64>),
    /// Another order; the reverse order if `None`.
    Transpose(Option<Vec<i64>>),
    /// Other sizes, of which one may be -1, which is inferred.
    Reshape(Vec<i64>),
}

impl Rearrange {
    fn order(&self, rank: usize) -> Result<Vec<usize>, String> {
        match self {
            Self::Transpose(Some(axes)) => axis_indices(rank, axes),
            Self::Transpose(None) => Ok((0..rank).rev().collect()),
            Self::ExpandDims(_) | Self::Reshape(_) => Ok((0..rank).collect()),
        }
    }

    /// # Errors
    /// If the input lacks an axis, or has another number of elements.
    pub(super) fn shape(&self, input: &[usize]) -> Result<Shape, String> {
        match self {
            Self::ExpandDims(axes) => expanded(axes, input),
            Self::Transpose(_) => {
                let order = self.order(input.len())?;
                match is_permutation(input.len(), &order) {
                    true => Ok(order.into_iter().map(|axis| input[axis]).collect()),
                    false => Err(format!(
                        "{order:?} is not a permutation of {} axes",
                        input.len()
                    )),
                }
            }
            Self::Reshape(sizes) => reshaped(input, sizes),
        }
    }

    /// # Errors
    /// As [`Rearrange::shape`].
    pub(super) fn apply(&self, x: DynTensor) -> Result<DynTensor, String> {
        let shape = self.shape(&x.shape())?;
        let order = self.order(x.rank())?;
        x.permute(&order)?.reshape(&shape)
    }
}

fn expanded(axes: &[i64], input: &[usize]) -> Result<Shape, String> {
    let rank = input.len() + axes.len();
    let new = axis_indices(rank, axes)?;
    let mut sizes = input.iter().copied();
    let size = |i| match new.contains(&i) {
        true => Some(1),
        false => sizes.next(),
    };
    let shape: Option<Shape> = (0..rank).map(size).collect();
    shape.ok_or_else(|| "its `axis` has an axis twice".into())
}
