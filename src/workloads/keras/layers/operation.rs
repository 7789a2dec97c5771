//! Operations between tensors in a Functional model, such as `a + b` or `x * 0.5`.

use ::burn::tensor::{Tensor, activation};
use serde_json::Value as Json;

use super::{Extra, Layer};
use crate::workloads::keras::config::{Arg, Call, LayerSpec};
use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::{Binary, Flow, Value, axis_of, broadcast, each};
use crate::workloads::keras::wiring::Given;

/// What an operation computes.
#[derive(Clone, Copy)]
enum Operation {
    Binary(Binary),
    /// 1 where the two differ, else 0: what a mask is made of.
    Differs,
    /// The opposite.
    Equals,
    /// 1 where either, or both, are not 0.
    Or,
    And,
    Unary(Unary),
    /// Over some axes, which may be kept with size 1.
    Reduction(How),
    /// Another axis of size 1.
    ExpandDims,
}

/// How a reduction makes one value of many.
#[derive(Clone, Copy)]
enum How {
    Mean,
    /// 1 where one is not 0, else 0.
    Any,
}

/// What is done to each element.
#[derive(Clone, Copy)]
enum Unary {
    Negative,
    Absolute,
    Exp,
    Log,
    Sqrt,
    Square,
    Relu,
    Sigmoid,
    Tanh,
    Zeros,
    Ones,
    /// 1 where it is 0, else 0.
    Not,
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
            Self::Zeros => t.zeros_like(),
            Self::Ones => t.ones_like(),
            Self::Not => t.equal_elem(0.0).float(),
        }
    }
}

impl Layer for Unary {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = super::one(inputs)?.x.clone();
        Ok(vec![Flow::of(each!(x, t => self.of(t)))])
    }
}

/// The operation of a node, by Keras 3's class or by the function that Keras 2 names.
fn operation(layer: &LayerSpec) -> Option<Operation> {
    let function = layer.config.get("function").and_then(|f| f.as_str());
    let name = match layer.class.as_str() {
        "TFOpLambda" => function?.rsplit('.').next()?,
        class => class,
    };
    Some(match name {
        "Add" | "add" | "__add__" => Operation::Binary(Binary::Add),
        "Subtract" | "subtract" | "sub" => Operation::Binary(Binary::Subtract),
        "Multiply" | "multiply" | "mul" => Operation::Binary(Binary::Multiply),
        "Divide" | "TrueDivide" | "divide" | "truediv" => Operation::Binary(Binary::Divide),
        "Maximum" | "maximum" => Operation::Binary(Binary::Maximum),
        "Minimum" | "minimum" => Operation::Binary(Binary::Minimum),
        "Power" | "pow" => Operation::Binary(Binary::Power),
        "NotEqual" | "not_equal" => Operation::Differs,
        "Equal" | "equal" => Operation::Equals,
        "LogicalOr" | "logical_or" => Operation::Or,
        "LogicalAnd" | "logical_and" => Operation::And,
        "Negative" | "negative" | "neg" => Operation::Unary(Unary::Negative),
        "Absolute" | "Abs" | "abs" => Operation::Unary(Unary::Absolute),
        "Exp" | "exp" => Operation::Unary(Unary::Exp),
        "Log" | "log" => Operation::Unary(Unary::Log),
        "Sqrt" | "sqrt" => Operation::Unary(Unary::Sqrt),
        "Square" | "square" => Operation::Unary(Unary::Square),
        "Relu" | "relu" => Operation::Unary(Unary::Relu),
        "Sigmoid" | "sigmoid" => Operation::Unary(Unary::Sigmoid),
        "Tanh" | "tanh" => Operation::Unary(Unary::Tanh),
        "ZerosLike" => Operation::Unary(Unary::Zeros),
        "OnesLike" => Operation::Unary(Unary::Ones),
        "LogicalNot" | "logical_not" => Operation::Unary(Unary::Not),
        "Mean" => Operation::Reduction(How::Mean),
        "Any" => Operation::Reduction(How::Any),
        "ExpandDims" => Operation::ExpandDims,
        _ => return None,
    })
}

pub(super) fn is_supported(layer: &LayerSpec) -> bool {
    operation(layer).is_some()
}

