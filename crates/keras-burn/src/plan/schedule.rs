//! The order in which the layers of a model are called: each call after those whose outputs it takes.

use std::collections::{HashMap, HashSet};

use crate::config::call::{Arg, Call, TensorRef};

/// A call of a layer: the index of the layer in its model, and which of its calls.
pub(crate) type Node = (usize, usize);

/// The calls of a model in order. The outputs of calls are kept in slots, which are numbered: first
/// the inputs of the model, then its calls.
pub(crate) struct Schedule {
    inputs: usize,
    steps: Vec<Step>,
    outputs: Vec<Source>,
    /// The layer of each slot, for messages.
    layers: Vec<String>,
}

/// A call, and where its tensors come from.
struct Step {
    node: Node,
    args: Vec<Source>,
    kwargs: Vec<(String, Source)>,
    /// The slots that no later call takes an output of.
    frees: Vec<usize>,
}

/// An output of a call.
#[derive(Clone, Copy)]
struct Source {
    slot: usize,
    output: usize,
}

/// A layer's name, and its calls.
pub(super) type Calls<'a> = (&'a str, &'a [Call]);

impl Schedule {
    /// # Errors
    /// If a call takes an output of a call that does not exist, or the calls form a cycle.
    pub(super) fn new(
        layers: &[Calls<'_>],
        inputs: &[TensorRef],
        outputs: &[TensorRef],
    ) -> Result<Self, String> {
        let graph = CallGraph::new(layers, inputs)?;
        let order = graph.order(outputs)?;
        let nodes = graph.inputs.iter().chain(&order);
        let slots: HashMap<Node, usize> = nodes
            .enumerate()
            .map(|(slot, &node)| (node, slot))
            .collect();
        let source = |tensor: &TensorRef| -> Result<Source, String> {
            let slot = slots.get(&graph.node(tensor)?).copied();
            let slot = slot.ok_or_else(|| no_call(tensor))?;
            Ok(Source {
                slot,
                output: tensor.output,
            })
        };
        let outputs = outputs.iter().map(&source).collect::<Result<Vec<_>, _>>()?;
        let mut steps = Vec::new();
        for &node in &order {
            let call = graph.call(node);
            let args = call.args.iter().flat_map(Arg::tensors).map(&source);
            let args = args.collect::<Result<Vec<Source>, String>>()?;
            let mut kwargs = Vec::new();
            for (name, arg) in &call.kwargs {
                for tensor in arg.tensors() {
                    kwargs.push((name.clone(), source(tensor)?));
                }
            }
            steps.push(Step {
                node,
                args,
                kwargs,
                frees: Vec::new(),
            });
        }
        let mut used_later: HashSet<usize> = outputs.iter().map(|source| source.slot).collect();
        for step in steps.iter_mut().rev() {
            let kwargs = step.kwargs.iter().map(|(_, source)| source);
            for source in step.args.iter().chain(kwargs) {
                if used_later.insert(source.slot) {
                    step.frees.push(source.slot);
                }
            }
        }
        let nodes = graph.inputs.iter().chain(&order);
        Ok(Self {
            inputs: inputs.len(),
            layers: nodes.map(|node| layers[node.0].0.to_owned()).collect(),
            steps,
            outputs,
        })
    }

    /// The number of the model's inputs.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Makes the calls in order, and returns the outputs of the model. `call` is given the tensors
    /// of a call by position and by name.
    ///
    /// # Errors
    /// If a call fails, or has fewer outputs than others take.
    pub(crate) fn run<'a, T: Clone>(
        &'a self,
        inputs: &[T],
        mut call: impl FnMut(Node, Vec<T>, Vec<(&'a str, T)>) -> Result<Vec<T>, String>,
    ) -> Result<Vec<T>, String> {
        let mut slots: Vec<Vec<T>> = inputs.iter().map(|input| vec![input.clone()]).collect();
        for step in &self.steps {
            let args = step.args.iter().map(|&source| self.get(&slots, source));
            let args = args.collect::<Result<Vec<T>, String>>()?;
            let kwargs = step.kwargs.iter();
            let kwargs =
                kwargs.map(|(name, source)| Ok((name.as_str(), self.get(&slots, *source)?)));
            let kwargs = kwargs.collect::<Result<Vec<_>, String>>()?;
            let outputs = call(step.node, args, kwargs)?;
            for &slot in &step.frees {
                slots[slot] = Vec::new();
            }
            slots.push(outputs);
        }
        let outputs = self.outputs.iter();
        outputs.map(|&source| self.get(&slots, source)).collect()
    }

    fn get<T: Clone>(&self, slots: &[Vec<T>], source: Source) -> Result<T, String> {
        let outputs = slots.get(source.slot);
        let output = outputs.and_then(|outputs| outputs.get(source.output));
        output.cloned().ok_or_else(|| {
            let layer = self.layers[source.slot].escape_debug();
            format!("layer `{layer}` has no output {}", source.output)
        })
    }
}

fn no_call(tensor: &TensorRef) -> String {
    let layer = tensor.layer.escape_debug();
    format!("layer `{layer}` has no call {}", tensor.node)
}

/// The calls of all layers, and what they take of each other.
struct CallGraph<'a> {
    layers: &'a [Calls<'a>],
    by_name: HashMap<&'a str, usize>,
    inputs: Vec<Node>,
    is_input: HashSet<Node>,
}

