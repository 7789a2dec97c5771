//! Recurrent layers, and what wraps layers over time.

use ::burn::tensor::{Device, Tensor, activation::sigmoid};
use serde_json::{Map, Value as Json};

use super::activation::Activation;
use super::{Config, Extra, Layer, build, keeping_mask, one};
use crate::base::error::Error;
use crate::workloads::keras::value::{Binary, Flow, Mask, Value, each};
use crate::workloads::keras::weights::Vars;

/// What happens in a step.
enum Kind {
    Simple,
    /// Gates in the order input, forget, candidate, output.
    Lstm,
    /// Gates in the order update, reset, candidate. With `reset_after` the reset gate is applied
    /// after the recurrent product, which then has a bias of its own.
    Gru {
        recurrent_bias: Option<Box<Tensor<1>>>,
        reset_after: bool,
    },
}

/// Products that a step of a class computes side by side.
pub(super) fn gates(class: &str) -> usize {
    match class {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    }
}

/// `SimpleRNN`, `LSTM` and `GRU`.
pub(super) struct Recurrent {
    kind: Kind,
    units: usize,
    /// `[in, gates * units]`.
    kernel: Tensor<2>,
    /// `[units, gates * units]`.
    recurrent: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
    gate: Activation,
    backwards: bool,
    sequences: bool,
    state: bool,
    /// What comes out of a step that does not count is zero, in place of the step before.
    zero_if_masked: bool,
    is_keras_2: bool,
}

impl Recurrent {
    pub(super) fn build(
        class: &str,
        config: &Config<'_>,
        vars: &mut Vars<'_>,
    ) -> Result<Self, Error> {
        let no = [Json::from(false)];
        for key in ["stateful", "time_major"] {
            vars.checked(config.refuse(key, &no))?;
        }
        let units = vars.checked(config.size("units"))?;
        let width = Some(gates(class) * units);
        let kernel = vars.matrix("kernel", [None, width])?;
        let recurrent = vars.matrix("recurrent_kernel", [Some(units), width])?;
        let use_bias = config.flag("use_bias", true);
        let reset_after = config.flag("reset_after", true);
        let (mut bias, mut recurrent_bias) = (None, None);
        if use_bias && class == "GRU" && reset_after {
            let both = vars.matrix("bias", [Some(2), width])?;
            let row = |n: usize| both.clone().narrow(0, n, 1).reshape([3 * units]);
            (bias, recurrent_bias) = (Some(row(0)), Some(row(1)));
        } else if use_bias {
            bias = Some(vars.vector("bias", width)?);
        }
        Ok(Self {
            kind: match class {
                "LSTM" => Kind::Lstm,
                "GRU" => Kind::Gru {
                    recurrent_bias: recurrent_bias.map(Box::new),
                    reset_after,
                },
                _ => Kind::Simple,
            },
            units,
            kernel,
            recurrent,
            bias,
            activation: vars.checked(Activation::of(config, "activation", "tanh"))?,
            gate: vars.checked(Activation::of(config, "recurrent_activation", "sigmoid"))?,
            backwards: config.flag("go_backwards", false),
            sequences: config.flag("return_sequences", false),
            state: config.flag("return_state", false),
            zero_if_masked: config.flag("zero_output_for_mask", false),
            is_keras_2: config.is_keras_2,
        })
    }

    fn gate(&self, t: Tensor<2>) -> Tensor<2> {
        match self.gate {
            Activation::Sigmoid => sigmoid(t),
            other => other.of_tensor(t, 1),
        }
    }

