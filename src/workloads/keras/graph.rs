//! The model as it runs: layers with their weights, and their calls in an order in which each has
//! its inputs.

use std::collections::HashMap;
use std::sync::Arc;

use ::burn::tensor::Device;

use super::call::{Arg, Call};
use super::config::{LayerSpec, ModelSpec, is_custom};
use super::container::Container;
use super::dtype;
use super::layers::operation::Operation;
use super::layers::recurrent::TimeDistributed;
use super::layers::{self, Config, Extra, Layer, SUPPORTED};
use super::npy::Array;
use super::value::Flow;
use super::weights::{Finder, Vars};
use super::wiring::{Given, Wiring, tensors};
use crate::base::error::Error;

/// A loaded model.
pub(super) struct Graph {
    name: String,
    nodes: Vec<Node>,
    wiring: Arc<Wiring>,
}

struct Node {
    name: String,
    runs: Runs,
    calls: Vec<Call>,
}

/// What a call runs.
enum Runs {
    Layer(Box<dyn Layer>),
    /// One for each call.
    Operation(Vec<Operation>),
    Model(Box<Graph>),
    EachStep(TimeDistributed<Graph>),
}

impl Graph {
    /// Builds the model of a file, its weights included, one layer after the other.
    ///
    /// # Errors
    /// If a weight is missing or of another shape.
    pub(super) fn load(container: &Container, device: &Device) -> Result<Self, Error> {
        let spec = &container.spec;
        let finder = Finder::new(container, device);
        let mut vars = finder.of_model(spec)?.into_iter();
        Self::build(container, spec, &mut vars)
    }

    fn build<'a>(
        container: &Container,
        spec: &ModelSpec,
        vars: &mut dyn Iterator<Item = Vars<'a>>,
    ) -> Result<Self, Error> {
        let mut nodes = Vec::new();
        for layer in &spec.layers {
            let runs = match &layer.model {
                Some(model) => {
                    let model = Self::build(container, model, vars)?;
                    match layer.is_each_step() {
                        true => Runs::EachStep(TimeDistributed(model)),
                        false => Runs::Model(Box::new(model)),
                    }
                }
                None => {
                    let mut vars = vars.next().ok_or_else(|| {
                        container.wrong(format!("layer `{}` has no place", layer.name))
                    })?;
                    let built = Runs::of(container, layer, &mut vars)?;
                    vars.finish()?;
                    built
                }
            };
            nodes.push(Node {
                name: layer.name.clone(),
                runs,
                calls: layer.calls.clone(),
            });
        }
        Ok(Self {
            name: spec.name.clone(),
            nodes,
            wiring: Arc::clone(&spec.wiring),
        })
    }

    /// Runs the model.
    ///
    /// # Errors
    /// If the inputs are not as many as it takes, or do not fit: the layer is named.
    pub(super) fn predict(&self, inputs: &[Flow]) -> Result<Vec<Flow>, String> {
        if inputs.len() != self.wiring.inputs() {
            return Err(format!(
                "model `{}` takes {} inputs, and is given {}",
                self.name,
                self.wiring.inputs(),
                inputs.len()
            ));
        }
        let calls = |node: usize| &self.nodes[node].calls[..];
        self.wiring
            .run(inputs, calls, |(node, number), called, given| {
                let node = &self.nodes[node];
                let result = node.runs.call(number, called, given);
                result.map_err(|what| format!("layer `{}`: {what}", node.name))
            })
    }
}

impl Runs {
    fn of(container: &Container, layer: &LayerSpec, vars: &mut Vars<'_>) -> Result<Self, Error> {
        if layer.is_operation {
            let calls = layer.calls.iter();
            let calls: Result<Vec<Operation>, String> =
                calls.map(|call| Operation::of(layer, call)).collect();
            return vars.checked(calls).map(Self::Operation);
        }
        let config = Config {
            map: &layer.config,
            is_keras_2: container.is_keras_2(),
        };
        layers::build(&layer.class, &config, vars).map(Self::Layer)
    }

    fn call(&self, number: usize, called: &Call, given: Given<Flow>) -> Result<Vec<Flow>, String> {
        match self {
            Self::Operation(calls) => calls[number].run(called, &given),
            Self::Layer(layer) => {
                let (flows, extra) = inputs(called, given)?;
                layer.call(&flows, &extra)
            }
            Self::Model(model) => model.predict(&inputs(called, given)?.0),
            Self::EachStep(wrapper) => {
                let (flows, _) = inputs(called, given)?;
                wrapper.run(&flows, |model, step| model.predict(step))
            }
        }
    }
}

