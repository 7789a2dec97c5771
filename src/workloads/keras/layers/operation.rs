//! Operations between tensors in a Functional model, such as `a + b`, `x * 0.5` or `x[:, 0]`, and
//! those that Keras writes to compute a mask. What is true is 1, what is not is 0.

use serde_json::Value as Json;

use super::activation::Activation;
use super::elementwise::{self, Unary, binary, unary};
use super::items::Items;
use super::matmul::Matmul;
use super::moved::Moved;
use super::plan::joined;
use super::reduce::{Reduce, To, reduction};
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
    /// Along a new axis.
    Stack(i64),
    Activation(Activation),
    Moved(Moved),
    /// The tensor itself, with its mask.
    Itself,
    /// Of the second where the first is not 0, of the third elsewhere.
    Where,
    Matmul(Matmul),
    Items(Items),
}

/// The name of an operation: Keras 3's class, or the function that Keras 2 names.
fn name(layer: &LayerSpec) -> Option<&str> {
    match layer.class.as_str() {
        "TFOpLambda" => layer.config.get("function")?.as_str()?.rsplit('.').next(),
        class => Some(class),
    }
}

/// Whether an operation of this name is known; its call may still ask for what is not.
pub(super) fn is_supported(layer: &LayerSpec) -> bool {
    name(layer).is_some_and(|name| {
        let others = "Cast cast Clip clip_by_value Concatenate concat ExpandDims expand_dims GetItem \
                      Matmul matmul Reshape reshape Stack stack Transpose transpose Where where";
        binary(name).is_some()
            || unary(name).is_some()
            || reduction(name).is_some()
            || elementwise::activation(name, |_| None, |_, default| default).is_some()
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
    /// Whole numbers, in a type that has them.
    Counted,
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
    let is_cast = matches!(name(layer), Some("Cast" | "cast" | "ConvertToTensor"));
    setting(layer, call, "dtype").filter(|_| is_cast)?.as_str()
}

/// Whether it is a change to the type that the tensor has: Keras 3 hands the tensor itself on.
fn changes_nothing(layer: &LayerSpec, call: &Call) -> bool {
    let Some(Arg::Tensor(tensor)) = call.args.first() else {
        return false;
    };
    match layer.class.as_str() {
        "Cast" => tensor.dtype.is_some() && tensor.dtype.as_deref() == cast_to(layer, call),
        "ConvertToTensor" => {
            let to = cast_to(layer, call);
            to.is_none() || tensor.dtype.as_deref() == to
        }
        _ => false,
    }
}

impl Operation {
    /// What it may give of whole numbers.
    pub(in crate::workloads::keras) fn reached(&self, is_keras_2: bool) -> Reached {
        match self {
            Self::Binary(op) => match op {
                Binary::Add
                | Binary::Subtract
                | Binary::Multiply
                | Binary::Power
                | Binary::FloorDivide
                | Binary::Modulo
                | Binary::SquaredDifference => Reached::Beyond,
                Binary::Divide | Binary::DivideNoNan => Reached::Float,
                Binary::Maximum | Binary::Minimum => Reached::Same,
                _ => Reached::Truth,
            },
            Self::Unary(op) => match op {
                Unary::Negative | Unary::Absolute | Unary::Square => Reached::Beyond,
                Unary::Not | Unary::IsSet => Reached::Truth,
                Unary::Clip(..)
                | Unary::Relu
                | Unary::Zeros
                | Unary::Ones
                | Unary::Same
                | Unary::Whole => Reached::Same,
                _ => Reached::Float,
            },
            Self::Reduce(Reduce { to, .. }) => match to {
                To::Sum if is_keras_2 => Reached::Beyond,
                To::Sum => Reached::Counted,
                To::Mean if is_keras_2 => Reached::Rounded,
                To::Mean => Reached::Float,
                To::Max | To::Min => Reached::Same,
                To::Any | To::All => Reached::Truth,
            },
            Self::Activation(_) => Reached::Float,
            Self::Matmul(_) => Reached::Beyond,
            Self::Concatenate(_)
            | Self::Stack(_)
            | Self::Moved(_)
            | Self::Itself
            | Self::Where
            | Self::Items(_) => Reached::Same,
        }
    }

    /// # Errors
    /// If it is not known, or lacks what it needs.
    pub(in crate::workloads::keras) fn of(layer: &LayerSpec, call: &Call) -> Result<Self, String> {
        let name = name(layer).ok_or("it names no function")?;
        if let Some(op) = binary(name) {
            return Ok(Self::Binary(op));
        }
        if changes_nothing(layer, call) {
            return Ok(Self::Itself);
        }
        if let Some(dtype) = cast_to(layer, call) {
            let cast = Unary::cast(dtype).ok_or("its `dtype` is no type of numbers")?;
            return Ok(Self::Unary(cast));
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
            if setting("initial").is_some() {
                return Err("its `initial` is not supported".into());
            }
            return Ok(Self::Reduce(Reduce {
                to,
                axes: axes()?,
                keeps,
            }));
        }
        let number = |key: &str| setting(key).and_then(Json::as_f64);
        let is_set = |key: &str, default: bool| {
            let value = setting(key).and_then(Json::as_bool);
            value.unwrap_or(default)
        };
        if let Some(activation) = elementwise::activation(name, number, is_set) {
            return Ok(Self::Activation(activation));
        }
        let sizes = |key: &str| match setting(key) {
            Some(Json::Array(sizes)) => sizes.iter().map(Json::as_i64).collect(),
            _ => None,
        };
        match name {
            "Clip" | "clip_by_value" => {
                let ends = match name {
                    "Clip" => ["x_min", "x_max"],
                    _ => ["clip_value_min", "clip_value_max"],
                };
                match ends.map(number) {
                    [Some(least), Some(most)] => Ok(Self::Unary(Unary::Clip(least, most))),
                    _ => Err("it is not cut off at plain numbers".into()),
                }
            }
            "Stack" | "stack" => match setting("axis").map_or(Some(0), Json::as_i64) {
                Some(axis) => Ok(Self::Stack(axis)),
                None => Err("its `axis` is no axis".into()),
            },
            "Transpose" => match setting("axes") {
                None => Ok(Self::Moved(Moved::Transpose(None))),
                Some(_) => sizes("axes")
                    .map(|axes| Self::Moved(Moved::Transpose(Some(axes))))
                    .ok_or_else(|| "its `axes` are no axes".into()),
            },
            "transpose" => match setting("perm") {
                None => Ok(Self::Moved(Moved::Transpose(None))),
                Some(_) => sizes("perm")
                    .map(|axes| Self::Moved(Moved::Transpose(Some(axes))))
                    .ok_or_else(|| "its `perm` is no order of axes".into()),
            },
            "Reshape" | "reshape" => sizes("newshape")
                .or_else(|| sizes("shape"))
                .map(|sizes| Self::Moved(Moved::Reshape(sizes)))
                .ok_or_else(|| "it is not reshaped to plain numbers".into()),
            "Where" | "where" => Ok(Self::Where),
            "Matmul" | "matmul" => {
                let adjoint = ["adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse"];
                if adjoint.iter().any(|key| is_set(key, false)) {
                    return Err("it multiplies other matrices than plain ones".into());
                }
                let turns = ["transpose_a", "transpose_b"].map(|key| is_set(key, false));
                Ok(Self::Matmul(Matmul(turns)))
            }
            "Cast" | "cast" => Err("its `dtype` is no type of numbers".into()),
            "Concatenate" | "concat" => match axes()?[..] {
                [axis] => Ok(Self::Concatenate(axis)),
                _ => Err("its `axis` is no axis".into()),
            },
            "ExpandDims" | "expand_dims" => Ok(Self::Moved(Moved::Expand(axes()?))),
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
            Self::Binary(_) | Self::Matmul(_) => operands.len() == 2,
            Self::Where => operands.len() == 3,
            Self::Concatenate(_) | Self::Stack(_) => !operands.is_empty(),
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
            Self::Unary(_) | Self::Itself => Ok(first.clone()),
            Self::Reduce(reduce) => reduce.shape(first),
            Self::Concatenate(axis) => joined(*axis, operands),
            Self::Stack(axis) => {
                let expand = Moved::Expand(vec![*axis]);
                let each: Result<Vec<Shape>, String> =
                    operands.iter().map(|shape| expand.shape(shape)).collect();
                joined(*axis, &each?)
            }
            Self::Activation(activation) => {
                if let Activation::Softmax(axis) = activation {
                    axis_of(first.len(), *axis)?;
                }
                activation.planned(first)
            }
            Self::Moved(moved) => moved.shape(first),
            Self::Where => {
                let mut others = operands[1..].iter();
                others.try_fold(first.clone(), |all, next| broadcast(&all, next))
            }
            Self::Matmul(matmul) => matmul.shape(operands),
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
        if let Self::Itself = self {
            return Ok(operands);
        }
        let mut values: Vec<Value> = operands.into_iter().map(|flow| flow.x).collect();
        let shapes: Vec<Shape> = values.iter().map(Value::shape).collect();
        let shape = self.shape(&shapes)?;
        let made = match (self, values.len()) {
            (Self::Concatenate(axis), _) => Value::concat(values, axis_of(shape.len(), *axis)?)?,
            (Self::Stack(axis), _) => {
                let expand = Moved::Expand(vec![*axis]);
                let each: Result<Vec<Value>, String> =
                    values.into_iter().map(|x| expand.run(x)).collect();
                Value::concat(each?, axis_of(shape.len(), *axis)?)?
            }
            (_, 3) => {
                let (otherwise, chosen, condition) = (values.pop(), values.pop(), values.pop());
                let all = condition.zip(chosen).zip(otherwise);
                let ((condition, chosen), otherwise) = all.ok_or("it lacks a tensor")?;
                condition.choose(chosen, otherwise)?
            }
            _ => {
                let last = values.pop().ok_or("it is called without tensors")?;
                match (self, values.pop()) {
                    (Self::Binary(op), Some(first)) => first.with(last, *op)?,
                    (Self::Matmul(matmul), Some(first)) => matmul.run(first, last)?,
                    (Self::Unary(op), _) => each!(last, t => op.of(t)),
                    (Self::Reduce(reduce), _) => reduce.run(last)?,
                    (Self::Items(items), _) => items.run(last)?,
                    (Self::Activation(activation), _) => activation.apply(last)?,
                    (Self::Moved(moved), _) => moved.run(last)?,
                    _ => last,
                }
            }
        };
        Ok(vec![Flow::of(made.reshape(&shape)?)])
    }
}

/// Whether Keras hands an operation a tensor by this name.
pub(super) fn is_operand(name: &str) -> bool {
    matches!(name, "condition" | "x" | "x1" | "x2" | "y" | "b")
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
