//! Activations by name (keras.io/api/layers/activations), and the layers that are one.

use ::burn::tensor::{Tensor, activation};
use serde_json::Value as Json;

use super::{Config, Extra, Layer, keeping_mask, one};
use crate::base::error::Error;
use crate::workloads::keras::config::is_custom;
use crate::workloads::keras::value::{Binary, Flow, Value, each};
use crate::workloads::keras::weights::Vars;

/// An activation with what it depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    Linear,
    Celu,
    Elu(f64),
    Exponential,
    Gelu,
    /// By an approximation with tanh.
    GeluByTanh,
    Glu,
    HardShrink,
    HardSigmoid,
    /// Keras 2's: clip(0.2 x + 0.5, 0, 1).
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
    /// The activation that a configuration names; none is linear.
    ///
    /// # Errors
    /// If it is not one that Keras has under a plain name.
    pub(crate) fn of(config: &Config<'_>, key: &str, default: &str) -> Result<Self, String> {
        let name = match config.get(key) {
            None => default,
            Some(Json::String(name)) => name,
            Some(object) => {
                return Self::of_object(object, config.is_keras_2)
                    .unwrap_or_else(|| Err("it is a function of its own".into()))
                    .map_err(|what| format!("its `{key}`: {what}"));
            }
        };
        Self::named(name, config.is_keras_2)
            .ok_or_else(|| format!("its `{key}` of `{}` is not supported", name.escape_debug()))
    }

    /// An activation that is a layer: Keras writes its own functions as plain names, so that an object
    /// of another kind has code of its own.
    fn of_object(object: &Json, is_keras_2: bool) -> Option<Result<Self, String>> {
        let class = object.get("class_name")?.as_str()?;
        let map = object.get("config")?.as_object()?;
        let is_layer = ["Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"].contains(&class);
        (is_layer && !is_custom(object)).then(|| Self::of_layer(class, &Config { map, is_keras_2 }))
    }

    /// The activation that a layer is.
    fn of_layer(class: &str, config: &Config<'_>) -> Result<Self, String> {
        Ok(match class {
            "Activation" => Self::of(config, "activation", "linear")?,
            "ReLU" => Self::Relu(
                config.number("max_value", f64::INFINITY),
                config.number("negative_slope", 0.0),
                config.number("threshold", 0.0),
            ),
            "LeakyReLU" => {
                // Keras 2 calls it alpha.
                let alpha = config.number("alpha", 0.3);
                Self::Relu(f64::INFINITY, config.number("negative_slope", alpha), 0.0)
            }
            "ELU" => Self::Elu(config.number("alpha", 1.0)),
            _ => match config.get("axis") {
                None => Self::Softmax(-1),
                Some(axis) => Self::Softmax(axis.as_i64().ok_or("its `axis` is not one axis")?),
            },
        })
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

    /// The shape that it makes of one.
    ///
    /// # Errors
    /// If it halves what cannot be halved.
    pub(super) fn planned(self, input: &[usize]) -> Result<Vec<usize>, String> {
        let mut shape = input.to_vec();
        match shape.last_mut() {
            Some(last) if self == Self::Glu => {
                if !last.is_multiple_of(2) {
                    return Err(format!("glu halves the last axis, which has {last}"));
                }
                *last /= 2;
            }
            _ => {}
        }
        Ok(shape)
    }

    /// # Errors
    /// If it goes along an axis that the tensor does not have.
    pub(crate) fn apply(self, x: Value) -> Result<Value, String> {
        let axis = x.axis(match self {
            Self::Softmax(axis) => axis,
            _ => -1,
        })?;
        self.planned(&x.shape())?;
        Ok(each!(x, t => self.of_tensor(t, axis)))
    }

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
            Self::Relu(most, slope, threshold) => relu(t, most, slope, threshold),
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

/// f(x) = max_value for x >= max_value, x for threshold < x, slope * (x - threshold) below.
fn relu<const D: usize>(t: Tensor<D>, most: f64, slope: f64, threshold: f64) -> Tensor<D> {
    if threshold == 0.0 && slope == 0.0 && most.is_infinite() {
        return activation::relu(t);
    }
    let below = t.clone().lower_equal_elem(threshold);
    let negative = (t.clone() - threshold) * slope;
    let upper = if most.is_finite() {
        t.clamp_max(most)
    } else {
        t
    };
    upper.mask_where(below, negative)
}

/// As Keras 3 computes it (keras/src/backend/tensorflow/nn.py, `sparsemax`): after A. F. T. Martins
/// and R. F. Astudillo (2016), "From softmax to sparsemax", but with the sum of all cumulative sums
/// of the support where their algorithm 1 has the last one.
fn sparsemax<const D: usize>(t: Tensor<D>, axis: usize) -> Tensor<D> {
    let sorted = t.clone().sort_descending(axis);
    let sums = sorted.clone().cumsum(axis);
    let ranks = sorted.ones_like().cumsum(axis);
    let inside = (sorted - (sums.clone() - 1.0) / ranks).greater_elem(0.0);
    let support = inside.clone().float().sum_dim(axis);
    let sum = sums.mask_fill(inside.bool_not(), 0.0).sum_dim(axis);
    (t - (sum - 1.0) / support).clamp_min(0.0)
}

/// `Activation`, and the layers that are an activation with numbers of its own.
pub(super) struct Activated {
    activation: Activation,
    /// It is a layer that leaves out what a mask hides.
    heeds_mask: bool,
}

impl Activated {
    pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Self, String> {
        Ok(Self {
            activation: Activation::of_layer(class, config)?,
            heeds_mask: class == "Softmax",
        })
    }
}

impl Layer for Activated {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        if self.heeds_mask && input.mask().is_some() {
            return Err("a mask for Softmax is not supported".into());
        }
        let y = self.activation.apply(input.x.clone())?;
        Ok(keeping_mask(input, y))
    }
}

