//! Reductions: one value of all those along some axes.

use super::unary::Unary;
use crate::tensor::shape::{Shape, axis_indices};
use crate::tensor::{DynTensor, map};

/// A reduction along some axes, which may be kept with size 1.
#[derive(Debug)]
pub(crate) struct Reduce {
    pub(super) to: Reduction,
    pub(super) axes: Vec<i64>,
    pub(super) keeps_axes: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Reduction {
    Mean,
    Sum,
    Max,
    Min,
    Any,
    All,
}

impl Reduce {
    /// # Errors
    /// If the input lacks an axis.
    pub(super) fn shape(&self, input: &[usize]) -> Result<Shape, String> {
        let axes = axis_indices(input.len(), &self.axes)?;
        let sizes = input.iter().enumerate();
        let kept = sizes.filter(|(i, _)| self.keeps_axes || !axes.contains(i));
        let kept = kept.map(|(i, &size)| if axes.contains(&i) { 1 } else { size });
        Ok(kept.collect())
    }

    /// The result, the axes kept.
    ///
    /// # Errors
    /// As [`Reduce::shape`].
    pub(super) fn apply(&self, mut x: DynTensor) -> Result<DynTensor, String> {
        for axis in axis_indices(x.rank(), &self.axes)? {
            x = map!(x, t => match self.to {
                Reduction::Mean => t.mean_dim(axis),
                Reduction::Sum => t.sum_dim(axis),
                Reduction::Max => t.max_dim(axis),
                Reduction::Min => t.min_dim(axis),
                Reduction::Any => Unary::ToBool.apply(t).max_dim(axis),
                Reduction::All => Unary::ToBool.apply(t).min_dim(axis),
            });
        }
        Ok(x)
    }
}