pub(super) fn build(layer: &LayerSpec) -> Result<Box<dyn Layer>, String> {
    let operation = operation(layer);
    let operation = operation.ok_or_else(|| {
        let class = layer.class.escape_debug();
        format!("the operation `{class}` is not supported")
    })?;
    Ok(match operation {
        Operation::Reduction(how) => Box::new(reduction(layer, how)?),
        Operation::ExpandDims => Box::new(expand_dims(layer)?),
        Operation::Unary(unary) => Box::new(unary),
        pair => Box::new(Pair(pair)),
    })
}

fn expand_dims(layer: &LayerSpec) -> Result<ExpandDims, String> {
    let axis = layer.config.get("axis").and_then(Json::as_i64);
    axis.map(ExpandDims)
        .ok_or_else(|| "its `axis` is no axis".into())
}

fn reduction(layer: &LayerSpec, how: How) -> Result<Reduction, String> {
    let axes = layer.config.get("axis").filter(|a| !a.is_null());
    let axes: Option<Vec<i64>> = match axes {
        Some(Json::Array(axes)) => axes.iter().map(|a| a.as_i64()).collect(),
        Some(axis) => axis.as_i64().map(|a| vec![a]),
        None => None,
    };
    let axes = axes.ok_or("what is made of all values has no batch")?;
    let keeps = layer.config.get("keepdims").and_then(|k| k.as_bool());
    Ok(Reduction {
        how,
        axes,
        keeps: keeps.unwrap_or(false),
    })
}

/// The shape of what an operation gives.
///
/// # Errors
/// If its tensors do not fit, or lack an axis that it goes along.
pub(super) fn planned(
    layer: &LayerSpec,
    call: &Call,
    given: &Given<Shape>,
) -> Result<Shape, String> {
    let first = given.args.first().ok_or("an operation without tensors")?;
    let named = given.named.iter().find(|(name, _)| name == "y");
    let second = given.args.get(1).or(named.map(|(_, shape)| shape));
    match (operation(layer), second) {
        (Some(Operation::Reduction(how)), _) => reduction(layer, how)?.planned(first),
        (Some(Operation::ExpandDims), _) => expand_dims(layer)?.planned(first),
        (Some(Operation::Unary(_)), _) => Ok(first.clone()),
        (_, Some(second)) => broadcast(first, second),
        (_, None) => match &constants(call)[..] {
            [(_, constant)] => broadcast(first, &constant.shape),
            _ => Err("an operation lacks a tensor".into()),
        },
    }
}

/// Two tensors, or a tensor and a constant.
struct Pair(Operation);

impl Layer for Pair {
    fn call(&self, inputs: &[Flow], extra: &Extra) -> Result<Vec<Flow>, String> {
        let mut inputs = inputs.iter();
        let device = inputs.as_slice().first().map(|flow| flow.x.device());
        let device = device.ok_or("an operation without tensors")?;
        let mut operands = Vec::new();
        for place in 0..2 {
            let constant = extra.constants.iter().find(|(at, _)| *at == place);
            operands.push(match constant {
                Some((_, c)) => Value::from_data(c.values.clone(), &c.shape, &device)?,
                None => {
                    let next = inputs.next().ok_or("an operation lacks a tensor")?;
                    next.x.clone()
                }
            });
        }
        let (Some(b), Some(a)) = (operands.pop(), operands.pop()) else {
            return Err("an operation lacks a tensor".into());
        };
        let x = match self.0 {
            Operation::Binary(op) => a.with(b, op)?,
            op => {
                let is_set = |v: Value| each!(v, t => t.not_equal_elem(0.0).float());
                match op {
                    Operation::Or => is_set(a).with(is_set(b), Binary::Maximum)?,
                    Operation::And => is_set(a).with(is_set(b), Binary::Minimum)?,
                    Operation::Equals => {
                        let differs = is_set(a.with(b, Binary::Subtract)?);
                        each!(differs, t => Unary::Not.of(t))
                    }
                    _ => is_set(a.with(b, Binary::Subtract)?),
                }
            }
        };
        Ok(vec![Flow::of(x)])
    }
}

struct Reduction {
    how: How,
    axes: Vec<i64>,
    keeps: bool,
}

impl Reduction {
    fn places(&self, rank: usize) -> Result<Vec<usize>, String> {
        let axes = self.axes.iter().map(|&axis| axis_of(rank, axis));
        axes.collect()
    }

    fn planned(&self, input: &[usize]) -> Result<Shape, String> {
        let axes = self.places(input.len())?;
        let sizes = input.iter().enumerate();
        let kept = sizes.filter(|(i, _)| self.keeps || !axes.contains(i));
        let kept = kept.map(|(i, &size)| if axes.contains(&i) { 1 } else { size });
        Ok(kept.collect())
    }
}

