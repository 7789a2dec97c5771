//! How the layers of a model call each other: an order in which each call has its inputs, known
//! before any weight is.

use std::collections::{HashMap, HashSet};

use super::call::{Arg, Call, TensorRef};
use super::config::LayerSpec;

/// A call of a layer: the layer's place among those of its model, and which of its calls.
pub(super) type Place = (usize, usize);

/// The calls of a model, each behind those that it needs.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    by_name: HashMap<String, usize>,
    order: Vec<Place>,
    inputs: Vec<Place>,
    outputs: Vec<TensorRef>,
    /// How often each call's result is needed: what nobody needs any more goes.
    needed: HashMap<Place, usize>,
}

/// What a call is given: the tensors among its arguments, and those by name.
pub(super) struct Given<T> {
    pub(super) args: Vec<T>,
    pub(super) named: Vec<(String, T)>,
}

impl Wiring {
    /// # Errors
    /// If a call takes what there is not, or calls go in a circle.
    pub(super) fn of(
        layers: &[LayerSpec],
        inputs: &[TensorRef],
        outputs: &[TensorRef],
    ) -> Result<Self, String> {
        let by_name = layers.iter().enumerate().map(|(i, l)| (l.name.clone(), i));
        let by_name: HashMap<String, usize> = by_name.collect();
        let inputs = inputs.iter().map(|input| {
            let index = by_name.get(&input.layer).copied();
            let index = index.ok_or_else(|| format!("there is no input `{}`", input.layer))?;
            Ok((index, input.node))
        });
        let inputs = inputs.collect::<Result<Vec<Place>, String>>()?;
        let order = order(layers, &by_name, &inputs, outputs)?;
        let mut needed: HashMap<Place, usize> = HashMap::new();
        let calls = order
            .iter()
            .map(|&(layer, call)| &layers[layer].calls[call]);
        for tensor in calls.flat_map(tensors).chain(outputs) {
            *needed.entry(place(&by_name, tensor)?).or_default() += 1;
        }
        Ok(Self {
            by_name,
            order,
            inputs,
            outputs: outputs.to_vec(),
            needed,
        })
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Makes the calls one after the other, each with the results of those that it needs, and gives
    /// the results that are the model's outputs. `calls` are those of each layer.
    ///
    /// # Errors
    /// If a call fails, or gives fewer results than others take.
    pub(super) fn run<'a, T: Clone>(
        &self,
        inputs: &[T],
        calls: impl Fn(usize) -> &'a [Call],
        mut call: impl FnMut(Place, &'a Call, Given<T>) -> Result<Vec<T>, String>,
    ) -> Result<Vec<T>, String> {
        let mut results: HashMap<Place, Vec<T>> = HashMap::new();
        for (&place, input) in self.inputs.iter().zip(inputs) {
            results.insert(place, vec![input.clone()]);
        }
        let mut needed = self.needed.clone();
        for &(layer, number) in &self.order {
            let called = &calls(layer)[number];
            let get = |tensor: &TensorRef| self.get(&results, tensor);
            let args = called.args.iter().flat_map(Arg::tensors).map(get);
            let args = args.collect::<Result<Vec<T>, String>>()?;
            let mut named = Vec::new();
            for (name, arg) in &called.kwargs {
                for tensor in arg.tensors() {
                    named.push((name.clone(), get(tensor)?));
                }
            }
            let result = call((layer, number), called, Given { args, named })?;
            for tensor in tensors(called) {
                let place = place(&self.by_name, tensor)?;
                if let Some(left) = needed.get_mut(&place) {
                    *left -= 1;
                    if *left == 0 {
                        results.remove(&place);
                    }
                }
            }
            results.insert((layer, number), result);
        }
        let outputs = self.outputs.iter().map(|o| self.get(&results, o));
        outputs.collect()
    }

    fn get<T: Clone>(
        &self,
        results: &HashMap<Place, Vec<T>>,
        tensor: &TensorRef,
    ) -> Result<T, String> {
        let all = results.get(&place(&self.by_name, tensor)?);
        let one = all.and_then(|all| all.get(tensor.tensor)).cloned();
        one.ok_or_else(|| format!("`{}` has no output {}", tensor.layer, tensor.tensor))
    }
}

/// The layer and the call that a tensor comes from.
fn place(by_name: &HashMap<String, usize>, tensor: &TensorRef) -> Result<Place, String> {
    let index = by_name.get(&tensor.layer).copied();
    let index = index.ok_or_else(|| format!("there is no layer `{}`", tensor.layer))?;
    Ok((index, tensor.node))
}

/// The tensors that a call takes.
pub(super) fn tensors(call: &Call) -> impl Iterator<Item = &TensorRef> {
    let kwargs = call.kwargs.iter().map(|(_, arg)| arg);
    call.args.iter().chain(kwargs).flat_map(Arg::tensors)
}

/// An order of the calls that the outputs need, each behind its inputs.
fn order(
    layers: &[LayerSpec],
    by_name: &HashMap<String, usize>,
    inputs: &[Place],
    outputs: &[TensorRef],
) -> Result<Vec<Place>, String> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Open,
        Done,
    }
    let inputs: HashSet<Place> = inputs.iter().copied().collect();
    let known = |tensor: &TensorRef| -> Result<Place, String> {
        let (index, call) = place(by_name, tensor)?;
        if call >= layers[index].calls.len() && !inputs.contains(&(index, call)) {
            return Err(format!("layer `{}` has no call {call}", tensor.layer));
        }
        Ok((index, call))
    };
    let mut states: HashMap<Place, State> = HashMap::new();
    let mut order = Vec::new();
    // A stack of its own: a long chain of layers must not overflow the thread's. What is followed first
    // is on top.
    let mut stack: Vec<Place> = Vec::new();
    for output in outputs.iter().rev() {
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
        states.insert(call, State::Open);
        if inputs.contains(&call) {
            continue;
        }
        let (layer, number) = call;
        let all: Vec<&TensorRef> = tensors(&layers[layer].calls[number]).collect();
        for tensor in all.into_iter().rev() {
            let needs = known(tensor)?;
            match states.get(&needs) {
                Some(State::Open) => {
                    return Err(format!(
                        "the layers call each other in a circle, at `{}`",
                        layers[layer].name
                    ));
                }
                Some(State::Done) => {}
                None => stack.push(needs),
            }
        }
    }
    order.retain(|call| !inputs.contains(call));
    by_depth(order, |(layer, number)| {
        let needs = tensors(&layers[layer].calls[number]).map(known);
        let needs = needs.filter(|place| !matches!(place, Ok(place) if inputs.contains(place)));
        needs.collect()
    })
}

/// The order in which Keras makes the calls, the deepest first (keras/src/ops/function.py,
/// `map_graph`): what a layer takes off a tensor, later ones do not see. `order` is that in which the
/// outputs are followed to the inputs, and `needs` the calls that one needs.
fn by_depth(
    order: Vec<Place>,
    needs: impl Fn(Place) -> Result<Vec<Place>, String>,
) -> Result<Vec<Place>, String> {
    let mut depths: HashMap<Place, usize> = HashMap::new();
    let mut of_layers: HashMap<usize, usize> = HashMap::new();
    let mut seen = Vec::new();
    for &call in order.iter().rev() {
        let mut see = |call: Place, least: usize| {
            let depth = depths.entry(call).or_insert_with(|| {
                seen.push(call);
                0
            });
            *depth = least.max(*depth);
            *depth
        };
        let of_layer = of_layers.entry(call.0).or_default();
        let depth = see(call, *of_layer);
        *of_layer = depth;
        for needed in needs(call)? {
            see(needed, depth + 1);
        }
    }
    seen.sort_by_key(|call| std::cmp::Reverse(depths.get(call)));
    Ok(seen)
}