/// What a layer is called with: its inputs, with the masks that the call has for them, and the rest.
fn inputs(called: &Call, given: Given<Flow>) -> Result<(Vec<Flow>, Extra), String> {
    let mut flows = given.args;
    let mut extra = Extra {
        tensors: given.named,
        ..Extra::default()
    };
    for (name, arg) in &called.kwargs {
        if let Arg::Value(value) = arg {
            extra.values.push((name.clone(), value.clone()));
        }
    }
    if let (Some(mask), Some(first)) = (extra.mask("mask")?, flows.first_mut()) {
        *first = Flow::masked(first.x.clone(), Some(mask));
    }
    for flow in &flows {
        let (mask, shape) = (flow.mask().map(|m| m.dims()), flow.x.shape());
        if mask.is_some_and(|mask| !shape.starts_with(&mask)) {
            return Err(format!(
                "a mask of the shape {mask:?} is not one of an input of the shape {shape:?}"
            ));
        }
    }
    Ok((flows, extra))
}

/// Refuses layers that cannot be run, before any weight is read.
///
/// # Errors
/// If a class is not known, or a layer is called with a tensor that it would not look at.
pub(super) fn refuse_unsupported(container: &Container, spec: &ModelSpec) -> Result<(), Error> {
    for layer in spec.all_layers() {
        if let Some(class) = layers::unsupported(layer) {
            let what = match (layer.is_operation, class == layer.class) {
                (true, _) => "is of the operation",
                (_, true) => "is of the class",
                _ => "wraps one of the class",
            };
            return Err(container
                .wrong(format!(
                    "layer `{}` {what} `{}`, which is not supported",
                    layer.name.escape_debug(),
                    class.escape_debug()
                ))
                .hint(format!("supported are: {}", SUPPORTED.join(", "))));
        }
    }
    for layer in spec.all_layers() {
        let inner = ["layer", "backward_layer"].map(|key| layer.config.get(key));
        let wraps_custom = inner.into_iter().flatten().any(is_custom);
        if layer.is_custom || wraps_custom {
            let what = if layer.is_custom { "is" } else { "wraps one" };
            return Err(container.wrong(format!(
                "layer `{}` {what} of a custom class by the name of Keras's own `{}`, which has Python \
                 code of its own",
                layer.name.escape_debug(),
                layer.class.escape_debug()
            )));
        }
        if let Some(dtype) = layer.dtype().filter(|dtype| !dtype::is_known(dtype)) {
            return Err(container.wrong(format!(
                "layer `{}`: its `dtype` of `{}` is not supported",
                layer.name.escape_debug(),
                dtype.escape_debug()
            )));
        }
    }
    let is_keras_2 = container.is_keras_2();
    let refused =
        refuse_unread(spec, is_keras_2).and_then(|()| dtype::refuse_wrapping(spec, is_keras_2));
    refused.map_err(|what| container.wrong(what))
}

/// Refuses what a layer is called with and that it would not look at, tensors by name and arrays:
/// what it predicts would be wrong.
fn refuse_unread(spec: &ModelSpec, is_keras_2: bool) -> Result<(), String> {
    for layer in &spec.layers {
        let named = layer.calls.iter().flat_map(|call| &call.kwargs);
        let args = layer.calls.iter().flat_map(|call| &call.args);
        let mut all = args.chain(named.map(|(_, arg)| arg));
        if !layer.is_operation && all.any(Arg::has_constant) {
            return Err(format!(
                "layer `{}`: its class `{}` is called with an array that is written into the \
                 configuration, which is not supported",
                layer.name.escape_debug(),
                layer.class.escape_debug()
            ));
        }
        if is_keras_2 && layer.calls.iter().any(Call::trains) {
            return Err(format!(
                "layer `{}`: its class `{}` is called with `training=True`, which Keras 2 obeys in a \
                 prediction; this is not supported",
                layer.name.escape_debug(),
                layer.class.escape_debug()
            ));
        }
        let mut args = layer.calls.iter().flat_map(|call| &call.args);
        if args.any(|arg| matches!(arg, Arg::Dictionary(_))) {
            return Err(format!(
                "layer `{}`: its class `{}` is called with a dictionary that does not have the names \
                 of its inputs",
                layer.name.escape_debug(),
                layer.class.escape_debug()
            ));
        }
        for (name, arg) in layer.calls.iter().flat_map(|call| &call.kwargs) {
            let is_list =
                matches!(arg, Arg::List(_) | Arg::Dictionary(_)) && name != "initial_state";
            let is_read = match arg.tensors().is_empty() {
                true => true,
                false => layers::reads(layer, name) && !is_list,
            };
            if !is_read {
                return Err(format!(
                    "layer `{}`: its class `{}` is called with a tensor as `{}`, which is not \
                     supported",
                    layer.name.escape_debug(),
                    layer.class.escape_debug(),
                    name.escape_debug()
                ));
            }
        }
        if let Some(model) = &layer.model {
            refuse_unread(model, is_keras_2)?;
        }
    }
    Ok(())
}

