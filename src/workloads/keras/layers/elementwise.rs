//! What operations do to each element, by the names that Keras 2 and 3 have for them.

use ::burn::tensor::{Tensor, activation};

use super::activation::Activation;
use crate::workloads::keras::value::Binary;

/// What is done to each element.
#[derive(Clone, Copy, Debug)]
pub(in crate::workloads::keras) enum Unary {
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
    /// To another type of floats.
    Same,
    /// To a type of whole numbers.
    Whole,
    /// To whether it is not 0.
    IsSet,
}

impl Unary {
    pub(super) fn of<const D: usize>(self, t: Tensor<D>) -> Tensor<D> {
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
            // In this order, so that the lower end wins where they are the wrong way round.
            Self::Clip(least, most) => t.clamp_max(most).clamp_min(least),
            Self::Same => t,
            Self::Whole => t.trunc(),
            Self::IsSet => t.not_equal_elem(0.0).float(),
        }
    }

    /// The change to a type, by its name.
    pub(super) fn cast(dtype: &str) -> Option<Self> {
        match dtype {
            "bool" => Some(Self::IsSet),
            name if name.contains("int") => Some(Self::Whole),
            name if name.contains("float") => Some(Self::Same),
            _ => None,
        }
    }
}

/// An operation on two tensors, by its name.
pub(super) fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "Add" | "add" | "__add__" => Binary::Add,
        "Subtract" | "subtract" | "sub" => Binary::Subtract,
        "Multiply" | "multiply" | "mul" => Binary::Multiply,
        "Divide" | "TrueDivide" | "divide" | "truediv" => Binary::Divide,
        "Maximum" | "maximum" => Binary::Maximum,
        "Minimum" | "minimum" => Binary::Minimum,
        "Power" | "pow" => Binary::Power,
        "Equal" | "equal" => Binary::Equal,
        "NotEqual" | "not_equal" => Binary::NotEqual,
        "Greater" | "greater" => Binary::Greater,
        "GreaterEqual" | "greater_equal" => Binary::GreaterEqual,
        "Less" | "less" => Binary::Less,
        "LessEqual" | "less_equal" => Binary::LessEqual,
        "FloorDivide" | "floordiv" | "floor_div" => Binary::FloorDivide,
        "Mod" | "floormod" | "mod" => Binary::Modulo,
        "squared_difference" => Binary::SquaredDifference,
        "divide_no_nan" => Binary::DivideNoNan,
        "LogicalOr" | "logical_or" => Binary::Or,
        "LogicalAnd" | "logical_and" => Binary::And,
        _ => return None,
    })
}

/// An operation on each element that depends on nothing else, by its name.
pub(super) fn unary(name: &str) -> Option<Unary> {
    Some(match name {
        "Negative" | "negative" | "neg" => Unary::Negative,
        "Absolute" | "Abs" | "abs" => Unary::Absolute,
        "Exp" | "exp" => Unary::Exp,
        "Log" | "log" => Unary::Log,
        "Sqrt" | "sqrt" => Unary::Sqrt,
        "Square" | "square" => Unary::Square,
        "Relu" | "relu" => Unary::Relu,
        "Sigmoid" | "sigmoid" => Unary::Sigmoid,
        "Tanh" | "tanh" => Unary::Tanh,
        "LogicalNot" | "logical_not" => Unary::Not,
        "ZerosLike" | "zeros_like" => Unary::Zeros,
        "OnesLike" | "ones_like" => Unary::Ones,
        "ConvertToTensor" => Unary::Same,
        _ => return None,
    })
}

/// An activation that is called as an operation, by its name, with the numbers that it depends on.
pub(super) fn activation(
    name: &str,
    number: impl Fn(&str) -> Option<f64>,
    is_set: impl Fn(&str, bool) -> bool,
) -> Option<Activation> {
    let axis = || number("axis").map_or(-1, |axis| axis as i64);
    let leaky = |slope: f64| Activation::Relu(f64::INFINITY, slope, 0.0);
    Some(match name {
        "Softmax" | "softmax" => Activation::Softmax(axis()),
        // As Keras 3 takes for granted, and Keras 2 does not.
        "Gelu" if is_set("approximate", true) => Activation::GeluByTanh,
        "gelu" if is_set("approximate", false) => Activation::GeluByTanh,
        "Gelu" | "gelu" => Activation::Gelu,
        "Silu" | "silu" | "swish" => Activation::Silu,
        "Relu6" | "relu6" => Activation::Relu(6.0, 0.0, 0.0),
        "LeakyRelu" => leaky(number("negative_slope").unwrap_or(0.2)),
        "leaky_relu" => leaky(number("alpha").unwrap_or(0.2)),
        "Softplus" | "softplus" => Activation::Softplus,
        "Softsign" | "softsign" => Activation::Softsign,
        "Selu" | "selu" => Activation::Selu,
        "Elu" => Activation::Elu(number("alpha").unwrap_or(1.0)),
        "elu" => Activation::Elu(1.0),
        _ => return None,
    })
}