    /// One step: from `x kernel + bias` and the states to the new states, the output first.
    fn step(&self, x: Tensor<2>, states: &[Tensor<2>]) -> Vec<Tensor<2>> {
        let u = self.units;
        let h = &states[0];
        let part = |t: &Tensor<2>, n: usize| t.clone().narrow(1, n * u, u);
        match &self.kind {
            Kind::Simple => {
                let sum = x + h.clone().matmul(self.recurrent.clone());
                vec![self.activation.of_tensor(sum, 1)]
            }
            Kind::Lstm => {
                let z = x + h.clone().matmul(self.recurrent.clone());
                let (input, forget) = (self.gate(part(&z, 0)), self.gate(part(&z, 1)));
                let candidate = self.activation.of_tensor(part(&z, 2), 1);
                let cell = forget * states[1].clone() + input * candidate;
                let output = self.gate(part(&z, 3));
                vec![output * self.activation.of_tensor(cell.clone(), 1), cell]
            }
            Kind::Gru {
                recurrent_bias,
                reset_after: true,
            } => {
                let mut inner = h.clone().matmul(self.recurrent.clone());
                if let Some(bias) = recurrent_bias {
                    inner = inner + Tensor::clone(bias).unsqueeze_dim::<2>(0);
                }
                let update = self.gate(part(&x, 0) + part(&inner, 0));
                let reset = self.gate(part(&x, 1) + part(&inner, 1));
                let candidate = part(&x, 2) + reset * part(&inner, 2);
                let candidate = self.activation.of_tensor(candidate, 1);
                vec![update.clone() * h.clone() + (update.neg() + 1.0) * candidate]
            }
            Kind::Gru { .. } => {
                let column = |n: usize| self.recurrent.clone().narrow(1, n * u, u);
                let update = self.gate(part(&x, 0) + h.clone().matmul(column(0)));
                let reset = self.gate(part(&x, 1) + h.clone().matmul(column(1)));
                let candidate = part(&x, 2) + (reset * h.clone()).matmul(column(2));
                let candidate = self.activation.of_tensor(candidate, 1);
                vec![update.clone() * h.clone() + (update.neg() + 1.0) * candidate]
            }
        }
    }
}

/// What a call begins with.
struct Begin<'a> {
    input: &'a Flow,
    /// The steps that are computed; all if `None`.
    mask: Option<Mask>,
    states: Vec<Value>,
}

/// The input of a call, and the states that it begins with, none if they are zero: by name, or behind
/// the input, as Keras 2 writes them.
fn input_and_states<'a>(
    inputs: &'a [Flow],
    extra: &Extra,
    is_keras_2: bool,
) -> Result<Begin<'a>, String> {
    let (input, behind) = inputs
        .split_first()
        .ok_or("it is called without an input")?;
    let named = extra.tensors.iter();
    let named = named.filter(|(name, _)| name == "initial_state");
    let states = behind.iter().chain(named.map(|(_, flow)| flow));
    let states: Vec<Value> = states.map(|flow| flow.x.clone()).collect();
    // Keras 3 hands the mask of a layer's input on only where the input is its one tensor
    // (keras/src/layers/layer.py, "Populate mask argument(s)").
    let has_mask = is_keras_2 || states.is_empty() || extra.tensor("mask").is_some();
    Ok(Begin {
        input,
        mask: input.mask().filter(|_| has_mask),
        states,
    })
}

impl Recurrent {
    fn states(
        &self,
        given: &[Value],
        batch: usize,
        device: &Device,
    ) -> Result<Vec<Tensor<2>>, String> {
        let count = if let Kind::Lstm = self.kind { 2 } else { 1 };
        let shape = [batch, self.units];
        if given.is_empty() {
            return Ok(vec![Tensor::zeros(shape, device); count]);
        }
        let state = |value: &Value| match value {
            Value::R2(t) if t.dims() == shape => Ok(t.clone()),
            other => Err(format!(
                "its `initial_state` has the shape {:?}, and its states have {shape:?}",
                other.shape()
            )),
        };
        match given.len() == count {
            true => given.iter().map(state).collect(),
            false => Err(format!(
                "it has {count} states, and its `initial_state` {}",
                given.len()
            )),
        }
    }

