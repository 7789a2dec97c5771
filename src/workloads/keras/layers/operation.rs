//! Operations between tensors in a Functional model, such as `a + b`, `x * 0.5` or `x[:, 0]`, and
//! those that Keras writes to compute a mask. What is true is 1, what is not is 0.

use ::burn::tensor::{Tensor, activation};
use serde_json::Value as Json;

use super::items::Items;
use super::plan::joined;
use crate::workloads::keras::call::{self, Arg, Call};
use crate::workloads::keras::config::LayerSpec;
use crate::workloads::keras::npy::Array;
use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::{Binary, Flow, Value, axis_of, broadcast, each};
use crate::workloads::keras::wiring::Given;

/// What a call of an operation computes.
#[derive(Debug)]
pub(in crate::workloads::keras) enum Operation {
    Binary(Binary),
    Unary(Unary),
    Reduce(Reduce),
    /// Along an axis, counted from the end if negative.
    Concatenate(i64),
    /// Axes of size 1, at their places in the result.
    ExpandDims(Vec<i64>),
    Items(Items),
}

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
    /// To another type of floats.
    Same,
    /// To a type of whole numbers.
    Whole,
    /// To whether it is not 0.
    IsSet,
}

impl Unary {
    fn of<const D: usize>(self, t: Tensor<D>) -> Tensor<D> {
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
            Self::Same => t,
            Self::Whole => t.trunc(),
            Self::IsSet => t.not_equal_elem(0.0).float(),
        }
    }

    /// The change to a type, by its name.
    fn cast(dtype: &str) -> Option<Self> {
        match dtype {
            "bool" => Some(Self::IsSet),
            name if name.contains("int") => Some(Self::Whole),
            name if name.contains("float") => Some(Self::Same),
            _ => None,
        }
    }
}

/// One value of those along some axes, which may be kept with size 1.
#[derive(Debug)]
pub(in crate::workloads::keras) struct Reduce {
    to: To,
    axes: Vec<i64>,
    keeps: bool,
}

#[derive(Clone, Copy, Debug)]
enum To {
    Mean,
    Sum,
    Any,
    All,
}

/// The name of an operation: Keras 3's class, or the function that Keras 2 names.
fn name(layer: &LayerSpec) -> Option<&str> {
    match layer.class.as_str() {
        "TFOpLambda" => layer.config.get("function")?.as_str()?.rsplit('.').next(),
        class => Some(class),
    }
}

fn binary(name: &str) -> Option<Binary> {
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
        "Less" | "less" => Binary::Less,
        "LogicalOr" | "logical_or" => Binary::Or,
        "LogicalAnd" | "logical_and" => Binary::And,
        _ => return None,
    })
}

fn unary(name: &str) -> Option<Unary> {
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
        _ => return None,
    })
}

fn reduction(name: &str) -> Option<To> {
    Some(match name {
        "Mean" | "reduce_mean" => To::Mean,
        "Sum" | "reduce_sum" => To::Sum,
        "Any" | "reduce_any" => To::Any,
        "All" | "reduce_all" => To::All,
        _ => return None,
    })
}

/// Whether an operation of this name is known; its call may still ask for what is not.
pub(super) fn is_supported(layer: &LayerSpec) -> bool {
    name(layer).is_some_and(|name| {
        let others = "Cast cast Concatenate concat ExpandDims expand_dims GetItem";
        binary(name).is_some()
            || unary(name).is_some()
            || reduction(name).is_some()
            || others.split(' ').any(|other| other == name)
    })
}

/// What the numbers of a result may be, beside those of the operands.
#[derive(Clone, Copy)]
pub(in crate::workloads::keras) enum Reached {
    Same,
    /// Whether something holds.
    Truth,
    /// Parts of whole numbers.
    Float,
    /// Whole numbers that the type of the operands may not have.
    Beyond,
    /// Parts, which are rounded to the type of the operands.
    Rounded,
}

/// A plain value that a call depends on: Keras 3 keeps it in the configuration, Keras 2 in the call,
/// and in the configuration what holds for all layers.
fn setting<'a>(layer: &'a LayerSpec, call: &'a Call, key: &str) -> Option<&'a Json> {
    let configured = match layer.class.as_str() {
        "TFOpLambda" => None,
        _ => layer.config.get(key),
    };
    let value = configured.or_else(|| call.value(key));
    value.filter(|value| !value.is_null())
}

/// The type that an operation changes its tensor to, if that is what it does.
pub(in crate::workloads::keras) fn cast_to<'a>(
    layer: &'a LayerSpec,
    call: &'a Call,
) -> Option<&'a str> {
    let is_cast = matches!(name(layer), Some("Cast" | "cast"));
    setting(layer, call, "dtype").filter(|_| is_cast)?.as_str()
}

