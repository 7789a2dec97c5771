//! Recurrent layers: `SimpleRNN`, `LSTM` and `GRU`.

use burn::tensor::{Device, Tensor, activation::sigmoid};
use serde_json::Value;

use super::activation::Activation;
use super::class::{Class, Kwargs, Layer, LayerPlan, Parsed, WeightCount};
use super::weights::LayerWeights;
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::config::signature::Signature;
use crate::tensor::budget::Budget;
use crate::tensor::shape::{NO_INPUT, Shape, wrong_input};
use crate::tensor::{DynTensor, Mask, Masked};

pub(super) const CLASSES: &[Class] = &[
    recurrent("GRU", |s| RecurrentPlan::read(s, Cell::gru(s))),
    recurrent("LSTM", |s| RecurrentPlan::read(s, Cell::Lstm)),
    recurrent("SimpleRNN", |s| RecurrentPlan::read(s, Cell::Simple)),
];

const fn recurrent(name: &'static str, parse: fn(&Settings<'_>) -> Parsed) -> Class {
    Class::new(name, parse).called(SIGNATURE, TENSORS)
}

/// The parameters of a recurrent layer's call, and of one that wraps it.
pub(super) const SIGNATURE: Signature = Signature {
    inputs: &["sequences"],
    others: &["initial_state", "mask", "training"],
};

/// Those of them that may be tensors.
pub(super) const TENSORS: &[&str] = &["initial_state", "mask"];

/// What is computed in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Simple,
    /// With the gates input, forget, candidate and output, in this order.
    Lstm,
    /// With the gates update, reset and candidate, in this order. With `reset_after` the reset gate
    /// is applied after the recurrent product, which then has a bias of its own.
    Gru {
        reset_after: bool,
    },
}

impl Cell {
    fn gru(settings: &Settings<'_>) -> Self {
        Self::Gru {
            reset_after: settings.flag("reset_after", true),
        }
    }

    fn gates(self) -> usize {
        match self {
            Self::Simple => 1,
            Self::Lstm => 4,
            Self::Gru { .. } => 3,
        }
    }

    fn states(self) -> usize {
        match self {
            Self::Lstm => 2,
            Self::Simple | Self::Gru { .. } => 1,
        }
    }
}

/// A recurrent layer's settings.
#[derive(Clone)]
pub(super) struct RecurrentPlan {
    cell: Cell,
    units: usize,
    use_bias: bool,
    activation: Activation,
    gate: Activation,
    /// From the last step to the first.
    pub(super) backwards: bool,
    /// Gives the output of each step, and not only of the last.
    pub(super) sequences: bool,
    /// Gives the states after the last step, too.
    state: bool,
    /// The output of a step that is not valid is zero, and not that of the step before.
    pub(super) zero_if_masked: bool,
    pub(super) is_keras_2: bool,
}

impl RecurrentPlan {
    fn read(settings: &Settings<'_>, cell: Cell) -> Parsed {
        for key in ["stateful", "time_major"] {
            settings.refuse(key, &[Value::from(false)])?;
        }
        Ok(Box::new(Self {
            cell,
            units: settings.size("units")?,
            use_bias: settings.flag("use_bias", true),
            activation: Activation::read(settings, "activation", "tanh")?,
            gate: Activation::read(settings, "recurrent_activation", "sigmoid")?,
            backwards: settings.flag("go_backwards", false),
            sequences: settings.flag("return_sequences", false),
            state: settings.flag("return_state", false),
            zero_if_masked: settings.flag("zero_output_for_mask", false),
            is_keras_2: settings.is_keras_2,
        }))
    }

    /// The shapes of the outputs for an input of this shape.
    ///
    /// # Errors
    /// If the input is not a sequence, or the budget is exceeded.
    pub(super) fn shapes(
        &self,
        input: &[usize],
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        let &[batch, steps, _] = input else {
            return Err(wrong_input(input, "[batch, steps, features]"));
        };
        let units = self.units;
        budget.calls(steps)?;
        budget.tensor(&[batch, steps, self.cell.gates() * units])?;
        let mut outputs = vec![match self.sequences {
            true => vec![batch, steps, units],
            false => vec![batch, units],
        }];
        if self.state {
            outputs.extend(vec![vec![batch, units]; self.cell.states()]);
        }
        Ok(outputs)
    }