    fn run(&self, begin: &Begin<'_>, initial: &[Value]) -> Result<Vec<Flow>, String> {
        let Begin { input, mask, .. } = begin;
        let Value::R3(x) = &input.x else {
            let shape = input.x.shape();
            return Err(format!(
                "its input has the shape {shape:?}, not [batch, steps, features]"
            ));
        };
        let [batch, steps, features] = x.dims();
        let [takes, _] = self.kernel.dims();
        if features != takes {
            return Err(format!(
                "its kernel takes {takes} features, and its input has {features}"
            ));
        }
        let rows = x.clone().reshape([batch * steps, features]);
        let mut all = rows.matmul(self.kernel.clone());
        if let Some(bias) = &self.bias {
            all = all + bias.clone().unsqueeze_dim::<2>(0);
        }
        let width = all.dims()[1];
        let all = all.reshape([batch, steps, width]);
        let mut states = self.states(initial, batch, &x.device())?;
        let mut outputs = Vec::new();
        // What comes out before the first step that counts, whatever the states are.
        let mut output = Tensor::<2>::zeros([batch, self.units], &x.device());
        for i in 0..steps {
            let step = if self.backwards { steps - 1 - i } else { i };
            let now = all.clone().narrow(1, step, 1).reshape([batch, width]);
            let next = self.step(now, &states);
            (output, states) = match mask {
                None => (next[0].clone(), next),
                // A step that does not count hands the states on, and what came out before.
                Some(mask) => {
                    let counts = mask.clone().narrow(1, step, 1).repeat_dim(1, self.units);
                    let before = match self.zero_if_masked {
                        true => output.zeros_like(),
                        false => output,
                    };
                    let output = before.mask_where(counts.clone(), next[0].clone());
                    let both = states.into_iter().zip(next);
                    let both = both.map(|(old, new)| old.mask_where(counts.clone(), new));
                    (output, both.collect())
                }
            };
            if self.sequences {
                outputs.push(output.clone().unsqueeze_dim::<3>(1));
            }
        }
        let mut flows = if self.sequences {
            let x = match outputs.is_empty() {
                true => Tensor::<3>::zeros([batch, 0, self.units], &x.device()),
                false => Tensor::cat(outputs, 1),
            };
            vec![Flow::masked(Value::R3(x), input.mask())]
        } else {
            vec![Flow::of(Value::R2(output))]
        };
        if self.state {
            flows.extend(states.into_iter().map(|s| Flow::of(Value::R2(s))));
        }
        Ok(flows)
    }
}

impl Layer for Recurrent {
    fn call(&self, inputs: &[Flow], extra: &Extra) -> Result<Vec<Flow>, String> {
        let begin = input_and_states(inputs, extra, self.is_keras_2)?;
        self.run(&begin, &begin.states)
    }
}

/// The layer that a configuration wraps: its class and its own configuration.
pub(super) fn inner<'a>(
    config: &Config<'a>,
    key: &str,
) -> Result<(&'a str, &'a Map<String, Json>), String> {
    let layer = config
        .get(key)
        .ok_or_else(|| format!("it has no `{key}`"))?;
    let class = layer.get("class_name").and_then(Json::as_str);
    let own = layer.get("config").and_then(Json::as_object);
    class
        .zip(own)
        .ok_or_else(|| format!("its `{key}` is no layer"))
}

/// The same layer forwards and backwards in time.
pub(super) struct Bidirectional {
    forward: Recurrent,
    backward: Recurrent,
    /// `None` gives both apart.
    merge: Option<String>,
}

impl Bidirectional {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let (class, own) = vars.checked(inner(config, "layer"))?;
        let of = |map| Config {
            map,
            is_keras_2: config.is_keras_2,
        };
        let mut forward = Recurrent::build(class, &of(own), vars)?;
        // Keras 2 leaves the other out where it is the same.
        let (class, own) = match config.get("backward_layer") {
            Some(_) => vars.checked(inner(config, "backward_layer"))?,
            None => (class, own),
        };
        let mut backward = Recurrent::build(class, &of(own), vars)?;
        backward.backwards = !forward.backwards;
        if config.is_keras_2 {
            // Whatever the layers say (tf_keras/src/layers/rnn/bidirectional.py,
            // `force_zero_output_for_mask`).
            for layer in [&mut forward, &mut backward] {
                layer.zero_if_masked = layer.sequences;
            }
        }
        let merge = match config.map.get("merge_mode") {
            None => Some("concat".to_owned()),
            Some(Json::Null) => None,
            Some(mode) => {
                let known = mode
                    .as_str()
                    .filter(|m| ["concat", "sum", "mul", "ave"].contains(m));
                let known = known.ok_or("its `merge_mode` is not supported");
                Some(vars.checked(known.map_err(str::to_owned))?.to_owned())
            }
        };
        Ok(Self {
            forward,
            backward,
            merge,
        })
    }
}

