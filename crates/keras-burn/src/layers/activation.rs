//! Activation functions by name (keras.io/api/layers/activations), and the layers that are one.

use std::any::Any;

use burn::tensor::{Tensor, activation};
use serde_json::Value;

use super::class::{Class, Kwargs, Layer, LayerPlan, Parsed, WeightCount, Weightless, one};
use super::weights::LayerWeights;
use crate::config::call::Call;
use crate::config::model::is_custom;
use crate::config::settings::Settings;
use crate::config::signature::Signature;
use crate::tensor::budget::Budget;
use crate::tensor::shape::{Shape, axis_indices};
use crate::tensor::{Binary, DynTensor, Masked, map};

pub(super) const CLASSES: &[Class] = &[
    Class::new("Activation", |s| {
        activated(Activation::read(s, "activation", "linear"), false)
    }),
    Class::new("ELU", |s| {
        activated(Ok(Activation::Elu(s.number("alpha", 1.0))), false)
    }),
    Class::new("LeakyReLU", |s| {
        // Keras 2 calls it alpha.
        let slope = s.number("negative_slope", s.number("alpha", 0.3));
        activated(Ok(Activation::Relu(f64::INFINITY, slope, 0.0)), false)
    }),
    Class::new("PReLU", |_| Ok(Box::new(PReluPlan))),
    Class::new("ReLU", |s| {
        let max = s.number("max_value", f64::INFINITY);
        let slope = s.number("negative_slope", 0.0);
        let relu = Activation::Relu(max, slope, s.number("threshold", 0.0));
        activated(Ok(relu), false)
    }),
    Class::new("Softmax", |s| match s.get("axis") {
        Some(Value::Array(_)) => {
            let axes = s.axes("axis")?.unwrap_or_default();
            Ok(Box::new(SoftmaxOver { axes }))
        }
        _ => activated(s.axis("axis", -1).map(Activation::Softmax), true),
    })
    // A tensor as a mask is not supported.
    .called(
        Signature {
            inputs: &["inputs"],
            others: &["mask"],
        },
        &[],
    ),
];

/// An activation function with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    Linear,
    Celu,
    Elu(f64),
    Exponential,
    Gelu,
    /// The approximation with tanh.
    GeluByTanh,
    Glu,
    HardShrink,
    HardSigmoid,
    /// That of Keras 2: clip(0.2 x + 0.5, 0, 1).
    HardSigmoid2,
    HardSilu,
    HardTanh,
    /// max_value (infinite if there is none), negative_slope, threshold.
    Relu(f64, f64, f64),
    LogSigmoid,
    LogSoftmax,
    Mish,
    Selu,
    Sigmoid,
    Silu,
    SoftShrink,
    /// Along an axis, counted from the end if negative.
    Softmax(i64),
    Softplus,
    Softsign,
    SparsePlus,
    SparseSigmoid,
    Sparsemax,
    Squareplus,
    Tanh,
    TanhShrink,
}

impl Activation {
    /// The function that a setting names; linear if it is null and `default` says so.
    ///
    /// # Errors
    /// If Keras has no such function, or it is one with Python code of its own.
    pub(crate) fn read(settings: &Settings<'_>, key: &str, default: &str) -> Result<Self, String> {
        let name = match settings.get(key) {
            None => default,
            Some(Value::String(name)) => name,
            Some(object) => {
                return Self::of_layer(object, settings.is_keras_2)
                    .map_err(|what| format!("its `{key}`: {what}"));
            }
        };
        Self::named(name, settings.is_keras_2).ok_or_else(|| settings.unsupported(key))
    }

    /// The function that a layer is. Keras writes its own functions as plain names, so that an
    /// object that is not such a layer is a function with code of its own.
    fn of_layer(object: &Value, is_keras_2: bool) -> Result<Self, String> {
        let name = object.get("class_name").and_then(Value::as_str);
        let class = CLASSES.iter().find(|class| Some(class.name) == name);
        let map = object.get("config").and_then(Value::as_object);
        if let (Some(class), Some(map)) = (class, map)
            && !is_custom(object)
        {
            let plan = class.parse_plain(&Settings::new(map, is_keras_2))?;
            let plan: &dyn Any = &*plan;
            if let Some(layer) = plan.downcast_ref::<Activated>() {
                return Ok(layer.activation);
            }
        }
        Err("a function with Python code of its own is not supported".into())
    }

