//! `TimeDistributed`: a layer or a model applied to each step of a sequence.

use super::class::{
    Class, Kwargs, Layer, LayerPlan, Lookup, Parsed, PlannedLayer, WeightCount, one,
};
use super::weights::LayerWeights;
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::tensor::Masked;
use crate::tensor::budget::Budget;
use crate::tensor::shape::{Shape, wrong_input};

pub(super) const CLASSES: &[Class] = &[Class::wrapper("TimeDistributed", Plan::read)];

/// The shape of the steps of all items as one batch.
///
/// # Errors
/// If the input is not a sequence.
pub(crate) fn fold_steps(shape: &[usize]) -> Result<Shape, String> {
    match shape {
        [batch, steps, rest @ ..] if !rest.is_empty() => {
            Ok([&[batch.saturating_mul(*steps)], rest].concat())
        }
        _ => Err(wrong_input(shape, "[batch, steps, ...]")),
    }
}

/// The shape of the output for each step, with the steps of each item apart again. `input` is the
/// shape of the sequence.
///
/// # Errors
/// If there is not exactly one output.
pub(crate) fn unfold_steps(input: &[usize], outputs: &[Shape]) -> Result<Shape, String> {
    match outputs {
        [one] if !one.is_empty() => Ok([&input[..2], &one[1..]].concat()),
        _ => Err(format!(
            "what it wraps has {} outputs, and only one is supported",
            outputs.len()
        )),
    }
}

/// Runs something on all steps of a sequence at once.
///
/// # Errors
/// If the input is not a sequence, or there is not exactly one output.
pub(crate) fn run_on_steps(
    inputs: &[Masked],
    run: impl FnOnce(&[Masked]) -> Result<Vec<Masked>, String>,
) -> Result<Vec<Masked>, String> {
    let input = one(inputs)?;
    let shape = input.x.shape();
    let steps = input.x.clone().reshape(&fold_steps(&shape)?)?;
    let outputs = run(&[Masked::unmasked(steps)])?;
    let shapes: Vec<Shape> = outputs.iter().map(|output| output.x.shape()).collect();
    let shape = unfold_steps(&shape, &shapes)?;
    let y = one(&outputs)?.x.clone().reshape(&shape)?;
    Ok(vec![Masked::with_mask_of(y, input)])
}

struct Plan {
    inner: PlannedLayer,
}

impl Plan {
    fn read(settings: &Settings<'_>, lookup: Lookup) -> Parsed {
        let inner = PlannedLayer::read(&settings.wrapped("layer")?, lookup);
        let inner = inner.map_err(|what| format!("its `layer`: {what}"))?;
        Ok(Box::new(Self { inner }))
    }
}

impl LayerPlan for Plan {
    fn outputs(
        &self,
        inputs: &[Shape],
        call: &Call,
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        let input = one(inputs)?;
        let steps = fold_steps(input)?;
        let outputs = self.inner.plan.outputs(&[steps], call, budget);
        let outputs = outputs.map_err(|what| format!("its `{}`: {what}", self.inner.class.name))?;
        Ok(vec![unfold_steps(input, &outputs)?])
    }

    fn weight_count(&self) -> WeightCount {
        self.inner.weight_count()
    }

    fn wrapped(&self) -> Option<(&'static str, &PlannedLayer)> {
        Some(("/layer", &self.inner))
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        Ok(Box::new(TimeDistributed {
            layer: self.inner.plan.build(weights)?,
            class: self.inner.class,
        }))
    }
}

struct TimeDistributed {
    layer: Box<dyn Layer>,
    class: &'static Class,
}

impl Layer for TimeDistributed {
    fn forward(&self, inputs: &[Masked], kwargs: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        // Keras passes the mask of each step on, which is not a mask of the layer's input.
        let is_masked = inputs.iter().any(|input| input.mask().is_some());
        if is_masked && !self.class.takes_tensor("mask") {
            let class = self.class.name;
            return Err(format!("a mask for {class} is not supported"));
        }
        run_on_steps(inputs, |steps| self.layer.forward(steps, kwargs))
    }
}
