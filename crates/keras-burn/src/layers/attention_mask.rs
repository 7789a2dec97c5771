//! The mask of attention: which keys each query may attend to.

use burn::tensor::{Bool, Device, Tensor};

use super::attention_axes::Sizes;
use super::class::Kwargs;
use crate::tensor::{DynTensor, Masked};

/// Which keys each query may attend to, `[items, heads, queries, keys]`, from the masks of the
/// inputs (query, value, key) and those of the call; `None` if all.
///
/// # Errors
/// If a mask does not have the shape of its input.
pub(super) fn allowed(
    inputs: &[Masked],
    kwargs: &Kwargs<'_>,
    heads: usize,
    sizes: &Sizes,
) -> Result<Option<Tensor<4, Bool>>, String> {
    let input_mask = |index: usize| inputs.get(index).and_then(Masked::mask);
    let Sizes {
        items,
        queries,
        keys,
        ..
    } = *sizes;
    let mut all: Vec<Tensor<4, Bool>> = Vec::new();
    // Keras uses the mask of the query itself, and ignores `query_mask`.
    if let Some(mask) = input_mask(0) {
        check_steps(mask.dims(), [items, queries])?;
        all.push(mask.reshape([items, 1, queries, 1]));
    }
    for mask in [
        kwargs.mask("value_mask")?.or_else(|| input_mask(1)),
        kwargs.mask("key_mask")?.or_else(|| input_mask(2)),
    ]
    .into_iter()
    .flatten()
    {
        check_steps(mask.dims(), [items, keys])?;
        all.push(mask.reshape([items, 1, 1, keys]));
    }
    if kwargs.is_set("use_causal_mask") {
        let query = inputs.first().ok_or("it is called without a query")?;
        let is_later = later_keys(queries, keys, &query.x.device());
        all.push(is_later.bool_not().reshape([1, 1, queries, keys]));
    }
    if let Some(mask) = kwargs.tensors("attention_mask").next() {
        if mask.x.rank() == 4 && !all.is_empty() {
            return Err(
                "an `attention_mask` of rank 4 together with other masks is not supported".into(),
            );
        }
        all.push(with_heads(&mask.x)?);
    }
    if !all.is_empty() && !sizes.is_plain {
        return Err(
            "masks of inputs that are not [batch, steps, features] are not supported".into(),
        );
    }
    let whole = [items, heads, queries, keys];
    let mut masks = Vec::new();
    for mask in all {
        let dims = mask.dims();
        if !dims.iter().zip(whole).all(|(&d, all)| d == 1 || d == all) {
            return Err(format!(
                "a mask of the shape {dims:?} does not fit scores of the shape {whole:?}"
            ));
        }
        masks.push(mask.expand(whole));
    }
    Ok(masks.into_iter().reduce(|a, b| a.bool_and(b)))
}

/// Whether the key comes after the query, `[queries, keys]`.
pub(super) fn later_keys(queries: usize, keys: usize, device: &Device) -> Tensor<2, Bool> {
    let ones = Tensor::<2>::ones([queries, keys], device);
    let (rows, columns) = (ones.clone().cumsum(0), ones.cumsum(1));
    columns.greater(rows)
}

fn check_steps(mask: [usize; 2], steps: [usize; 2]) -> Result<(), String> {
    match mask == steps {
        true => Ok(()),
        false => Err(format!(
            "a mask of the shape {mask:?} does not fit an input of {steps:?} items and steps"
        )),
    }
}

/// An `attention_mask` as `[items, heads, queries, keys]`, the axes that it lacks of size 1.
fn with_heads(mask: &DynTensor) -> Result<Tensor<4, Bool>, String> {
    let unsupported =
        |shape: &[usize]| format!("an `attention_mask` of the shape {shape:?} is not supported");
    let shape = match mask.shape()[..] {
        [queries, keys] => [1, 1, queries, keys],
        [items, queries, keys] => [items, 1, queries, keys],
        [items, heads, queries, keys] => [items, heads, queries, keys],
        _ => return Err(unsupported(&mask.shape())),
    };
    match mask.clone().reshape(&shape)? {
        DynTensor::R4(t) => Ok(t.not_equal_elem(0.0)),
        other => Err(unsupported(&other.shape())),
    }
}
