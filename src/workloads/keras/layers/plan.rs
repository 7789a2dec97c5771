//! The shapes that each layer makes of those that it is given.

use serde_json::Value as Json;

use super::activation::Activation;
use super::conv::{Padding, Reach};
use super::{Config, attention, dot, merge, operation, pool, recurrent, shape};
use crate::workloads::keras::call::Call;
use crate::workloads::keras::config::LayerSpec;
use crate::workloads::keras::plan::{Budget, Shape};
use crate::workloads::keras::value::axis_of;
use crate::workloads::keras::wiring::Given;

/// The shapes of the outputs of a call; what a layer makes within is taken from the budget.
///
/// # Errors
/// If the inputs do not fit, or what is made within is too large.
pub(in crate::workloads::keras) fn outputs(
    layer: &LayerSpec,
    config: &Config<'_>,
    call: &Call,
    given: &Given<Shape>,
    budget: &mut Budget,
) -> Result<Vec<Shape>, String> {
    if layer.is_operation {
        let operation = operation::Operation::of(layer, call)?;
        return operation.planned(call, given).map(|shape| vec![shape]);
    }
    match layer.class.as_str() {
        "Attention" => {
            let [made, scores] = dot::Attention::planned(&given.args)?;
            budget.tensor(&scores)?;
            Ok(match call.is_set("return_attention_scores") {
                true => vec![made, scores],
                false => vec![made],
            })
        }
        "MultiHeadAttention" => {
            let gives_scores = call.is_set("return_attention_scores");
            attention::planned(config, &given.args, gives_scores, budget)
        }
        class => of_class(class, config, &given.args, budget),
    }
}

fn of_class(
    class: &str,
    config: &Config<'_>,
    inputs: &[Shape],
    budget: &mut Budget,
) -> Result<Vec<Shape>, String> {
    let first = inputs.first().ok_or("it is called without inputs")?;
    let one = match class {
        "Add" | "Subtract" | "Multiply" | "Average" | "Maximum" | "Minimum" => {
            merge::planned(inputs)?
        }
        "Concatenate" => {
            let axis = config.get("axis").map_or(Some(-1), Json::as_i64);
            joined(axis.ok_or("its `axis` is no axis")?, inputs)?
        }
        "Dense" => with_last(first, config.size("units")?),
        "Dot" => dot::Dot::build(config)?.planned(inputs)?,
        "Embedding" => [&first[..], &[config.size("output_dim")?]].concat(),
        "Conv1D" | "Conv2D" | "DepthwiseConv1D" | "DepthwiseConv2D" | "SeparableConv1D"
        | "SeparableConv2D" => convolved(class, config, first, budget)?,
        "Conv2DTranspose" => transposed(config, first, budget)?,
        "MaxPooling1D" | "MaxPooling2D" | "AveragePooling1D" | "AveragePooling2D" => {
            pool::Pool::build(class, config)?.planned(first, budget)?
        }
        "GlobalMaxPooling1D"
        | "GlobalMaxPooling2D"
        | "GlobalAveragePooling1D"
        | "GlobalAveragePooling2D" => pool::Global::build(class, config)?.planned(first)?,
        "SimpleRNN" | "LSTM" | "GRU" => return recurrent(class, config, first, budget),
        "Bidirectional" => return bidirectional(config, first, budget),
        "TimeDistributed" => {
            let (class, map) = recurrent::inner(config, "layer")?;
            let own = Config { map, ..*config };
            let each_step = recurrent::each_step(first)?;
            let made = of_class(class, &own, &[each_step], budget)
                .map_err(|what| format!("its `{}`: {what}", class.escape_debug()))?;
            recurrent::all_steps(first, &made)?
        }
        "Flatten" | "Reshape" | "Permute" | "RepeatVector" | "ZeroPadding1D" | "ZeroPadding2D"
        | "Cropping1D" | "Cropping2D" | "UpSampling1D" | "UpSampling2D" => {
            shape::build(class, config)?.planned(first)?
        }
        "Activation" => Activation::of(config, "activation", "linear")?.planned(first)?,
        _ => first.clone(),
    };
    Ok(vec![one])
}

fn with_last(shape: &[usize], size: usize) -> Shape {
    let mut shape = shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = size;
    }
    shape
}

