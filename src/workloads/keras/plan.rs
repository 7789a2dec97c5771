//! What shapes a model's tensors will have and what it will ask of the machine, worked out from the
//! configuration alone: before a weight is read, an input made or anything run.

use super::config::ModelSpec;
use super::layers::{self, Config, recurrent};

/// Most elements of one tensor, the batch included: 1 GiB of `f32`.
pub(super) const MOST_ELEMENTS: usize = 1 << 28;
/// Most elements of all tensors that a run makes, one after the other.
const MOST_IN_ALL: usize = 1 << 35;
/// Most calls of a run: layers, those of nested models as often as they are called, and the steps of
/// recurrent layers.
const MOST_CALLS: usize = 1 << 18;
/// Most cells that windows of pooling look at in a run.
const MOST_CELLS: usize = 1 << 32;

/// Sizes of the axes, the batch first.
pub(super) type Shape = Vec<usize>;

/// What is left of what a run may ask for.
#[derive(Debug)]
pub(super) struct Budget {
    elements: usize,
    calls: usize,
    cells: usize,
}

impl Budget {
    fn new() -> Self {
        Self {
            elements: MOST_IN_ALL,
            calls: MOST_CALLS,
            cells: MOST_CELLS,
        }
    }

    /// Takes a tensor from it, an output or one that a layer makes within.
    ///
    /// # Errors
    /// If it is empty, too large, or the last that is too much.
    pub(super) fn tensor(&mut self, shape: &[usize]) -> Result<(), String> {
        let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        match count {
            Some(0) => return Err(format!("it makes a tensor without elements: {shape:?}")),
            Some(n) if n <= MOST_ELEMENTS => {
                let left = self.elements.checked_sub(n).ok_or_else(|| {
                    format!("with it the model's tensors have more than {MOST_IN_ALL} elements")
                })?;
                self.elements = left;
            }
            _ => {
                return Err(format!(
                    "it makes a tensor of {shape:?}: more than {MOST_ELEMENTS} elements"
                ));
            }
        }
        if shape.is_empty() || shape.len() > 5 {
            return Err(format!(
                "it makes a tensor of rank {}, which is not supported",
                shape.len()
            ));
        }
        Ok(())
    }

    /// # Errors
    /// If there have been too many.
    pub(super) fn calls(&mut self, count: usize) -> Result<(), String> {
        let left = self.calls.checked_sub(count);
        self.calls = left.ok_or_else(|| {
            format!("with it the model has more than {MOST_CALLS} calls and recurrent steps")
        })?;
        Ok(())
    }

    /// Takes windows of so many cells, one for each element of an output.
    ///
    /// # Errors
    /// If they look at too many cells.
    pub(super) fn windows(&mut self, output: &[usize], window: usize) -> Result<(), String> {
        let cells = output.iter().try_fold(window, |n, &d| n.checked_mul(d));
        let left = cells.and_then(|cells| self.cells.checked_sub(cells));
        self.cells = left.ok_or_else(|| {
            format!("with it the model's pooling looks at more than {MOST_CELLS} cells")
        })?;
        Ok(())
    }
}

/// Plans a run on inputs of these shapes. Gives the elements of all its tensors and the cells that
/// its pooling looks at.
///
/// # Errors
/// If an output would be empty, or the run would ask for more than any known model does: the layer
/// is named.
pub(super) fn check(spec: &ModelSpec, is_keras_2: bool, inputs: &[Shape]) -> Result<usize, String> {
    let mut budget = Budget::new();
    for (input, shape) in spec.inputs.iter().zip(inputs) {
        let name = input.layer.escape_debug();
        let fits = budget.tensor(shape);
        fits.map_err(|what| format!("layer `{name}` of the class `InputLayer`: {what}"))?;
    }
    outputs(spec, is_keras_2, inputs, &mut budget)?;
    Ok((MOST_IN_ALL - budget.elements) + (MOST_CELLS - budget.cells))
}

fn outputs(
    spec: &ModelSpec,
    is_keras_2: bool,
    inputs: &[Shape],
    budget: &mut Budget,
) -> Result<Vec<Shape>, String> {
    if inputs.len() != spec.wiring.inputs() {
        return Err(format!(
            "model `{}` takes {} inputs, and is given {}",
            spec.name.escape_debug(),
            spec.wiring.inputs(),
            inputs.len()
        ));
    }
    let calls = |layer: usize| &spec.layers[layer].calls[..];
    spec.wiring.run(inputs, calls, |(layer, _), called, given| {
        let layer = &spec.layers[layer];
        let made = budget.calls(1).and_then(|()| match &layer.model {
            Some(model) if layer.is_each_step() => {
                let input = given.args.first().ok_or("it is called without inputs")?;
                let step = recurrent::each_step(input)?;
                let made = outputs(model, is_keras_2, &[step], budget)?;
                Ok(vec![recurrent::all_steps(input, &made)?])
            }
            Some(model) => outputs(model, is_keras_2, &given.args, budget),
            None => {
                let config = Config {
                    map: &layer.config,
                    is_keras_2,
                };
                let made = layers::plan::outputs(layer, &config, called, &given, budget)?;
                made.iter().try_for_each(|shape| budget.tensor(shape))?;
                Ok(made)
            }
        });
        made.map_err(|what| {
            format!(
                "layer `{}` of the class `{}`: {what}",
                layer.name.escape_debug(),
                layer.class.escape_debug()
            )
        })
    })
}