    fn named(name: &str, is_keras_2: bool) -> Option<Self> {
        Some(match name {
            "linear" => Self::Linear,
            "celu" => Self::Celu,
            "elu" => Self::Elu(1.0),
            "exponential" => Self::Exponential,
            "gelu" => Self::Gelu,
            "glu" => Self::Glu,
            "hard_shrink" => Self::HardShrink,
            "hard_sigmoid" if is_keras_2 => Self::HardSigmoid2,
            "hard_sigmoid" => Self::HardSigmoid,
            "hard_silu" | "hard_swish" => Self::HardSilu,
            "hard_tanh" => Self::HardTanh,
            "leaky_relu" => Self::Relu(f64::INFINITY, 0.2, 0.0),
            "log_sigmoid" => Self::LogSigmoid,
            "log_softmax" => Self::LogSoftmax,
            "mish" => Self::Mish,
            "relu" => Self::Relu(f64::INFINITY, 0.0, 0.0),
            "relu6" => Self::Relu(6.0, 0.0, 0.0),
            "selu" => Self::Selu,
            "sigmoid" => Self::Sigmoid,
            "silu" | "swish" => Self::Silu,
            "soft_shrink" => Self::SoftShrink,
            "softmax" => Self::Softmax(-1),
            "softplus" => Self::Softplus,
            "softsign" => Self::Softsign,
            "sparse_plus" => Self::SparsePlus,
            "sparse_sigmoid" => Self::SparseSigmoid,
            "sparsemax" => Self::Sparsemax,
            "squareplus" => Self::Squareplus,
            "tanh" => Self::Tanh,
            "tanh_shrink" => Self::TanhShrink,
            _ => return None,
        })
    }

    /// The shape of the result.
    ///
    /// # Errors
    /// If it is a glu, and the last axis has an odd size.
    pub(crate) fn shape(self, input: &[usize]) -> Result<Shape, String> {
        let mut shape = input.to_vec();
        if self == Self::Glu
            && let Some(last) = shape.last_mut()
        {
            if !last.is_multiple_of(2) {
                return Err(format!(
                    "its activation `glu` halves the last axis, whose size {last} is odd"
                ));
            }
            *last /= 2;
        }
        Ok(shape)
    }

    /// # Errors
    /// If the tensor lacks the axis along which the function goes, or as [`Activation::shape`].
    pub(crate) fn apply(self, x: DynTensor) -> Result<DynTensor, String> {
        let axis = x.axis(match self {
            Self::Softmax(axis) => axis,
            _ => -1,
        })?;
        self.shape(&x.shape())?;
        Ok(map!(x, t => self.of_tensor(t, axis)))
    }

    /// `axis` is the index of the axis along which the function goes, if it goes along one.
    pub(crate) fn of_tensor<const D: usize>(self, t: Tensor<D>, axis: usize) -> Tensor<D> {
        match self {
            Self::Linear => t,
            Self::Celu => activation::celu(t, 1.0),
            Self::Elu(alpha) => activation::elu(t, alpha),
            Self::Exponential => t.exp(),
            Self::Gelu => activation::gelu(t),
            Self::GeluByTanh => activation::gelu_approximate(t),
            Self::Glu => {
                let half = t.dims()[axis] / 2;
                let gate = t.clone().narrow(axis, half, half);
                t.narrow(axis, 0, half) * activation::sigmoid(gate)
            }
            Self::HardShrink => activation::hard_shrink(t, 0.5),
            Self::HardSigmoid => ((t + 3.0).clamp(0.0, 6.0)) / 6.0,
            Self::HardSigmoid2 => (t * 0.2 + 0.5).clamp(0.0, 1.0),
            Self::HardSilu => t.clone() * ((t + 3.0).clamp(0.0, 6.0) / 6.0),
            Self::HardTanh => t.clamp(-1.0, 1.0),
            Self::Relu(max, slope, threshold) => relu(t, max, slope, threshold),
            Self::LogSigmoid => activation::log_sigmoid(t),
            Self::LogSoftmax => activation::log_softmax(t, axis),
            Self::Mish => activation::mish(t),
            Self::Selu => activation::selu(t),
            Self::Sigmoid => activation::sigmoid(t),
            Self::Silu => activation::silu(t),
            Self::SoftShrink => activation::soft_shrink(t, 0.5),
            Self::Softmax(_) => activation::softmax(t, axis),
            Self::Softplus => activation::softplus(t, 1.0),
            Self::Softsign => t.clone() / (t.abs() + 1.0),
            Self::SparsePlus => {
                let middle = (t.clone() + 1.0).powi_scalar(2) / 4.0;
                let low = t.clone().lower_equal_elem(-1.0);
                let high = t.clone().greater_equal_elem(1.0);
                middle.mask_fill(low, 0.0).mask_where(high, t)
            }
            Self::SparseSigmoid => ((t + 1.0) * 0.5).clamp(0.0, 1.0),
            Self::Sparsemax => sparsemax(t, axis),
            Self::Squareplus => (t.clone() + (t.powi_scalar(2) + 4.0).sqrt()) * 0.5,
            Self::Tanh => t.tanh(),
            Self::TanhShrink => t.clone() - t.tanh(),
        }
    }
}