/// The shape of tensors put one behind the other along an axis.
///
/// # Errors
/// If their other sizes differ.
pub(super) fn joined(axis: i64, inputs: &[Shape]) -> Result<Shape, String> {
    let (first, rest) = inputs.split_first().ok_or("it is called without inputs")?;
    let mut all = first.clone();
    let rank = all.len();
    let axis = axis_of(rank, axis)?;
    for next in rest {
        let same = |i: usize| i == axis || next[i] == all[i];
        if next.len() != rank || !(0..rank).all(same) {
            return Err(format!(
                "tensors of the shapes {all:?} and {next:?} cannot be joined along axis {axis}"
            ));
        }
        all[axis] = all[axis].saturating_add(next[axis]);
    }
    Ok(all)
}

fn convolved(
    class: &str,
    config: &Config<'_>,
    input: &[usize],
    budget: &mut Budget,
) -> Result<Shape, String> {
    let is_1d = class.ends_with("1D");
    let rank = if is_1d { 3 } else { 4 };
    if input.len() != rank {
        return Err(format!("its input has the shape {input:?}"));
    }
    let padding = Padding::of(config)?;
    let pair = |key: &str, default: Option<usize>| config.image_sizes(is_1d, key, default);
    let kernel = pair("kernel_size", None)?;
    let stride = pair("strides", Some(1))?;
    let dilation = pair("dilation_rate", Some(1))?;
    let (mut padded, mut output) = (input.to_vec(), input.to_vec());
    let axes = 4 - rank..2;
    for (axis, i) in (1..).zip(axes) {
        let span = (kernel[i] - 1) * dilation[i] + 1;
        let (before, after) = padding.fitted(i, input[axis], span, stride[i])?;
        padded[axis] += before + after;
        output[axis] = (padded[axis] - span) / stride[i] + 1;
    }
    budget.tensor(&padded)?;
    let channels = input[rank - 1];
    let times = config.size_or("depth_multiplier", 1)?;
    let filters = match class {
        "DepthwiseConv1D" | "DepthwiseConv2D" => channels.saturating_mul(times),
        "SeparableConv1D" | "SeparableConv2D" => {
            budget.tensor(&with_last(&output, channels.saturating_mul(times)))?;
            config.size("filters")?
        }
        _ => config.size("filters")?,
    };
    Ok(with_last(&output, filters))
}

fn transposed(config: &Config<'_>, input: &[usize], budget: &mut Budget) -> Result<Shape, String> {
    if input.len() != 4 {
        return Err(format!("its input has the shape {input:?}"));
    }
    let reach = Reach::of(config)?;
    let filters = config.size("filters")?;
    let mut whole = with_last(input, filters);
    let mut output = whole.clone();
    for i in 0..2 {
        (whole[1 + i], output[1 + i]) = reach.cells(i, input[1 + i])?;
    }
    budget.tensor(&whole)?;
    Ok(output)
}

fn recurrent(
    class: &str,
    config: &Config<'_>,
    input: &[usize],
    budget: &mut Budget,
) -> Result<Vec<Shape>, String> {
    let &[batch, steps, _] = input else {
        return Err(format!(
            "its input has the shape {input:?}, not [batch, steps, features]"
        ));
    };
    let units = config.size("units")?;
    budget.calls(steps)?;
    budget.tensor(&[batch, steps, recurrent::gates(class) * units])?;
    let mut made = vec![match config.flag("return_sequences", false) {
        true => vec![batch, steps, units],
        false => vec![batch, units],
    }];
    if config.flag("return_state", false) {
        let states = if class == "LSTM" { 2 } else { 1 };
        made.extend(vec![vec![batch, units]; states]);
    }
    Ok(made)
}

fn bidirectional(
    config: &Config<'_>,
    input: &[usize],
    budget: &mut Budget,
) -> Result<Vec<Shape>, String> {
    let (class, map) = recurrent::inner(config, "layer")?;
    let made = recurrent(class, &Config { map, ..*config }, input, budget)?;
    budget.calls(input[1])?;
    let (first, states) = made.split_first().ok_or("its layer gives nothing")?;
    let merge = config.map.get("merge_mode");
    let merged = match merge.map(|mode| mode.as_str()) {
        Some(None) => vec![first.clone(); 2],
        None | Some(Some("concat")) => {
            let width = first[first.len() - 1].saturating_mul(2);
            vec![with_last(first, width)]
        }
        _ => vec![first.clone()],
    };
    Ok([&merged[..], states, states].concat())
}
