//! The layers of a model with their weights, and how they are run.

use burn::tensor::Device;

use super::locate::{self, Located};
use crate::config::call::Call;
use crate::file::Container;
use crate::layers::{Kwargs, Layer, LayerWeights, run_on_steps};
use crate::plan::{Does, ModelPlan};
use crate::tensor::Masked;

/// The weights of a model. It is run together with the plan that it was built from.
pub(crate) struct Graph {
    layers: Vec<Built>,
}

/// The weights of a layer.
enum Built {
    Layer(Box<dyn Layer>),
    /// An operation has none.
    Operation,
    Model(Graph),
}

impl Graph {
    /// Reads the weights of a model, one layer after the other.
    ///
    /// # Errors
    /// If a weight is missing, or does not fit the configuration: the layer is named.
    pub(crate) fn load(
        container: &Container,
        model: &ModelPlan,
        device: &Device,
    ) -> Result<Self, String> {
        let mut located = locate::weights(container, model)?.into_iter();
        Self::build(&container.weights, model, device, &mut located)
    }

    fn build(
        file: &hdf5_pure::File,
        model: &ModelPlan,
        device: &Device,
        located: &mut dyn Iterator<Item = Located>,
    ) -> Result<Self, String> {
        let mut layers = Vec::new();
        for layer in &model.layers {
            if let Does::Model(model) | Does::TimeDistributed(model) = &layer.does {
                layers.push(Built::Model(Self::build(file, model, device, located)?));
                continue;
            }
            let Located { layer: name, paths } = located.next().ok_or("a layer has no weights")?;
            let mut weights = LayerWeights::new(file, device, paths);
            let built = match &layer.does {
                Does::Layer(planned) => planned.plan.build(&mut weights).map(Built::Layer),
                _ => Ok(Built::Operation),
            };
            let built = built.and_then(|built| weights.finish().map(|()| built));
            let built = built.map_err(|what| format!("layer `{}`: {what}", name.escape_debug()))?;
            layers.push(built);
        }
        Ok(Self { layers })
    }

    /// Runs the model.
    ///
    /// # Errors
    /// If the inputs do not fit: the layer is named.
    pub(crate) fn run(&self, model: &ModelPlan, inputs: &[Masked]) -> Result<Vec<Masked>, String> {
        model.check_inputs(inputs.len())?;
        model.schedule.run(inputs, |(index, number), args, kwargs| {
            let layer = &model.layers[index];
            let call = &layer.calls[number];
            let outputs = match (&layer.does, &self.layers[index]) {
                (Does::Operations(all), _) => all[number].operation.run(call, &args, &kwargs),
                (Does::Layer(_), Built::Layer(built)) => bind(call, args, kwargs)
                    .and_then(|(args, kwargs)| built.forward(&args, &kwargs)),
                (Does::Model(model), Built::Model(graph)) => {
                    bind(call, args, kwargs).and_then(|(args, _)| graph.run(model, &args))
                }
                (Does::TimeDistributed(model), Built::Model(graph)) => {
                    let run = |steps: &[Masked]| graph.run(model, steps);
                    bind(call, args, kwargs).and_then(|(args, _)| run_on_steps(&args, run))
                }
                _ => Err("its weights are not those of its plan".into()),
            };
            outputs.map_err(|what| format!("layer `{}`: {what}", layer.name.escape_debug()))
        })
    }
}

/// The inputs of a call, the first with the mask that the call has for it, and the keyword arguments.
fn bind<'a>(
    call: &'a Call,
    mut args: Vec<Masked>,
    kwargs: Vec<(&'a str, Masked)>,
) -> Result<(Vec<Masked>, Kwargs<'a>), String> {
    let kwargs = Kwargs::new(call, kwargs);
    if let (Some(mask), Some(first)) = (kwargs.mask("mask")?, args.first_mut()) {
        *first = Masked::new(first.x.clone(), Some(mask));
    }
    for input in &args {
        let (mask, shape) = (input.mask().map(|m| m.dims()), input.x.shape());
        if let Some(mask) = mask
            && !shape.starts_with(&mask)
        {
            return Err(format!(
                "a mask of the shape {mask:?} does not fit an input of the shape {shape:?}"
            ));
        }
    }
    Ok((args, kwargs))
}