/// What the inputs look like, as far as the configuration tells: the shape without the batch, and
/// whether they are tokens of so many.
pub(super) fn input_shapes(
    container: &Container,
    spec: &ModelSpec,
) -> Result<Vec<InputShape>, Error> {
    let by_name: HashMap<&str, &LayerSpec> =
        spec.layers.iter().map(|l| (l.name.as_str(), l)).collect();
    let tokens = tokens(spec);
    let mut shapes = Vec::new();
    for input in &spec.inputs {
        let layer = by_name.get(input.layer.as_str());
        let layer =
            layer.ok_or_else(|| container.wrong(format!("there is no input `{}`", input.layer)))?;
        let shape = ["batch_shape", "batch_input_shape"]
            .iter()
            .find_map(|k| layer.config.get(*k));
        let sizes = shape.and_then(|s| s.as_array()).map(|s| {
            let sizes = s.iter().skip(1);
            sizes
                .map(|d| d.as_u64().map(|d| d as usize))
                .collect::<Vec<_>>()
        });
        shapes.push(InputShape {
            name: input.layer.clone(),
            sizes,
            tokens: tokens.get(input.layer.as_str()).copied(),
            dtype: layer.dtype().unwrap_or("float32").to_owned(),
        });
    }
    Ok(shapes)
}

/// What is known of an input.
pub(super) struct InputShape {
    pub(super) name: String,
    /// Without the batch; `None` for what the configuration leaves open.
    pub(super) sizes: Option<Vec<Option<usize>>>,
    /// How many tokens there are, if it goes into an embedding.
    pub(super) tokens: Option<usize>,
    pub(super) dtype: String,
}

impl InputShape {
    /// An array as this input.
    ///
    /// # Errors
    /// If it has another shape, or no values: what was wanted, and what came.
    pub(super) fn takes(&self, array: Array) -> Result<Array, String> {
        let name = self.name.escape_debug();
        let Some((batch, found)) = array.shape.split_first() else {
            return Err(format!("the input `{name}` is given a single number"));
        };
        if let Some(sizes) = &self.sizes {
            let fits = |(size, found): (&Option<usize>, &usize)| size.is_none_or(|s| s == *found);
            if sizes.len() != found.len() || !sizes.iter().zip(found).all(fits) {
                let axes = sizes
                    .iter()
                    .map(|s| s.map_or("any".into(), |s| s.to_string()));
                let wanted: Vec<String> = ["any".to_owned()].into_iter().chain(axes).collect();
                return Err(format!(
                    "the input `{name}` is [{}], and its input has the shape {:?}",
                    wanted.join(", "),
                    array.shape
                ));
            }
        }
        if *batch == 0 || array.values.is_empty() {
            return Err(format!(
                "the input `{name}` is given no values: {:?}",
                array.shape
            ));
        }
        let converted = dtype::converted(&self.dtype, array);
        converted.map_err(|what| format!("the input `{name}` {what}"))
    }
}

/// The fewest rows of the embeddings that take what a layer gives, by the layer.
fn tokens(spec: &ModelSpec) -> HashMap<&str, usize> {
    let mut fewest = HashMap::new();
    for layer in &spec.layers {
        let rows = match (&layer.model, layer.class.as_str()) {
            (Some(model), _) => {
                let first = model.inputs.first();
                first.and_then(|first| tokens(model).get(first.layer.as_str()).copied())
            }
            (None, "Embedding") => {
                let rows = layer.config.get("input_dim").and_then(|n| n.as_u64());
                rows.map(|rows| rows as usize)
            }
            _ => None,
        };
        let Some(rows) = rows else { continue };
        for tensor in layer.calls.iter().flat_map(self::tensors) {
            let least = fewest.entry(tensor.layer.as_str()).or_insert(rows);
            *least = rows.min(*least);
        }
    }
    fewest
}