    /// Takes the layer's weights.
    ///
    /// # Errors
    /// If one is missing, or does not fit the settings.
    pub(super) fn recurrent(&self, weights: &mut LayerWeights<'_>) -> Result<Recurrent, String> {
        let units = self.units;
        let width = self.cell.gates() * units;
        let kernel = weights.matrix("kernel", [None, Some(width)])?;
        let recurrent = weights.matrix("recurrent_kernel", [Some(units), Some(width)])?;
        let (mut bias, mut recurrent_bias) = (None, None);
        if self.use_bias && self.cell == (Cell::Gru { reset_after: true }) {
            let both = weights.matrix("bias", [Some(2), Some(width)])?;
            let row = |n: usize| both.clone().narrow(0, n, 1).reshape([width]);
            (bias, recurrent_bias) = (Some(row(0)), Some(row(1)));
        } else if self.use_bias {
            bias = Some(weights.vector("bias", Some(width))?);
        }
        Ok(Recurrent {
            plan: self.clone(),
            kernel,
            recurrent,
            bias,
            recurrent_bias,
        })
    }
}

impl LayerPlan for RecurrentPlan {
    fn outputs(
        &self,
        inputs: &[Shape],
        _: &Call,
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        // Keras 2 passes the initial states after the input.
        self.shapes(inputs.first().ok_or(NO_INPUT)?, budget)
    }

    fn weight_count(&self) -> WeightCount {
        WeightCount::trainable(2 + usize::from(self.use_bias))
    }

    fn folders(&self) -> &'static [&'static str] {
        &["/cell"]
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        Ok(Box::new(self.recurrent(weights)?))
    }
}

/// A recurrent layer with its weights.
pub(super) struct Recurrent {
    pub(super) plan: RecurrentPlan,
    /// `[features, gates * units]`.
    kernel: Tensor<2>,
    /// `[units, gates * units]`.
    recurrent: Tensor<2>,
    bias: Option<Tensor<1>>,
    /// The bias of the recurrent product of a GRU with `reset_after`.
    recurrent_bias: Option<Tensor<1>>,
}

/// The input, mask and initial states of a call.
pub(super) struct Start<'a> {
    input: &'a Masked,
    /// The valid steps; all if `None`.
    mask: Option<Mask>,
    /// Empty if they are zero.
    pub(super) states: Vec<DynTensor>,
}

impl<'a> Start<'a> {
    /// The input of a call, and its initial states: by name, or after the input, as Keras 2 passes
    /// them.
    ///
    /// # Errors
    /// If there is no input.
    pub(super) fn of(
        inputs: &'a [Masked],
        kwargs: &Kwargs<'_>,
        is_keras_2: bool,
    ) -> Result<Self, String> {
        let (input, rest) = inputs.split_first().ok_or(NO_INPUT)?;
        let states = rest.iter().chain(kwargs.tensors("initial_state"));
        let states: Vec<DynTensor> = states.map(|state| state.x.clone()).collect();
        // Keras 3 passes the mask of a layer's input on only if that is its one tensor
        // (keras/src/layers/layer.py, "Populate mask argument(s)").
        let has_mask = is_keras_2 || states.is_empty() || kwargs.tensors("mask").next().is_some();
        Ok(Self {
            input,
            mask: input.mask().filter(|_| has_mask),
            states,
        })
    }
}

impl Recurrent {
    fn gate(&self, t: Tensor<2>) -> Tensor<2> {
        match self.plan.gate {
            Activation::Sigmoid => sigmoid(t),
            other => other.of_tensor(t, 1),
        }
    }

    /// One step: from `x kernel + bias` and the states to the new states, the output first.
    fn step(&self, x: Tensor<2>, states: &[Tensor<2>]) -> Vec<Tensor<2>> {
        let units = self.plan.units;
        let h = &states[0];
        let part = |t: &Tensor<2>, n: usize| t.clone().narrow(1, n * units, units);
        let activation = |t: Tensor<2>| self.plan.activation.of_tensor(t, 1);
        match self.plan.cell {
            Cell::Simple => {
                let sum = x + h.clone().matmul(self.recurrent.clone());
                vec![activation(sum)]
            }
            Cell::Lstm => {
                let z = x + h.clone().matmul(self.recurrent.clone());
                let (input, forget) = (self.gate(part(&z, 0)), self.gate(part(&z, 1)));
                let candidate = activation(part(&z, 2));
                let cell = forget * states[1].clone() + input * candidate;
                let output = self.gate(part(&z, 3));
                vec![output * activation(cell.clone()), cell]
            }
            Cell::Gru { reset_after: true } => {
                let mut inner = h.clone().matmul(self.recurrent.clone());
                if let Some(bias) = &self.recurrent_bias {
                    inner = inner + bias.clone().unsqueeze_dim::<2>(0);
                }
                let update = self.gate(part(&x, 0) + part(&inner, 0));
                let reset = self.gate(part(&x, 1) + part(&inner, 1));
                let candidate = activation(part(&x, 2) + reset * part(&inner, 2));
                vec![update.clone() * h.clone() + (update.neg() + 1.0) * candidate]
            }
            Cell::Gru { reset_after: false } => {
                let columns = |n: usize| part(&self.recurrent, n);
                let update = self.gate(part(&x, 0) + h.clone().matmul(columns(0)));
                let reset = self.gate(part(&x, 1) + h.clone().matmul(columns(1)));
                let candidate = part(&x, 2) + (reset * h.clone()).matmul(columns(2));
                let candidate = activation(candidate);
                vec![update.clone() * h.clone() + (update.neg() + 1.0) * candidate]
            }
        }
    }

