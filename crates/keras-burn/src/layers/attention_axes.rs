//! The axes of an input along which attention goes, folded into one axis of steps.

use burn::tensor::Tensor;

use crate::config::settings::Settings;
use crate::tensor::DynTensor;
use crate::tensor::shape::axis_indices;

/// The axes along which an input has its steps; all between the batch and the features if `None`.
/// Each index along the other axes is an item of its own, as each item of the batch is.
#[derive(Clone)]
pub(super) struct AttentionAxes(Option<Vec<i64>>);

/// The sizes of a query, a key and a value that fit each other.
pub(super) struct Sizes {
    pub(super) items: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    /// Whether the inputs are `[batch, steps, features]`.
    pub(super) is_plain: bool,
}

impl AttentionAxes {
    pub(super) fn read(settings: &Settings<'_>) -> Result<Self, String> {
        settings.axes("attention_axes").map(Self)
    }

    /// The order of axes that puts the items first, then the steps, then the features, and the
    /// number of axes of items.
    fn order(&self, rank: usize) -> Result<(Vec<usize>, usize), String> {
        let wrong = || match &self.0 {
            Some(axes) => format!("an input of rank {rank} has no steps along the axes {axes:?}"),
            None => format!("an input of rank {rank} has no axis of steps"),
        };
        let features = rank.checked_sub(1).ok_or_else(wrong)?;
        let mut steps = match &self.0 {
            None => (1..features).collect(),
            Some(axes) => axis_indices(rank, axes)?,
        };
        steps.sort_unstable();
        let is_inside = steps.iter().all(|axis| (1..features).contains(axis));
        if !is_inside || steps.is_empty() || !steps.is_sorted_by(|a, b| a < b) {
            return Err(wrong());
        }
        let items = (0..features).filter(|axis| !steps.contains(axis));
        let items: Vec<usize> = items.collect();
        let count = items.len();
        Ok(([items, steps, vec![features]].concat(), count))
    }

    /// The numbers of items, steps and features of an input.
    fn sizes(&self, shape: &[usize]) -> Result<[usize; 3], String> {
        let (order, items) = self.order(shape.len())?;
        let product = |axes: &[usize]| {
            let sizes = axes.iter().map(|&axis| shape[axis]);
            sizes.fold(1_usize, usize::saturating_mul)
        };
        let (items, steps) = order[..order.len() - 1].split_at(items);
        Ok([product(items), product(steps), shape[shape.len() - 1]])
    }

    /// # Errors
    /// If a query, a value and a key of these shapes do not fit each other.
    pub(super) fn fit(
        &self,
        query: &[usize],
        value: &[usize],
        key: &[usize],
    ) -> Result<Sizes, String> {
        let [items, queries, _] = self.sizes(query)?;
        let [value_items, values, _] = self.sizes(value)?;
        let [key_items, keys, _] = self.sizes(key)?;
        let ranks = [query.len(), value.len(), key.len()];
        if (value_items, key_items, values) != (items, items, keys) || ranks != [query.len(); 3] {
            return Err(format!(
                "a query of the shape {query:?}, a value of {value:?} and a key of {key:?} do not fit"
            ));
        }
        Ok(Sizes {
            items,
            queries,
            keys,
            is_plain: query.len() == 3,
        })
    }

    /// The tensor as `[items, steps, features]`.
    ///
    /// # Errors
    /// If it lacks one of the axes.
    pub(super) fn fold(&self, x: DynTensor) -> Result<Tensor<3>, String> {
        let shape = x.shape();
        let (order, _) = self.order(shape.len())?;
        let sizes = self.sizes(&shape)?;
        match x.permute(&order)?.reshape(&sizes)? {
            DynTensor::R3(t) => Ok(t),
            other => Err(format!("an input has the shape {:?}", other.shape())),
        }
    }

    /// The reverse of [`AttentionAxes::fold`]: what was computed of a tensor of this shape, in its
    /// order of axes.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub(super) fn unfold(&self, x: Tensor<3>, shape: &[usize]) -> Result<DynTensor, String> {
        let (order, _) = self.order(shape.len())?;
        let mut sizes: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        if let Some(last) = sizes.last_mut() {
            *last = x.dims()[2];
        }
        let mut inverse = vec![0; order.len()];
        for (index, &axis) in order.iter().enumerate() {
            inverse[axis] = index;
        }
        DynTensor::R3(x).reshape(&sizes)?.permute(&inverse)
    }
}
