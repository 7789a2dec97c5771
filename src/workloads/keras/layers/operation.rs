//! Operations between tensors in a Functional model, such as `a + b` or `x * 0.5`.

use ::burn::tensor::Tensor;

use super::{Extra, Layer};
use crate::workloads::keras::config::{Arg, Call, LayerSpec};
use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::{Binary, Flow, Value, axis_of, broadcast, each, look};
use crate::workloads::keras::wiring::Given;

/// What an operation computes.
#[derive(Clone, Copy)]
enum Operation {
    Binary(Binary),
    /// 1 where the two differ, else 0: what a mask is made of.
    Differs,
    /// 1 where either, or both, are not 0.
    Or,
    And,
    Unary(Unary),
    /// Over some axes, which may be kept with size 1.
    Mean,
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
        "NotEqual" | "not_equal" => Operation::Differs,
        "LogicalOr" | "logical_or" => Operation::Or,
        "LogicalAnd" | "logical_and" => Operation::And,
        "Negative" | "negative" | "neg" => Operation::Unary(Unary::Negative),
        "Absolute" | "Abs" | "abs" => Operation::Unary(Unary::Absolute),
        "Exp" | "exp" => Operation::Unary(Unary::Exp),
        "Log" | "log" => Operation::Unary(Unary::Log),
        "Sqrt" | "sqrt" => Operation::Unary(Unary::Sqrt),
        "Square" | "square" => Operation::Unary(Unary::Square),
        "Mean" => Operation::Mean,
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
    if let Operation::Mean = operation {
        return Ok(Box::new(mean(layer)?));
    }
    if let Operation::Unary(unary) = operation {
        return Ok(Box::new(unary));
    }
    Ok(Box::new(Pair(operation)))
}

fn mean(layer: &LayerSpec) -> Result<Mean, String> {
    let axes = layer.config.get("axis").filter(|a| !a.is_null());
    let axes: Option<Vec<i64>> = match axes {
        Some(serde_json::Value::Array(axes)) => axes.iter().map(|a| a.as_i64()).collect(),
        Some(axis) => axis.as_i64().map(|a| vec![a]),
        None => None,
    };
    let axes = axes.ok_or("a mean over all values has no batch")?;
    let keeps = layer.config.get("keepdims").and_then(|k| k.as_bool());
    Ok(Mean {
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
        (Some(Operation::Mean), _) => mean(layer)?.planned(first),
        (Some(Operation::Unary(_)), _) => Ok(first.clone()),
        (_, Some(second)) => broadcast(first, second),
        (_, None) if call.args.len() + call.kwargs.len() > 1 => Ok(first.clone()),
        _ => Err("an operation lacks a tensor".into()),
    }
}

/// Two tensors, or a tensor and a number.
struct Pair(Operation);

impl Layer for Pair {
    fn call(&self, inputs: &[Flow], extra: &Extra) -> Result<Vec<Flow>, String> {
        let mut inputs = inputs.iter();
        let mut constants = extra.constants.iter();
        let device = inputs
            .as_slice()
            .first()
            .map(|flow| look!(&flow.x, t => t.device()));
        let device = device.ok_or("an operation without tensors")?;
        let mut operands = Vec::new();
        let mut next_constant = constants.next();
        for place in 0..2 {
            let constant = next_constant.filter(|(at, _)| *at == place);
            operands.push(match constant {
                Some(&(_, number)) => {
                    next_constant = constants.next();
                    Value::from_data(vec![number as f32], &[1], &device)?
                }
                None => inputs
                    .next()
                    .ok_or("an operation lacks a tensor: constant arrays are not supported")?
                    .x
                    .clone(),
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
                    _ => is_set(a.with(b, Binary::Subtract)?),
                }
            }
        };
        Ok(vec![Flow::of(x)])
    }
}

struct Mean {
    axes: Vec<i64>,
    keeps: bool,
}

impl Mean {
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

impl Layer for Mean {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let mut x = super::one(inputs)?.x.clone();
        let planned = self.planned(&x.shape())?;
        for axis in self.places(x.rank())? {
            x = each!(x, t => t.mean_dim(axis));
        }
        Ok(vec![Flow::of(x.reshape(&planned)?)])
    }
}

/// The tensors among the arguments of a call, in their order, and its plain numbers with their
/// place.
pub(crate) fn numbers(args: &[Arg]) -> Vec<(usize, f64)> {
    let numbered = args.iter().enumerate();
    let numbers = numbered.filter_map(|(place, arg)| match arg {
        Arg::Value(value) => Some((place, value.as_f64()?)),
        _ => None,
    });
    numbers.collect()
}
