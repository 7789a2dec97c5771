//! Operations on each element of one tensor.

use burn::tensor::{Tensor, activation};

use crate::tensor::dtype;

/// What is computed of each element.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unary {
    Negative,
    Absolute,
    Exp,
    Log,
    Sqrt,
    Square,
    Relu,
    Sigmoid,
    Tanh,
    Not,
    Zeros,
    Ones,
    /// Between a least and a greatest value.
    Clip(f64, f64),
    /// A cast to a type of floats.
    ToFloat,
    /// A cast to a type of integers.
    ToInteger,
    /// A cast to `bool`.
    ToBool,
}

impl Unary {
    pub(super) fn apply<const D: usize>(self, t: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Negative => t.neg(),
            Self::Absolute => t.abs(),
            Self::Exp => t.exp(),
            Self::Log => t.log(),
            Self::Sqrt => t.sqrt(),
            Self::Square => t.clone() * t,
            Self::Relu => activation::relu(t),
            Self::Sigmoid => activation::sigmoid(t),
            Self::Tanh => t.tanh(),
            Self::Not => t.equal_elem(0.0).float(),
            Self::Zeros => t.zeros_like(),
            Self::Ones => t.ones_like(),
            // In this order, so that the lower end wins where it is above the upper one.
            Self::Clip(least, greatest) => t.clamp_max(greatest).clamp_min(least),
            Self::ToFloat => t,
            Self::ToInteger => t.trunc(),
            Self::ToBool => t.not_equal_elem(0.0).float(),
        }
    }

    /// The cast to a type.
    pub(super) fn cast(to: &str) -> Option<Self> {
        match to {
            "bool" => Some(Self::ToBool),
            name if dtype::is_integer(name) => Some(Self::ToInteger),
            name if name.contains("float") => Some(Self::ToFloat),
            _ => None,
        }
    }
}
