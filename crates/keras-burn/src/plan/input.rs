//! The inputs of a model.

use std::collections::HashMap;

use serde_json::Value;

use super::model::{Does, ModelPlan};
use crate::array::Array;
use crate::config::model::{LayerSpec, ModelSpec};
use crate::tensor::dtype::{self, FLOAT};

/// An input of a model, as far as the configuration describes it.
#[derive(Clone, Debug)]
pub struct Input {
    name: String,
    key: String,
    shape: Option<Vec<Option<usize>>>,
    dtype: String,
    tokens: Option<usize>,
}

impl Input {
    /// The name of the input layer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key of the input in a dictionary of inputs; the name of the input layer if the model was
    /// not made with a dictionary.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The size of each axis after the batch, `None` for a size that is open; `None` if the
    /// configuration does not state the shape.
    pub fn shape(&self) -> Option<&[Option<usize>]> {
        self.shape.as_deref()
    }

    /// The type of the numbers, by its name in Keras, such as `float32` or `uint8`. Values that are
    /// given to the model are converted to it.
    pub fn dtype(&self) -> &str {
        &self.dtype
    }

    /// The number of different tokens, if the input goes into an Embedding: its values are integers
    /// from 0 to one less.
    pub fn tokens(&self) -> Option<usize> {
        self.tokens
    }

    /// Checks the shape of a value for the input.
    ///
    /// # Errors
    /// If it has no batch, no elements, or other sizes than the input.
    pub(crate) fn check(&self, shape: &[usize]) -> Result<(), String> {
        let name = self.name.escape_debug();
        let Some((_, found)) = shape.split_first() else {
            return Err(format!("input `{name}` is given a single number"));
        };
        let fits = |(size, found): (&Option<usize>, &usize)| size.is_none_or(|s| s == *found);
        if let Some(sizes) = &self.shape
            && (sizes.len() != found.len() || !sizes.iter().zip(found).all(fits))
        {
            let sizes = sizes.iter();
            let sizes = sizes.map(|s| s.map_or("any".to_owned(), |s| s.to_string()));
            let expected: Vec<String> = ["any".to_owned()].into_iter().chain(sizes).collect();
            return Err(format!(
                "input `{name}` must have the shape [{}], got {shape:?}",
                expected.join(", ")
            ));
        }
        match shape.contains(&0) {
            true => Err(format!(
                "input `{name}` is given no values: its shape is {shape:?}"
            )),
            false => Ok(()),
        }
    }

    /// A value for the input, converted to its type.
    ///
    /// # Errors
    /// As [`Input::check`], and if the type does not have one of the numbers.
    pub(crate) fn convert(&self, array: Array) -> Result<Array, String> {
        self.check(&array.shape)?;
        let converted = dtype::convert(&self.dtype, array);
        converted.map_err(|what| format!("input `{}` {what}", self.name.escape_debug()))
    }
}

/// The inputs of a model, without their tokens.
///
/// # Errors
/// If there is no layer for one.
pub(super) fn read(spec: &ModelSpec) -> Result<Vec<Input>, String> {
    let layers = spec.layers.iter().map(|layer| (layer.name.as_str(), layer));
    let layers: HashMap<&str, &LayerSpec> = layers.collect();
    let mut inputs = Vec::new();
    for (n, input) in spec.inputs.iter().enumerate() {
        let name = &input.layer;
        let layer = layers.get(name.as_str());
        let layer = layer.ok_or_else(|| format!("there is no layer for the input `{name}`"))?;
        let shape = ["batch_shape", "batch_input_shape"];
        let shape = shape.iter().find_map(|key| layer.config.get(*key));
        let shape = shape.and_then(Value::as_array).map(|sizes| {
            let sizes = sizes.iter().skip(1);
            sizes.map(|d| d.as_u64().map(|d| d as usize)).collect()
        });
        inputs.push(Input {
            name: name.clone(),
            key: spec.input_keys.get(n).unwrap_or(name).clone(),
            shape,
            dtype: layer.dtype().unwrap_or(FLOAT).to_owned(),
            tokens: None,
        });
    }
    Ok(inputs)
}

/// Sets the tokens of inputs that go into an Embedding.
pub(super) fn set_tokens(inputs: &mut [Input], model: &ModelPlan) {
    let tokens = tokens(model);
    for input in inputs {
        input.tokens = tokens.get(input.name.as_str()).copied();
    }
}

/// The fewest rows of the Embeddings that take an output of a layer, by the name of the layer.
fn tokens(model: &ModelPlan) -> HashMap<&str, usize> {
    let mut fewest = HashMap::new();
    for layer in &model.layers {
        let rows = match &layer.does {
            Does::Model(model) | Does::TimeDistributed(model) => {
                let first = model.inputs.first();
                first.and_then(|first| tokens(model).get(first.as_str()).copied())
            }
            Does::Layer(layer) => layer.plan.tokens(),
            Does::Operations(_) => None,
        };
        let Some(rows) = rows else { continue };
        for tensor in layer.calls.iter().flat_map(|call| call.tensors()) {
            let least = fewest.entry(tensor.layer.as_str()).or_insert(rows);
            *least = rows.min(*least);
        }
    }
    fewest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_refused_with_the_name_of_the_input() {
        let input = Input {
            name: "title".into(),
            key: "title".into(),
            shape: Some(vec![Some(4), None]),
            dtype: "float32".into(),
            tokens: None,
        };
        let array = |shape: &[usize]| Array {
            values: vec![0.0; shape.iter().product()],
            shape: shape.to_vec(),
        };
        assert!(input.convert(array(&[3, 4, 9])).is_ok());
        for (wrong, says) in [
            (
                &[3, 5, 9][..],
                "input `title` must have the shape [any, 4, any], got [3, 5, 9]",
            ),
            (&[3, 4][..], "got [3, 4]"),
            (&[0, 4, 9][..], "is given no values"),
            (&[][..], "a single number"),
        ] {
            let error = input.convert(array(wrong)).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
