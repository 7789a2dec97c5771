//! The model as it runs: layers with their weights, and their calls in an order in which each has
//! its inputs.

use std::collections::HashMap;

use ::burn::tensor::Device;

use super::config::{Arg, Call, LayerSpec, ModelSpec, TensorRef};
use super::container::Container;
use super::layers::{self, Config, Extra, Layer, SUPPORTED};
use super::npy::Array;
use super::value::{Flow, Value};
use super::weights::{Finder, Vars};
use crate::error::Error;

/// Most calls of a model: more than any known one has.
const MOST_CALLS: usize = 100_000;

/// A loaded model.
pub(super) struct Graph {
    name: String,
    nodes: Vec<Node>,
    /// The calls, by layer and number, each behind those that it needs.
    order: Vec<(usize, usize)>,
    inputs: Vec<(usize, usize)>,
    outputs: Vec<TensorRef>,
    /// How often each call's result is needed: what nobody needs any more goes.
    needed: HashMap<(usize, usize), usize>,
    by_name: HashMap<String, usize>,
}

struct Node {
    name: String,
    runs: Runs,
    calls: Vec<Call>,
}

/// What a call runs.
enum Runs {
    Layer(Box<dyn Layer>),
    Model(Box<Graph>),
}

impl Graph {
    /// Builds the model of a file, its weights included, one layer after the other.
    ///
    /// # Errors
    /// If a layer is not supported, which is found before any weight is read, or a weight is
    /// missing or of another shape.
    pub(super) fn load(container: &Container, device: &Device) -> Result<Self, Error> {
        let spec = ModelSpec::of(&container.path, &container.config)?;
        for layer in spec.all_layers() {
            if !layers::is_supported(layer) {
                let what = if layer.is_operation {
                    "the operation"
                } else {
                    "the class"
                };
                return Err(container
                    .wrong(format!(
                        "layer `{}` is of {what} `{}`, which is not supported",
                        layer.name.escape_debug(),
                        layer.class.escape_debug()
                    ))
                    .hint(format!("supported are: {}", SUPPORTED.join(", "))));
            }
        }
        refuse_unread(&spec).map_err(|what| container.wrong(what))?;
        let finder = Finder::new(container, device);
        let mut vars = finder.of_model(&spec)?.into_iter();
        Self::build(container, &spec, &mut vars)
    }