impl Operation {
    /// What it may give of whole numbers.
    pub(in crate::workloads::keras) fn reached(&self, is_keras_2: bool) -> Reached {
        match self {
            Self::Binary(op) => match op {
                Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Power => {
                    Reached::Beyond
                }
                Binary::Divide => Reached::Float,
                Binary::Maximum | Binary::Minimum => Reached::Same,
                _ => Reached::Truth,
            },
            Self::Unary(op) => match op {
                Unary::Negative | Unary::Absolute | Unary::Square => Reached::Beyond,
                Unary::Not | Unary::IsSet => Reached::Truth,
                Unary::Relu | Unary::Zeros | Unary::Ones | Unary::Same | Unary::Whole => {
                    Reached::Same
                }
                _ => Reached::Float,
            },
            Self::Reduce(Reduce { to, .. }) => match to {
                To::Sum => Reached::Beyond,
                To::Mean if is_keras_2 => Reached::Rounded,
                To::Mean => Reached::Float,
                To::Any | To::All => Reached::Truth,
            },
            Self::Concatenate(_) | Self::ExpandDims(_) | Self::Items(_) => Reached::Same,
        }
    }

    /// # Errors
    /// If it is not known, or lacks what it needs.
    pub(in crate::workloads::keras) fn of(layer: &LayerSpec, call: &Call) -> Result<Self, String> {
        let name = name(layer).ok_or("it names no function")?;
        if let Some(op) = binary(name) {
            return Ok(Self::Binary(op));
        }
        if let Some(op) = unary(name) {
            return Ok(Self::Unary(op));
        }
        let setting = |key: &str| setting(layer, call, key);
        let axes = || -> Result<Vec<i64>, String> {
            let axes = match setting("axis") {
                Some(Json::Array(axes)) => axes.iter().map(Json::as_i64).collect(),
                Some(axis) => axis.as_i64().map(|axis| vec![axis]),
                None => return Err("it goes over all values, the batch included".into()),
            };
            axes.ok_or_else(|| "its `axis` is no axis".into())
        };
        if let Some(to) = reduction(name) {
            let keeps = setting("keepdims").and_then(Json::as_bool).unwrap_or(false);
            return Ok(Self::Reduce(Reduce {
                to,
                axes: axes()?,
                keeps,
            }));
        }
        match name {
            "Cast" | "cast" => {
                let dtype = setting("dtype").and_then(Json::as_str);
                let cast = dtype.and_then(Unary::cast);
                cast.map(Self::Unary)
                    .ok_or_else(|| "its `dtype` is no type of numbers".into())
            }
            "Concatenate" | "concat" => match axes()?[..] {
                [axis] => Ok(Self::Concatenate(axis)),
                _ => Err("its `axis` is no axis".into()),
            },
            "ExpandDims" | "expand_dims" => Ok(Self::ExpandDims(axes()?)),
            "GetItem" => Items::of(call).map(Self::Items),
            other => Err(format!(
                "the operation `{}` is not supported",
                other.escape_debug()
            )),
        }
    }

    /// What a call is given, in the order of its arguments: tensors, and what is made of the numbers
    /// and arrays among them.
    fn operands<T: Clone>(
        &self,
        call: &Call,
        given: &Given<T>,
        constant: impl Fn(&Array) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut tensors = given.args.iter();
        let mut operands = Vec::new();
        let mut args: Vec<&Arg> = match self {
            Self::Items(_) => call.args.iter().take(1).collect(),
            _ => call.args.iter().collect(),
        };
        let named = call.kwargs.iter().filter(|(name, _)| is_operand(name));
        if let [Arg::List(all)] = args[..] {
            args = all.iter().collect();
        }
        for arg in args {
            operands.push(match arg {
                Arg::Tensor(_) => tensors.next().cloned().ok_or("it lacks a tensor")?,
                other => constant(&array(other)?)?,
            });
        }
        for (name, arg) in named {
            let tensor = given.named.iter().find(|(given, _)| given == name);
            operands.push(match tensor {
                Some((_, tensor)) => tensor.clone(),
                None => constant(&array(arg)?)?,
            });
        }
        let takes = match self {
            Self::Binary(_) => operands.len() == 2,
            Self::Concatenate(_) => !operands.is_empty(),
            _ => operands.len() == 1,
        };
        match takes {
            true => Ok(operands),
            false => Err(format!("it is called with {} tensors", operands.len())),
        }
    }

