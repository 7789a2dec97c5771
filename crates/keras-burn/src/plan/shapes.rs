//! The shape of every tensor of a prediction, worked out before anything is computed.

use super::model::{Does, LayerNode, ModelPlan};
use crate::layers::{fold_steps, unfold_steps};
use crate::tensor::budget::Budget;
use crate::tensor::shape::{NO_INPUT, Shape};

/// Plans a prediction on inputs of these shapes.
///
/// # Errors
/// If an output would be empty, or the prediction would exceed the bounds: the layer is named.
pub(super) fn check(model: &ModelPlan, inputs: &[Shape]) -> Result<Budget, String> {
    model.check_inputs(inputs.len())?;
    let mut budget = Budget::new();
    for (input, shape) in model.inputs.iter().zip(inputs) {
        let fits = budget.tensor(shape);
        fits.map_err(|what| format!("input `{}`: {what}", input.escape_debug()))?;
    }
    outputs(model, inputs, &mut budget)?;
    Ok(budget)
}

/// The shapes of a model's outputs.
fn outputs(model: &ModelPlan, inputs: &[Shape], budget: &mut Budget) -> Result<Vec<Shape>, String> {
    model.check_inputs(inputs.len())?;
    model.schedule.run(inputs, |(layer, call), args, kwargs| {
        let layer = &model.layers[layer];
        let outputs = of_call(layer, call, &args, &kwargs, budget);
        outputs.map_err(|what| layer.error(&what))
    })
}

fn of_call(
    layer: &LayerNode,
    number: usize,
    args: &[Shape],
    kwargs: &[(&str, Shape)],
    budget: &mut Budget,
) -> Result<Vec<Shape>, String> {
    budget.calls(1)?;
    let call = &layer.calls[number];
    let made = match &layer.does {
        Does::Model(model) => return outputs(model, args, budget),
        Does::TimeDistributed(model) => {
            let input = args.first().ok_or(NO_INPUT)?;
            let steps = fold_steps(input)?;
            let made = outputs(model, &[steps], budget)?;
            return Ok(vec![unfold_steps(input, &made)?]);
        }
        Does::Layer(layer) => layer.plan.outputs(args, call, budget)?,
        Does::Operations(operations) => {
            vec![operations[number].operation.output(call, args, kwargs)?]
        }
    };
    made.iter().try_for_each(|shape| budget.tensor(shape))?;
    Ok(made)
}