    fn build<'a>(
        container: &Container,
        spec: &ModelSpec,
        vars: &mut dyn Iterator<Item = Vars<'a>>,
    ) -> Result<Self, Error> {
        let mut nodes = Vec::new();
        for layer in &spec.layers {
            let runs = match &layer.model {
                Some(model) => Runs::Model(Box::new(Self::build(container, model, vars)?)),
                None => {
                    let mut vars = vars.next().ok_or_else(|| {
                        container.wrong(format!("layer `{}` has no place", layer.name))
                    })?;
                    let built = Self::layer(container, layer, &mut vars)?;
                    vars.finish()?;
                    Runs::Layer(built)
                }
            };
            nodes.push(Node {
                name: layer.name.clone(),
                runs,
                calls: layer.calls.clone(),
            });
        }
        let by_name = nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), i));
        let by_name: HashMap<String, usize> = by_name.collect();
        let wrong = |what: String| container.wrong(format!("model `{}`: {what}", spec.name));
        let mut inputs = Vec::new();
        for input in &spec.inputs {
            let index = by_name.get(&input.layer).copied();
            let index =
                index.ok_or_else(|| wrong(format!("there is no input `{}`", input.layer)))?;
            inputs.push((index, input.node));
        }
        let order = order(&nodes, &by_name, &inputs, &spec.outputs).map_err(wrong)?;
        let mut needed: HashMap<(usize, usize), usize> = HashMap::new();
        let taken = order
            .iter()
            .flat_map(|&(node, call)| tensors(&nodes[node].calls[call]));
        for tensor in taken.chain(&spec.outputs) {
            *needed
                .entry(place(&by_name, tensor).map_err(wrong)?)
                .or_default() += 1;
        }
        Ok(Self {
            name: spec.name.clone(),
            nodes,
            order,
            inputs,
            outputs: spec.outputs.clone(),
            needed,
            by_name,
        })
    }

    fn layer(
        container: &Container,
        layer: &LayerSpec,
        vars: &mut Vars<'_>,
    ) -> Result<Box<dyn Layer>, Error> {
        if layer.is_operation {
            return layers::build_operation(layer, vars);
        }
        let config = Config {
            map: &layer.config,
            is_keras_2: container.is_keras_2(),
        };
        layers::build(&layer.class, &config, vars)
    }

    /// Runs the model.
    ///
    /// # Errors
    /// If the inputs are not as many as it takes, or do not fit: the layer is named.
    pub(super) fn predict(&self, inputs: &[Flow]) -> Result<Vec<Flow>, String> {
        if inputs.len() != self.inputs.len() {
            return Err(format!(
                "model `{}` takes {} inputs, and is given {}",
                self.name,
                self.inputs.len(),
                inputs.len()
            ));
        }
        let mut results: HashMap<(usize, usize), Vec<Flow>> = HashMap::new();
        for (&place, input) in self.inputs.iter().zip(inputs) {
            results.insert(place, vec![input.clone()]);
        }
        let mut needed = self.needed.clone();
        for &(node, call) in &self.order {
            if results.contains_key(&(node, call)) {
                continue;
            }
            let node_of = &self.nodes[node];
            let called = &node_of.calls[call];
            let get = |tensor: &TensorRef| -> Result<Flow, String> {
                let flows = results.get(&self.place(tensor)?);
                let flow = flows.and_then(|flows| flows.get(tensor.tensor));
                flow.cloned()
                    .ok_or_else(|| format!("`{}` has no output {}", tensor.layer, tensor.tensor))
            };
            let given = called.args.iter().flat_map(Arg::tensors).map(get);
            let mut flows = given.collect::<Result<Vec<Flow>, String>>()?;
            let mut extra = Extra {
                constants: layers::operation::numbers(&called.args),
                ..Extra::default()
            };
            for (name, arg) in &called.kwargs {
                match arg {
                    Arg::Tensor(tensor) => extra.tensors.push((name.clone(), get(tensor)?)),
                    Arg::Value(value) => {
                        if let (Some(number), true) =
                            (value.as_f64(), matches!(name.as_str(), "y" | "x2"))
                        {
                            extra.constants.push((1, number));
                        }
                        extra.values.push((name.clone(), value.clone()));
                    }
                    Arg::List(_) => {}
                }
            }
            // An operation of Keras 2 may have its second tensor by name.
            if let (1, Some(second)) = (flows.len(), extra.tensor("y").cloned()) {
                flows.push(second);
            }
            // A mask that an operation has made comes as a tensor of zeros and ones.
            for (place, names) in [&["mask", "query_mask"][..], &["value_mask"], &["key_mask"]]
                .into_iter()
                .enumerate()
            {
                let given = names.iter().find_map(|name| extra.tensor(name));
                match (given.map(|flow| &flow.x), flows.get_mut(place)) {
                    (None, _) => {}
                    (Some(Value::R2(mask)), Some(flow)) => {
                        flow.mask = Some(mask.clone().not_equal_elem(0.0));
                    }
                    (Some(mask), _) => {
                        let shape = mask.shape();
                        let wrong = format!("a mask of the shape {shape:?} is not supported");
                        return Err(format!("layer `{}`: {wrong}", node_of.name));
                    }
                }
            }
            let wrong = |what: String| format!("layer `{}`: {what}", node_of.name);
            let result = match &node_of.runs {
                Runs::Layer(layer) => layer.call(&flows, &extra).map_err(wrong)?,
                Runs::Model(model) => model.predict(&flows).map_err(wrong)?,
            };
            for tensor in tensors(called) {
                let place = self.place(tensor)?;
                if let Some(left) = needed.get_mut(&place) {
                    *left -= 1;
                    if *left == 0 {
                        results.remove(&place);
                    }
                }
            }
            results.insert((node, call), result);
        }
        let mut outputs = Vec::new();
        for output in &self.outputs {
            let flows = results.get(&self.place(output)?);
            let flow = flows.and_then(|flows| flows.get(output.tensor)).cloned();
            outputs.push(flow.ok_or_else(|| format!("there is no output `{}`", output.layer))?);
        }
        Ok(outputs)
    }

    fn place(&self, tensor: &TensorRef) -> Result<(usize, usize), String> {
        place(&self.by_name, tensor)
    }
}