impl<'a> CallGraph<'a> {
    fn new(layers: &'a [Calls<'a>], inputs: &[TensorRef]) -> Result<Self, String> {
        let names = layers.iter().enumerate();
        let mut graph = Self {
            layers,
            by_name: names.map(|(index, &(name, _))| (name, index)).collect(),
            inputs: Vec::new(),
            is_input: HashSet::new(),
        };
        let inputs = inputs.iter().map(|input| graph.node(input));
        graph.inputs = inputs.collect::<Result<Vec<Node>, String>>()?;
        graph.is_input = graph.inputs.iter().copied().collect();
        Ok(graph)
    }

    fn call(&self, (layer, call): Node) -> &'a Call {
        &self.layers[layer].1[call]
    }

    /// The call that a tensor is an output of.
    fn node(&self, tensor: &TensorRef) -> Result<Node, String> {
        let index = self.by_name.get(tensor.layer.as_str()).copied();
        let index =
            index.ok_or_else(|| format!("there is no layer `{}`", tensor.layer.escape_debug()))?;
        Ok((index, tensor.node))
    }

    /// The same, if the call exists.
    fn known_node(&self, tensor: &TensorRef) -> Result<Node, String> {
        let node = self.node(tensor)?;
        match node.1 < self.layers[node.0].1.len() || self.is_input.contains(&node) {
            true => Ok(node),
            false => Err(no_call(tensor)),
        }
    }

    /// The calls that the outputs need, in the order in which Keras makes them.
    fn order(&self, outputs: &[TensorRef]) -> Result<Vec<Node>, String> {
        let mut order = self.depth_first(outputs)?;
        order.retain(|node| !self.is_input.contains(node));
        self.by_depth(order)
    }

    /// The calls that the outputs need, each after those that it needs, in the order in which a
    /// depth-first search from the outputs finishes them.
    fn depth_first(&self, outputs: &[TensorRef]) -> Result<Vec<Node>, String> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            Open,
            Done,
        }
        let mut states: HashMap<Node, State> = HashMap::new();
        let mut order = Vec::new();
        // An explicit stack: a long chain of layers must not overflow that of the thread. The top is
        // searched first.
        let mut stack: Vec<Node> = Vec::new();
        for output in outputs.iter().rev() {
            stack.push(self.known_node(output)?);
        }
        while let Some(&node) = stack.last() {
            match states.get(&node) {
                Some(State::Done) => {
                    stack.pop();
                    continue;
                }
                Some(State::Open) => {
                    states.insert(node, State::Done);
                    order.push(node);
                    stack.pop();
                    continue;
                }
                None => {}
            }
            states.insert(node, State::Open);
            if self.is_input.contains(&node) {
                continue;
            }
            let tensors: Vec<&TensorRef> = self.call(node).tensors().collect();
            for tensor in tensors.into_iter().rev() {
                let needed = self.known_node(tensor)?;
                match states.get(&needed) {
                    Some(State::Open) => {
                        return Err(format!(
                            "the calls of the layers form a cycle, at layer `{}`",
                            self.layers[node.0].0.escape_debug()
                        ));
                    }
                    Some(State::Done) => {}
                    None => stack.push(needed),
                }
            }
        }
        Ok(order)
    }

    /// The order in which Keras makes the calls, the deepest first (keras/src/ops/function.py,
    /// `map_graph`). It matters because a layer may remove the mask of a tensor for all later calls.
    /// `finished` is the order of [`CallGraph::depth_first`].
    fn by_depth(&self, finished: Vec<Node>) -> Result<Vec<Node>, String> {
        let mut depths: HashMap<Node, usize> = HashMap::new();
        let mut layer_depths: HashMap<usize, usize> = HashMap::new();
        let mut order = Vec::new();
        for &node in finished.iter().rev() {
            let mut at_least = |node: Node, depth: usize| {
                let known = depths.entry(node).or_insert_with(|| {
                    order.push(node);
                    0
                });
                *known = depth.max(*known);
                *known
            };
            let layer_depth = layer_depths.entry(node.0).or_default();
            let depth = at_least(node, *layer_depth);
            *layer_depth = depth;
            for tensor in self.call(node).tensors() {
                let needed = self.known_node(tensor)?;
                if !self.is_input.contains(&needed) {
                    at_least(needed, depth + 1);
                }
            }
        }
        order.sort_by_key(|node| std::cmp::Reverse(depths.get(node)));
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(layer: &str) -> TensorRef {
        TensorRef::first_of(layer)
    }

    fn call(inputs: &[&str]) -> Call {
        Call {
            args: inputs
                .iter()
                .map(|name| Arg::Tensor(tensor(name)))
                .collect(),
            kwargs: Vec::new(),
        }
    }

    /// `x` to `a` and `b`, both to `sum`, whose calls are `sum`'s.
    fn run(sum: Call) -> Result<Vec<i32>, String> {
        let calls = [call(&[]), call(&["x"]), call(&["a"]), sum];
        let names = ["x", "a", "b", "sum"];
        let layers: Vec<Calls<'_>> = names
            .iter()
            .zip(&calls)
            .map(|(name, call)| (*name, std::slice::from_ref(call)))
            .collect();
        let schedule = Schedule::new(&layers, &[tensor("x")], &[tensor("sum")])?;
        let mut made = Vec::new();
        let outputs = schedule.run(&[1], |node, args, _| {
            made.push(node.0);
            Ok(vec![args.iter().sum::<i32>() + 1])
        })?;
        assert_eq!(made, [1, 2, 3]);
        Ok(outputs)
    }

    #[test]
    fn a_call_is_made_after_those_that_it_takes_outputs_of() {
        // a = 2, b = 3, sum = 2 + 3 + 1.
        assert_eq!(run(call(&["b", "a"])), Ok(vec![6]));
    }

    #[test]
    fn a_call_that_does_not_exist_and_a_cycle_are_refused() {
        assert_eq!(run(call(&["c"])), Err("there is no layer `c`".into()));
        let mut second = call(&["a"]);
        second.args = vec![Arg::Tensor(TensorRef {
            node: 1,
            ..tensor("a")
        })];
        assert_eq!(run(second), Err("layer `a` has no call 1".into()));
        let error = run(call(&["b", "sum"])).unwrap_err();
        assert!(error.contains("form a cycle"), "{error}");
        let mut second = call(&["a"]);
        second.args = vec![Arg::Tensor(TensorRef {
            output: 1,
            ..tensor("a")
        })];
        assert_eq!(run(second), Err("layer `a` has no output 1".into()));
    }
}