impl Layer for Reduction {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let mut x = super::one(inputs)?.x.clone();
        let planned = self.planned(&x.shape())?;
        if matches!(self.how, How::Any) {
            x = each!(x, t => t.not_equal_elem(0.0).float());
        }
        for axis in self.places(x.rank())? {
            x = match self.how {
                How::Mean => each!(x, t => t.mean_dim(axis)),
                How::Any => each!(x, t => t.max_dim(axis)),
            };
        }
        Ok(vec![Flow::of(x.reshape(&planned)?)])
    }
}

/// Puts an axis of size 1 where it says, counted from the end if negative.
struct ExpandDims(i64);

impl ExpandDims {
    fn planned(&self, input: &[usize]) -> Result<Shape, String> {
        let mut shape = input.to_vec();
        shape.insert(axis_of(input.len() + 1, self.0)?, 1);
        Ok(shape)
    }
}

impl Layer for ExpandDims {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = super::one(inputs)?.x.clone();
        let planned = self.planned(&x.shape())?;
        Ok(vec![Flow::of(x.reshape(&planned)?)])
    }
}

/// A number or an array that an operation is called with.
#[derive(Debug)]
pub(crate) struct Constant {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Constant {
    /// A number, or an array as Keras 3 writes it: `{"class_name": "__numpy__", "config": {"value":
    /// [[…], …], "dtype": …}}`, and `__tensor__` likewise.
    fn of(value: &Json) -> Option<Self> {
        let class = value.get("class_name").and_then(Json::as_str);
        let value = match class {
            Some("__numpy__" | "__tensor__") => value.get("config")?.get("value")?,
            Some(_) => return None,
            None => value,
        };
        let mut constant = Self {
            shape: Vec::new(),
            values: Vec::new(),
        };
        constant.take_in(value, 0)?;
        if constant.shape.is_empty() {
            constant.shape.push(1);
        }
        let count: usize = constant.shape.iter().product();
        (constant.values.len() == count).then_some(constant)
    }

    /// Adds the values of a nested list, all lists of a depth being of one length.
    fn take_in(&mut self, value: &Json, depth: usize) -> Option<()> {
        const MOST_AXES: usize = 5;
        let Json::Array(parts) = value else {
            let number = value.as_f64().or(value.as_bool().map(f64::from));
            self.values.push(number? as f32);
            return (depth == self.shape.len()).then_some(());
        };
        match self.shape.get(depth) {
            Some(&len) => (len == parts.len()).then_some(())?,
            None if depth < MOST_AXES && self.values.is_empty() => self.shape.push(parts.len()),
            None => return None,
        }
        parts
            .iter()
            .try_for_each(|part| self.take_in(part, depth + 1))
    }
}

/// The constants among the arguments of an operation's call, with their place.
pub(crate) fn constants(call: &Call) -> Vec<(usize, Constant)> {
    let by_name = |name: &str| match name {
        "x1" => Some(0),
        "y" | "x2" => Some(1),
        _ => None,
    };
    let named = call
        .kwargs
        .iter()
        .filter_map(|(n, arg)| Some((by_name(n)?, arg)));
    let all = call.args.iter().enumerate().chain(named);
    let constants = all.filter_map(|(place, arg)| match arg {
        Arg::Value(value) => Some((place, Constant::of(value)?)),
        _ => None,
    });
    constants.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn constants_are_numbers_or_whole_arrays() {
        let of = |value| Constant::of(&value).map(|c| (c.shape, c.values));
        let array = |value| json!({"class_name": "__numpy__", "config": {"value": value}});
        assert_eq!(of(json!(2)), Some((vec![1], vec![2.0])));
        assert_eq!(
            of(array(json!([[1, 2, 3]]))),
            Some((vec![1, 3], vec![1.0, 2.0, 3.0]))
        );
        assert_eq!(of(array(json!(true))), Some((vec![1], vec![1.0])));
        for ragged in [
            json!([[1, 2], [3]]),
            json!([1, [2]]),
            json!([[1], 2]),
            json!([["x"]]),
        ] {
            assert_eq!(of(array(ragged)), None);
        }
        assert_eq!(of(array(json!([[[[[[1]]]]]]))), None, "six axes");
        assert_eq!(of(json!({"class_name": "__slice__", "config": {}})), None);
    }
}