    /// The shape of what a call gives.
    ///
    /// # Errors
    /// If its tensors do not fit, or lack an axis that it goes along.
    pub(in crate::workloads::keras) fn planned(
        &self,
        call: &Call,
        given: &Given<Shape>,
    ) -> Result<Shape, String> {
        self.shape(&self.operands(call, given, |array| Ok(array.shape.clone()))?)
    }

    fn shape(&self, operands: &[Shape]) -> Result<Shape, String> {
        let first = operands.first().ok_or("it is called without tensors")?;
        match self {
            Self::Binary(_) => broadcast(first, operands.get(1).unwrap_or(first)),
            Self::Unary(_) => Ok(first.clone()),
            Self::Reduce(reduce) => reduce.shape(first),
            Self::Concatenate(axis) => joined(*axis, operands),
            Self::ExpandDims(axes) => expanded(axes, first),
            Self::Items(items) => Ok(items.parts(first)?.1),
        }
    }

    /// # Errors
    /// As [`Operation::planned`].
    pub(in crate::workloads::keras) fn run(
        &self,
        call: &Call,
        given: &Given<Flow>,
    ) -> Result<Vec<Flow>, String> {
        let named = given.named.iter().map(|(_, flow)| flow);
        let tensor = given.args.iter().chain(named).next();
        let device = tensor.ok_or("it is called without tensors")?.x.device();
        let constant =
            |array: &Array| Value::from_data(array.values.clone(), &array.shape, &device);
        let operands = self.operands(call, given, |array| constant(array).map(Flow::of))?;
        let mut values: Vec<Value> = operands.into_iter().map(|flow| flow.x).collect();
        let shapes: Vec<Shape> = values.iter().map(Value::shape).collect();
        let shape = self.shape(&shapes)?;
        if let Self::Concatenate(axis) = self {
            let axis = axis_of(shape.len(), *axis)?;
            return Ok(vec![Flow::of(Value::concat(values, axis)?)]);
        }
        let last = values.pop().ok_or("it is called without tensors")?;
        let made = match (self, values.pop()) {
            (Self::Binary(op), Some(first)) => first.with(last, *op)?,
            (Self::Unary(op), _) => each!(last, t => op.of(t)),
            (Self::Reduce(reduce), _) => reduce.run(last)?,
            (Self::Items(items), _) => items.run(last)?,
            _ => last,
        };
        Ok(vec![Flow::of(made.reshape(&shape)?)])
    }
}

/// Whether Keras hands an operation a tensor by this name.
pub(super) fn is_operand(name: &str) -> bool {
    matches!(name, "y" | "x2")
}

/// The numbers of an argument that is no tensor.
fn array(arg: &Arg) -> Result<Array, String> {
    let array = match arg {
        Arg::Constant(array) => Some(Array::clone(array)),
        Arg::Value(value) => call::array(value),
        Arg::Tensor(_) | Arg::List(_) | Arg::Dictionary(_) => None,
    };
    array.ok_or_else(|| "one of its arguments is neither a tensor nor numbers".into())
}

impl Reduce {
    fn places(&self, rank: usize) -> Result<Vec<usize>, String> {
        let axes = self.axes.iter().map(|&axis| axis_of(rank, axis));
        axes.collect()
    }

    fn shape(&self, input: &[usize]) -> Result<Shape, String> {
        let axes = self.places(input.len())?;
        let sizes = input.iter().enumerate();
        let kept = sizes.filter(|(i, _)| self.keeps || !axes.contains(i));
        let kept = kept.map(|(i, &size)| if axes.contains(&i) { 1 } else { size });
        Ok(kept.collect())
    }

    /// Along its axes, which are kept.
    fn run(&self, mut x: Value) -> Result<Value, String> {
        for axis in self.places(x.rank())? {
            x = each!(x, t => match self.to {
                To::Mean => t.mean_dim(axis),
                To::Sum => t.sum_dim(axis),
                To::Any => Unary::IsSet.of(t).max_dim(axis),
                To::All => Unary::IsSet.of(t).min_dim(axis),
            });
        }
        Ok(x)
    }
}

fn expanded(axes: &[i64], input: &[usize]) -> Result<Shape, String> {
    let rank = input.len() + axes.len();
    let places = axes.iter().map(|&axis| axis_of(rank, axis));
    let places = places.collect::<Result<Vec<usize>, String>>()?;
    let mut sizes = input.iter().copied();
    let size = |i| match places.contains(&i) {
        true => Some(1),
        false => sizes.next(),
    };
    let shape: Option<Shape> = (0..rank).map(size).collect();
    shape.ok_or_else(|| "its `axis` has an axis twice".into())
}
