//! The type of every tensor's numbers. Everything is computed in `f32`, so a result that might wrap
//! around in a narrow type is refused.

use super::model::{Does, LayerNode, ModelPlan};
use crate::tensor::dtype::{self, FLOAT, ResultType};

/// Most outputs of a call: two directions with three outputs each.
const MAX_OUTPUTS: usize = 6;

/// Refuses calls whose result might wrap around or is rounded to integers.
///
/// # Errors
/// If there is one: its layer is named.
pub(super) fn check(model: &ModelPlan, is_keras_2: bool) -> Result<(), String> {
    outputs(model, is_keras_2).map(drop)
}

/// The types of a model's outputs.
fn outputs(model: &ModelPlan, is_keras_2: bool) -> Result<Vec<&str>, String> {
    let of_input = |name: &String| {
        let layer = model.layers.iter().find(|layer| layer.name == *name);
        layer
            .and_then(|layer| layer.dtype.as_deref())
            .unwrap_or(FLOAT)
    };
    let inputs: Vec<&str> = model.inputs.iter().map(of_input).collect();
    model.schedule.run(&inputs, |(layer, call), args, kwargs| {
        let layer = &model.layers[layer];
        if let Does::Model(model) | Does::TimeDistributed(model) = &layer.does {
            // The inputs of a nested model have types of their own.
            return outputs(model, is_keras_2);
        }
        let tensors = args
            .into_iter()
            .chain(kwargs.into_iter().map(|(_, dtype)| dtype));
        let output = of_call(layer, call, &tensors.collect::<Vec<&str>>(), is_keras_2);
        let output = output.map_err(|what| layer.error(&what))?;
        Ok(vec![output; MAX_OUTPUTS])
    })
}

/// The type of the result of a call with tensors of these types.
fn of_call<'a>(
    layer: &'a LayerNode,
    call: usize,
    tensors: &[&'a str],
    is_keras_2: bool,
) -> Result<&'a str, String> {
    let first = tensors.first().copied().unwrap_or(FLOAT);
    let common = match tensors.iter().all(|dtype| *dtype == first) {
        true => first,
        false => FLOAT,
    };
    let result = match &layer.does {
        Does::Operations(operations) => {
            let planned = &operations[call];
            if let Some(to) = &planned.cast_to {
                if dtype::range(to).is_some() && to != first && first != "bool" {
                    return Err(format!("a cast of `{first}` to `{to}` is not supported"));
                }
                return Ok(to);
            }
            let operation = &planned.operation;
            if layer.calls[call].has_fraction() && operation.has_plain_operands() {
                return Ok(FLOAT);
            }
            operation.result_type(is_keras_2)
        }
        Does::Layer(layer) => layer.class.result_type,
        Does::Model(_) | Does::TimeDistributed(_) => ResultType::Float,
    };
    match result {
        ResultType::Same => Ok(common),
        ResultType::Bool => Ok("bool"),
        ResultType::Float => Ok(FLOAT),
        ResultType::Wide if common == FLOAT => Ok(FLOAT),
        ResultType::Wide => Ok("int32"),
        // True counts as 1 in arithmetic with a number.
        ResultType::MayWrap if common == "bool" && tensors.len() == 1 => Ok("int32"),
        ResultType::MayWrap if dtype::range(common).is_some() || common == "bool" => Err(format!(
            "its result in the type `{common}` may wrap around, which is not supported"
        )),
        ResultType::MayWrap => Ok(common),
        ResultType::Rounded if dtype::is_integer(common) => Err(format!(
            "its mean in the type `{common}` is rounded, which is not supported"
        )),
        ResultType::Rounded => Ok(common),
    }
}
