//! Operations that make one value of those along some axes.

use super::elementwise::Unary;
use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::{Value, axis_of, each};

/// One value of those along some axes, which may be kept with size 1.
#[derive(Debug)]
pub(in crate::workloads::keras) struct Reduce {
    pub(super) to: To,
    pub(super) axes: Vec<i64>,
    pub(super) keeps: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Mean,
    Sum,
    Max,
    Min,
    Any,
    All,
}

/// A reduction by its name.
pub(super) fn reduction(name: &str) -> Option<To> {
    Some(match name {
        "Mean" | "reduce_mean" => To::Mean,
        "Sum" | "reduce_sum" => To::Sum,
        "Max" | "reduce_max" => To::Max,
        "Min" | "reduce_min" => To::Min,
        "Any" | "reduce_any" => To::Any,
        "All" | "reduce_all" => To::All,
        _ => return None,
    })
}

impl Reduce {
    fn places(&self, rank: usize) -> Result<Vec<usize>, String> {
        let axes = self.axes.iter().map(|&axis| axis_of(rank, axis));
        axes.collect()
    }

    /// # Errors
    /// If the input lacks an axis.
    pub(super) fn shape(&self, input: &[usize]) -> Result<Shape, String> {
        let axes = self.places(input.len())?;
        let sizes = input.iter().enumerate();
        let kept = sizes.filter(|(i, _)| self.keeps || !axes.contains(i));
        let kept = kept.map(|(i, &size)| if axes.contains(&i) { 1 } else { size });
        Ok(kept.collect())
    }

    /// Along its axes, which are kept.
    ///
    /// # Errors
    /// As [`Reduce::shape`].
    pub(super) fn run(&self, mut x: Value) -> Result<Value, String> {
        for axis in self.places(x.rank())? {
            x = each!(x, t => match self.to {
                To::Mean => t.mean_dim(axis),
                To::Sum => t.sum_dim(axis),
                To::Max => t.max_dim(axis),
                To::Min => t.min_dim(axis),
                To::Any => Unary::IsSet.of(t).max_dim(axis),
                To::All => Unary::IsSet.of(t).min_dim(axis),
            });
        }
        Ok(x)
    }
}
