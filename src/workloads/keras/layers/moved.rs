//! Operations that give a tensor another shape or order of axes, the batch included.

use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::{Value, axis_of};

/// What happens to the axes.
#[derive(Debug)]
pub(in crate::workloads::keras) enum Moved {
    /// Axes of size 1, at their places in the result.
    Expand(Vec<i64>),
    /// Another order, the reverse one if none is given.
    Transpose(Option<Vec<i64>>),
    /// Other sizes, one of which may be -1: what is left.
    Reshape(Vec<i64>),
}

impl Moved {
    fn order(&self, rank: usize) -> Result<Vec<usize>, String> {
        match self {
            Self::Transpose(Some(axes)) => axes.iter().map(|&axis| axis_of(rank, axis)).collect(),
            Self::Transpose(None) => Ok((0..rank).rev().collect()),
            Self::Expand(_) | Self::Reshape(_) => Ok((0..rank).collect()),
        }
    }

    /// # Errors
    /// If the input has no such axes, or other sizes.
    pub(super) fn shape(&self, input: &[usize]) -> Result<Shape, String> {
        match self {
            Self::Expand(axes) => expanded(axes, input),
            Self::Transpose(_) => {
                let order = self.order(input.len())?;
                let mut sorted = order.clone();
                sorted.sort_unstable();
                match sorted.into_iter().eq(0..input.len()) {
                    true => Ok(order.into_iter().map(|axis| input[axis]).collect()),
                    false => Err(format!("{order:?} is no order of {} axes", input.len())),
                }
            }
            Self::Reshape(sizes) => reshaped(sizes, input),
        }
    }

    /// # Errors
    /// As [`Moved::shape`].
    pub(super) fn run(&self, x: Value) -> Result<Value, String> {
        let shape = self.shape(&x.shape())?;
        let order = self.order(x.rank())?;
        x.permute(&order)?.reshape(&shape)
    }
}

fn reshaped(sizes: &[i64], input: &[usize]) -> Result<Shape, String> {
    let wrong = || format!("{input:?} cannot be reshaped to {sizes:?}");
    let whole: usize = input.iter().product();
    let known = sizes.iter().filter(|&&size| size != -1);
    let known: Option<Vec<usize>> = known.map(|&size| usize::try_from(size).ok()).collect();
    let known = known.filter(|known| known.len() + 1 >= sizes.len());
    let product = known.as_ref().and_then(|known| {
        known
            .iter()
            .try_fold(1_usize, |n, &size| n.checked_mul(size))
    });
    let left = product.and_then(|product| whole.checked_div(product));
    let left = left.ok_or_else(wrong)?;
    let size = |&size: &i64| usize::try_from(size).unwrap_or(left);
    let shape: Shape = sizes.iter().map(size).collect();
    let made = shape
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size));
    match made == Some(whole) {
        true => Ok(shape),
        false => Err(wrong()),
    }
}

fn expanded(axes: &[i64], input: &[usize]) -> Result<Shape, String> {
    let rank = input.len() + axes.len();
    let places = axes.iter().map(|&axis| axis_of(rank, axis));
    let places = places.collect::<Result<Vec<usize>, String>>()?;
    let mut sizes = input.iter().copied();
    let size = |i| match places.contains(&i) {
        true => Some(1),
        false => sizes.next(),
    };
    let shape: Option<Shape> = (0..rank).map(size).collect();
    shape.ok_or_else(|| "its `axis` has an axis twice".into())
}