/// Refuses tensors that a layer is called with by name and that it would not look at, such as a
/// recurrent layer's `initial_state`: what it predicts would be wrong.
fn refuse_unread(spec: &ModelSpec) -> Result<(), String> {
    for layer in &spec.layers {
        for (name, arg) in layer.calls.iter().flat_map(|call| &call.kwargs) {
            let is_read = match arg {
                Arg::Tensor(_) => layers::reads(layer, name),
                _ => arg.tensors().is_empty(),
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
            refuse_unread(model)?;
        }
    }
    Ok(())
}

/// The layer and the call that a tensor comes from.
fn place(by_name: &HashMap<String, usize>, tensor: &TensorRef) -> Result<(usize, usize), String> {
    let index = by_name.get(&tensor.layer).copied();
    let index = index.ok_or_else(|| format!("there is no layer `{}`", tensor.layer))?;
    Ok((index, tensor.node))
}

/// The tensors that a call takes.
fn tensors(call: &Call) -> impl Iterator<Item = &TensorRef> {
    let kwargs = call.kwargs.iter().map(|(_, arg)| arg);
    call.args.iter().chain(kwargs).flat_map(Arg::tensors)
}

/// An order of the calls that the outputs need, each behind its inputs.
fn order(
    nodes: &[Node],
    by_name: &HashMap<String, usize>,
    inputs: &[(usize, usize)],
    outputs: &[TensorRef],
) -> Result<Vec<(usize, usize)>, String> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Open,
        Done,
    }
    let known = |tensor: &TensorRef| -> Result<(usize, usize), String> {
        let (index, call) = place(by_name, tensor)?;
        if call >= nodes[index].calls.len() && !inputs.contains(&(index, call)) {
            return Err(format!("layer `{}` has no call {call}", tensor.layer));
        }
        Ok((index, call))
    };
    let mut states: HashMap<(usize, usize), State> = HashMap::new();
    let mut order = Vec::new();
    // A stack of its own: a long chain of layers must not overflow the thread's.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for output in outputs {
        stack.push(known(output)?);
    }
    while let Some(&call) = stack.last() {
        match states.get(&call) {
            Some(State::Done) => {
                stack.pop();
                continue;
            }
            Some(State::Open) => {
                states.insert(call, State::Done);
                order.push(call);
                stack.pop();
                continue;
            }
            None => {}
        }
        if states.len() > MOST_CALLS {
            return Err(format!("it has more than {MOST_CALLS} calls"));
        }
        states.insert(call, State::Open);
        if inputs.contains(&call) {
            continue;
        }
        let (node, number) = call;
        for tensor in tensors(&nodes[node].calls[number]) {
            let needs = known(tensor)?;
            match states.get(&needs) {
                Some(State::Open) => {
                    return Err(format!(
                        "the layers call each other in a circle, at `{}`",
                        nodes[node].name
                    ));
                }
                Some(State::Done) => {}
                None => stack.push(needs),
            }
        }
    }
    order.retain(|call| !inputs.contains(call));
    Ok(order)
}

/// What the inputs look like, as far as the configuration tells: the shape without the batch, and
/// whether they are tokens of so many.
pub(super) fn input_shapes(container: &Container) -> Result<Vec<InputShape>, Error> {
    let spec = ModelSpec::of(&container.path, &container.config)?;
    let mut shapes = Vec::new();
    for input in &spec.inputs {
        let layer = spec.layers.iter().find(|l| l.name == input.layer);
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
            tokens: tokens(&spec, &input.layer),
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
}

impl InputShape {
    /// Looks whether an array can be this input.
    ///
    /// # Errors
    /// If it has another shape, or no values: what was wanted, and what came.
    pub(super) fn takes(&self, array: &Array) -> Result<(), String> {
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
        Ok(())
    }
}

fn tokens(spec: &ModelSpec, input: &str) -> Option<usize> {
    let takes = |layer: &&LayerSpec| {
        let calls = layer.calls.iter();
        calls.flat_map(tensors).any(|tensor| tensor.layer == input)
    };
    let fed = spec.layers.iter().filter(takes);
    let counts = fed.filter_map(|layer| match (&layer.model, layer.class.as_str()) {
        (Some(model), _) => tokens(model, &model.inputs.first()?.layer),
        (None, "Embedding") => layer.config.get("input_dim")?.as_u64().map(|n| n as usize),
        _ => None,
    });
    counts.min()
}