    fn initial_states(
        &self,
        given: &[DynTensor],
        batch: usize,
        device: &Device,
    ) -> Result<Vec<Tensor<2>>, String> {
        let count = self.plan.cell.states();
        let shape = [batch, self.plan.units];
        if given.is_empty() {
            return Ok(vec![Tensor::zeros(shape, device); count]);
        }
        let state = |value: &DynTensor| match value {
            DynTensor::R2(t) if t.dims() == shape => Ok(t.clone()),
            other => Err(format!(
                "its `initial_state` has the shape {:?}, and its states have {shape:?}",
                other.shape()
            )),
        };
        match given.len() == count {
            true => given.iter().map(state).collect(),
            false => Err(format!(
                "it has {count} states, and its `initial_state` has {}",
                given.len()
            )),
        }
    }

    /// Runs all steps, from these initial states.
    ///
    /// # Errors
    /// If the input or the states do not fit.
    pub(super) fn run(
        &self,
        start: &Start<'_>,
        states: &[DynTensor],
    ) -> Result<Vec<Masked>, String> {
        let Start { input, mask, .. } = start;
        let plan = &self.plan;
        let DynTensor::R3(x) = &input.x else {
            return Err(wrong_input(&input.x.shape(), "[batch, steps, features]"));
        };
        let [batch, steps, features] = x.dims();
        let [takes, width] = self.kernel.dims();
        if features != takes {
            return Err(format!(
                "its kernel takes {takes} features, and its input has {features}"
            ));
        }
        // The products with the kernel do not depend on the states: all steps at once.
        let rows = x.clone().reshape([batch * steps, features]);
        let mut products = rows.matmul(self.kernel.clone());
        if let Some(bias) = &self.bias {
            products = products + bias.clone().unsqueeze_dim::<2>(0);
        }
        let products = products.reshape([batch, steps, width]);
        let mut states = self.initial_states(states, batch, &x.device())?;
        let mut outputs = Vec::new();
        // The output before the first valid step is zero, even with an initial state.
        let mut output = Tensor::<2>::zeros([batch, plan.units], &x.device());
        for i in 0..steps {
            let step = if plan.backwards { steps - 1 - i } else { i };
            let now = products.clone().narrow(1, step, 1).reshape([batch, width]);
            let next = self.step(now, &states);
            (output, states) = match mask {
                None => (next[0].clone(), next),
                Some(mask) => {
                    let is_valid = mask.clone().narrow(1, step, 1).repeat_dim(1, plan.units);
                    let otherwise = match plan.zero_if_masked {
                        true => output.zeros_like(),
                        false => output,
                    };
                    let output = otherwise.mask_where(is_valid.clone(), next[0].clone());
                    let both = states.into_iter().zip(next);
                    let both = both.map(|(old, new)| old.mask_where(is_valid.clone(), new));
                    (output, both.collect())
                }
            };
            if plan.sequences {
                outputs.push(output.clone().unsqueeze_dim::<3>(1));
            }
        }
        let mut results = Vec::new();
        results.push(match plan.sequences {
            true if outputs.is_empty() => {
                let none = Tensor::<3>::zeros([batch, 0, plan.units], &x.device());
                Masked::with_mask_of(DynTensor::R3(none), input)
            }
            true => Masked::with_mask_of(DynTensor::R3(Tensor::cat(outputs, 1)), input),
            false => Masked::unmasked(DynTensor::R2(output)),
        });
        if plan.state {
            let states = states.into_iter().map(DynTensor::R2);
            results.extend(states.map(Masked::unmasked));
        }
        Ok(results)
    }
}

impl Layer for Recurrent {
    fn forward(&self, inputs: &[Masked], kwargs: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let start = Start::of(inputs, kwargs, self.plan.is_keras_2)?;
        self.run(&start, &start.states)
    }
}