/// f(x) = max for x >= max, x for threshold < x, slope * (x - threshold) for x <= threshold.
fn relu<const D: usize>(t: Tensor<D>, max: f64, slope: f64, threshold: f64) -> Tensor<D> {
    if threshold == 0.0 && slope == 0.0 && max.is_infinite() {
        return activation::relu(t);
    }
    let is_below = t.clone().lower_equal_elem(threshold);
    let below = (t.clone() - threshold) * slope;
    let above = match max.is_finite() {
        true => t.clamp_max(max),
        false => t,
    };
    above.mask_where(is_below, below)
}

/// As Keras 3 computes it (keras/src/backend/tensorflow/nn.py, `sparsemax`): after A. F. T. Martins
/// and R. F. Astudillo (2016), "From softmax to sparsemax", but with the sum of all cumulative sums
/// of the support where their algorithm 1 has the last one.
fn sparsemax<const D: usize>(t: Tensor<D>, axis: usize) -> Tensor<D> {
    let sorted = t.clone().sort_descending(axis);
    let sums = sorted.clone().cumsum(axis);
    let ranks = sorted.ones_like().cumsum(axis);
    let is_in_support = (sorted - (sums.clone() - 1.0) / ranks).greater_elem(0.0);
    let support = is_in_support.clone().float().sum_dim(axis);
    let sum = sums.mask_fill(is_in_support.bool_not(), 0.0).sum_dim(axis);
    (t - (sum - 1.0) / support).clamp_min(0.0)
}

const NO_MASK: &str = "a mask for Softmax is not supported";

/// A layer that is an activation function.
#[derive(Clone)]
struct Activated {
    activation: Activation,
    /// It would leave masked elements out.
    uses_mask: bool,
}

fn activated(activation: Result<Activation, String>, uses_mask: bool) -> Parsed {
    Ok(Box::new(Activated {
        activation: activation?,
        uses_mask,
    }))
}

impl Weightless for Activated {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        Ok(vec![self.activation.shape(one(inputs)?)?])
    }
}

impl Layer for Activated {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        if self.uses_mask && input.mask().is_some() {
            return Err(NO_MASK.into());
        }
        let y = self.activation.apply(input.x.clone())?;
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}

/// `Softmax` over several axes at once.
#[derive(Clone)]
struct SoftmaxOver {
    axes: Vec<i64>,
}

impl Weightless for SoftmaxOver {}

impl Layer for SoftmaxOver {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        if input.mask().is_some() {
            return Err(NO_MASK.into());
        }
        let axes = axis_indices(input.x.rank(), &self.axes)?;
        let y = map!(input.x.clone(), t => {
            let max = axes.iter().fold(t.clone(), |t, &axis| t.max_dim(axis));
            let powers = (t - max).exp();
            let sum = axes.iter().fold(powers.clone(), |t, &axis| t.sum_dim(axis));
            powers / sum
        });
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}

/// `PReLU`: a slope for each channel, or for each element.
struct PReluPlan;

impl LayerPlan for PReluPlan {
    fn weight_count(&self) -> WeightCount {
        WeightCount::trainable(1)
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        // It has the rank of the input without the batch, which only the file states.
        let rank = weights.rank_of_next().unwrap_or(1);
        let slopes = weights.next("alpha", &vec![None; rank])?;
        Ok(Box::new(PRelu { slopes }))
    }
}

struct PRelu {
    slopes: DynTensor,
}

impl Layer for PRelu {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        let positive = map!(input.x.clone(), t => activation::relu(t));
        let negative = map!(input.x.clone(), t => t.clamp_max(0.0));
        let scaled = negative.combine_into(self.slopes.clone(), Binary::Multiply)?;
        let y = positive.combine(scaled, Binary::Add)?;
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}