impl Layer for Bidirectional {
    fn call(&self, inputs: &[Flow], extra: &Extra) -> Result<Vec<Flow>, String> {
        let begin = input_and_states(inputs, extra, self.forward.is_keras_2)?;
        let (first, second) = begin.states.split_at(begin.states.len() / 2);
        let mut there = self.forward.run(&begin, first)?;
        let mut back = self.backward.run(&begin, second)?;
        if there.is_empty() || back.is_empty() {
            return Err("its layers give nothing".into());
        }
        let (a, mut b) = (there.remove(0), back.remove(0));
        if let Value::R3(t) = b.x {
            // Back in the order of the input.
            b.x = Value::R3(t.flip([1]));
        }
        let mask = a.mask();
        let merged = match self.merge.as_deref() {
            None => {
                let mut flows = vec![a, b];
                flows.extend(there);
                flows.extend(back);
                return Ok(flows);
            }
            Some("concat") => {
                let axis = a.x.rank() - 1;
                Value::concat(vec![a.x, b.x], axis)?
            }
            Some("sum") => a.x.with(b.x, Binary::Add)?,
            Some("mul") => a.x.with(b.x, Binary::Multiply)?,
            _ => each!(a.x.with(b.x, Binary::Add)?, t => t / 2.0),
        };
        let mut flows = vec![Flow::masked(merged, mask)];
        flows.extend(there);
        flows.extend(back);
        Ok(flows)
    }
}

/// A layer or a model applied to each step.
pub(in crate::workloads::keras) struct TimeDistributed<T>(pub(in crate::workloads::keras) T);

/// A layer on each step.
pub(super) struct EachStep {
    wrapper: TimeDistributed<Box<dyn Layer>>,
    /// It would be given the mask of each step, which is none of its input.
    heeds_mask: bool,
}

impl EachStep {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let (class, own) = vars.checked(inner(config, "layer"))?;
        let own = Config {
            map: own,
            is_keras_2: config.is_keras_2,
        };
        Ok(Self {
            wrapper: TimeDistributed(build(class, &own, vars)?),
            heeds_mask: class == "Softmax",
        })
    }
}

/// The steps of all items as a batch.
///
/// # Errors
/// If there are no steps.
pub(in crate::workloads::keras) fn each_step(shape: &[usize]) -> Result<Vec<usize>, String> {
    match shape {
        [batch, steps, rest @ ..] if !rest.is_empty() => {
            Ok([&[batch.saturating_mul(*steps)], rest].concat())
        }
        _ => Err(format!("its input has the shape {shape:?}, without steps")),
    }
}

/// The shape of what is made of each step, with the items and their steps apart again.
///
/// # Errors
/// If nothing is made.
pub(in crate::workloads::keras) fn all_steps(
    input: &[usize],
    made: &[Vec<usize>],
) -> Result<Vec<usize>, String> {
    match made {
        [one] if !one.is_empty() => Ok([&input[..2], &one[1..]].concat()),
        _ => Err(format!(
            "what it runs on each step gives {} outputs, and one is supported",
            made.len()
        )),
    }
}

impl<T> TimeDistributed<T> {
    /// Runs what it wraps on all steps at once.
    ///
    /// # Errors
    /// If the input has no steps, or what it wraps gives more than one output.
    pub(in crate::workloads::keras) fn run(
        &self,
        inputs: &[Flow],
        call: impl Fn(&T, &[Flow]) -> Result<Vec<Flow>, String>,
    ) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        let each_step = input.x.clone().reshape(&each_step(&shape)?)?;
        let flows = call(&self.0, &[Flow::of(each_step)])?;
        let made: Vec<Vec<usize>> = flows.iter().map(|flow| flow.x.shape()).collect();
        let whole = all_steps(&shape, &made)?;
        let y = one(&flows)?.x.clone().reshape(&whole)?;
        Ok(keeping_mask(input, y))
    }
}

impl Layer for EachStep {
    fn call(&self, inputs: &[Flow], extra: &Extra) -> Result<Vec<Flow>, String> {
        if self.heeds_mask && inputs.iter().any(|input| input.mask().is_some()) {
            return Err("a mask for Softmax is not supported".into());
        }
        self.wrapper
            .run(inputs, |layer, step| layer.call(step, extra))
    }
}