/// `Softmax` over several axes at once.
pub(super) struct SoftmaxOver(Vec<i64>);

impl SoftmaxOver {
    /// The layer, if its configuration has a list of axes.
    pub(super) fn build(config: &Config<'_>) -> Result<Option<Self>, String> {
        match config.get("axis") {
            Some(Json::Array(_)) => super::norm::axes(config).map(|axes| Some(Self(axes))),
            _ => Ok(None),
        }
    }
}

impl Layer for SoftmaxOver {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        if input.mask().is_some() {
            return Err("a mask for Softmax is not supported".into());
        }
        let places = self.0.iter().map(|&axis| input.x.axis(axis));
        let places = places.collect::<Result<Vec<usize>, String>>()?;
        let y = each!(input.x.clone(), t => {
            let most = places.iter().fold(t.clone(), |t, &axis| t.max_dim(axis));
            let powers = (t - most).exp();
            let sum = places.iter().fold(powers.clone(), |t, &axis| t.sum_dim(axis));
            powers / sum
        });
        Ok(keeping_mask(input, y))
    }
}

/// A slope for each channel, or for each element.
pub(super) struct PRelu(Value);

impl PRelu {
    pub(super) fn build(vars: &mut Vars<'_>) -> Result<Self, Error> {
        // Of the rank of the input without its batch, which only the file tells.
        let rank = vars.rank_of_next().unwrap_or(1);
        Ok(Self(vars.next("alpha", &vec![None; rank])?))
    }
}

impl Layer for PRelu {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let positive = each!(input.x.clone(), t => activation::relu(t));
        let negative = each!(input.x.clone(), t => t.clamp_max(0.0));
        let scaled = negative.onto(self.0.clone(), Binary::Multiply)?;
        Ok(keeping_mask(input, positive.with(scaled, Binary::Add)?))
    }
}
