//! What attends to what: the axes of an input that are steps, and the masks that keep a query from
//! looking at a key.

use ::burn::tensor::{Bool, Tensor};
use serde_json::Value as Json;

use super::{Config, Extra};
use crate::workloads::keras::value::{Flow, Value, axis_of};

/// The axes along which an input has its steps, all between the batch and the features if none is
/// given. What lies along the others are items of their own.
pub(super) struct Attended(Option<Vec<i64>>);

/// The sizes of what attends to each other.
pub(super) struct Fit {
    pub(super) items: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    /// Whether the items are those of the batch, and the steps those of one axis.
    is_plain: bool,
}

impl Attended {
    pub(super) fn of(config: &Config<'_>) -> Result<Self, String> {
        let axes = match config.get("attention_axes") {
            None => return Ok(Self(None)),
            Some(Json::Array(axes)) => axes.iter().map(Json::as_i64).collect(),
            Some(axis) => axis.as_i64().map(|axis| vec![axis]),
        };
        let axes: Option<Vec<i64>> = axes;
        let axes = axes.ok_or("its `attention_axes` are no axes")?;
        Ok(Self(Some(axes)))
    }

    /// The order of the axes that puts items first, then steps, then features, and how many of them
    /// are items.
    fn order(&self, rank: usize) -> Result<(Vec<usize>, usize), String> {
        let wrong = || format!("an input of rank {rank} does not have its steps along its axes");
        let features = rank.checked_sub(1).ok_or_else(wrong)?;
        let mut steps = match &self.0 {
            None => (1..features).collect(),
            Some(axes) => {
                let places = axes.iter().map(|&axis| axis_of(rank, axis));
                places.collect::<Result<Vec<usize>, String>>()?
            }
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

    /// Items and steps of an input, and its features.
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
    /// If the shapes of a query, a value and a key are not of each other.
    pub(super) fn fitted(
        &self,
        query: &[usize],
        value: &[usize],
        key: &[usize],
    ) -> Result<Fit, String> {
        let [items, queries, _] = self.sizes(query)?;
        let [of_values, values, _] = self.sizes(value)?;
        let [of_keys, keys, _] = self.sizes(key)?;
        let ranks = [query.len(), value.len(), key.len()];
        if (of_values, of_keys, values) != (items, items, keys) || ranks != [query.len(); 3] {
            return Err(format!(
                "a query of the shape {query:?}, a value of {value:?} and a key of {key:?} do not fit"
            ));
        }
        Ok(Fit {
            items,
            queries,
            keys,
            is_plain: query.len() == 3,
        })
    }

    /// `[items, steps, features]`.
    ///
    /// # Errors
    /// If the tensor does not have its steps along its axes.
    pub(super) fn folded(&self, x: Value) -> Result<Tensor<3>, String> {
        let shape = x.shape();
        let (order, _) = self.order(shape.len())?;
        let sizes = self.sizes(&shape)?;
        match x.permute(&order)?.reshape(&sizes)? {
            Value::R3(t) => Ok(t),
            other => Err(format!("an input has the shape {:?}", other.shape())),
        }
    }

    /// What was made of the steps of a tensor of a shape, in that tensor's order of axes.
    ///
    /// # Errors
    /// If it was not.
    pub(super) fn unfolded(&self, x: Tensor<3>, shape: &[usize]) -> Result<Value, String> {
        let (order, _) = self.order(shape.len())?;
        let mut sizes: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        if let Some(last) = sizes.last_mut() {
            *last = x.dims()[2];
        }
        let mut back = vec![0; order.len()];
        for (place, &axis) in order.iter().enumerate() {
            back[axis] = place;
        }
        Value::R3(x).reshape(&sizes)?.permute(&back)
    }
}

/// Whether a query may look at a key, `[items, heads, queries, keys]`; `None` if all may.
///
/// # Errors
/// If a mask is not one of its inputs.
pub(super) fn allowed(
    inputs: &[Flow],
    extra: &Extra,
    heads: usize,
    fit: &Fit,
) -> Result<Option<Tensor<4, Bool>>, String> {
    let own = |place: usize| inputs.get(place).and_then(Flow::mask);
    // Keras looks at the mask of the query alone, whatever `query_mask` says.
    let rows = own(0);
    let columns = [
        extra.mask("value_mask")?.or_else(|| own(1)),
        extra.mask("key_mask")?.or_else(|| own(2)),
    ];
    let attention = extra.tensor("attention_mask").map(|flow| &flow.x);
    let is_causal = extra.is_set("use_causal_mask");
    let Fit { queries, keys, .. } = *fit;
    let mut all: Vec<Tensor<4, Bool>> = Vec::new();
    if let Some(mask) = rows {
        fits(mask.dims(), [fit.items, queries])?;
        all.push(mask.reshape([fit.items, 1, queries, 1]));
    }
    for mask in columns.into_iter().flatten() {
        fits(mask.dims(), [fit.items, keys])?;
        all.push(mask.reshape([fit.items, 1, 1, keys]));
    }
    if is_causal {
        let device = inputs.first().ok_or("it is called without a query")?;
        let ones = Tensor::<2>::ones([queries, keys], &device.x.device());
        // The key must not come after the query.
        let (rows, columns) = (ones.clone().cumsum(0), ones.cumsum(1));
        all.push(columns.lower_equal(rows).reshape([1, 1, queries, keys]));
    }
    if let Some(mask) = attention {
        if mask.rank() == 4 && !all.is_empty() {
            return Err("an `attention_mask` of rank 4 beside other masks is not supported".into());
        }
        all.push(for_heads(mask)?);
    }
    if !all.is_empty() && !fit.is_plain {
        return Err(
            "masks of inputs that are not [batch, steps, features] are not supported".into(),
        );
    }
    let whole = [fit.items, heads, queries, keys];
    let mut masks = Vec::new();
    for mask in all {
        let dims = mask.dims();
        if !dims.iter().zip(whole).all(|(&d, all)| d == 1 || d == all) {
            return Err(format!(
                "a mask of the shape {dims:?} is not one of {whole:?}"
            ));
        }
        masks.push(mask.expand(whole));
    }
    Ok(masks.into_iter().reduce(|a, b| a.bool_and(b)))
}

fn fits(mask: [usize; 2], steps: [usize; 2]) -> Result<(), String> {
    match mask == steps {
        true => Ok(()),
        false => Err(format!(
            "a mask of the shape {mask:?} is not one of an input with the steps {steps:?}"
        )),
    }
}

/// An `attention_mask` with an axis for the heads: before it come those that it lacks.
fn for_heads(mask: &Value) -> Result<Tensor<4, Bool>, String> {
    let shape = match mask.shape()[..] {
        [queries, keys] => [1, 1, queries, keys],
        [batch, queries, keys] => [batch, 1, queries, keys],
        [batch, heads, queries, keys] => [batch, heads, queries, keys],
        _ => {
            let shape = mask.shape();
            return Err(format!(
                "an `attention_mask` of the shape {shape:?} is not supported"
            ));
        }
    };
    match mask.clone().reshape(&shape)? {
        Value::R4(t) => Ok(t.not_equal_elem(0.0)),
        other => Err(format!(
            "an `attention_mask` of the shape {:?}",
            other.shape()
        )),
    }
}
