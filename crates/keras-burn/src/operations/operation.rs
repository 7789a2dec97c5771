//! What a call of an operation computes.

use super::index::Index;
use super::matmul::Matmul;
use super::rearrange::Rearrange;
use super::reduce::{Reduce, Reduction};
use super::request::is_operand;
use super::unary::Unary;
use crate::array::Array;
use crate::config::call::{self, Arg, Call};
use crate::layers::Activation;
use crate::tensor::dtype::ResultType;
use crate::tensor::shape::{NO_INPUT, Shape, axis_index, broadcast, concatenated};
use crate::tensor::{Binary, DynTensor, Masked, map};

/// An operation with its parameters.
#[derive(Debug)]
pub(crate) enum Operation {
    Binary(Binary),
    Unary(Unary),
    Reduce(Reduce),
    /// Along an axis, counted from the end if negative.
    Concatenate(i64),
    /// Along a new axis.
    Stack(i64),
    Activation(Activation),
    Rearrange(Rearrange),
    /// The tensor itself, with its mask.
    Identity,
    /// Of the second operand where the first is not 0, of the third elsewhere.
    Where,
    Matmul(Matmul),
    Index(Index),
}

impl Operation {
    /// The type of the result.
    pub(crate) fn result_type(&self, is_keras_2: bool) -> ResultType {
        match self {
            Self::Binary(op) => match op {
                Binary::Add
                | Binary::Subtract
                | Binary::Multiply
                | Binary::Power
                | Binary::FloorDivide
                | Binary::Modulo
                | Binary::SquaredDifference => ResultType::MayWrap,
                Binary::Divide | Binary::DivideNoNan => ResultType::Float,
                Binary::Maximum | Binary::Minimum => ResultType::Same,
                Binary::Equal
                | Binary::NotEqual
                | Binary::Greater
                | Binary::GreaterEqual
                | Binary::Less
                | Binary::LessEqual
                | Binary::Or
                | Binary::And => ResultType::Bool,
            },
            Self::Unary(op) => match op {
                Unary::Negative | Unary::Absolute | Unary::Square => ResultType::MayWrap,
                Unary::Not | Unary::ToBool => ResultType::Bool,
                Unary::Clip(..)
                | Unary::Relu
                | Unary::Zeros
                | Unary::Ones
                | Unary::ToFloat
                | Unary::ToInteger => ResultType::Same,
                Unary::Exp | Unary::Log | Unary::Sqrt | Unary::Sigmoid | Unary::Tanh => {
                    ResultType::Float
                }
            },
            Self::Reduce(Reduce { to, .. }) => match to {
                Reduction::Sum if is_keras_2 => ResultType::MayWrap,
                Reduction::Sum => ResultType::Wide,
                Reduction::Mean if is_keras_2 => ResultType::Rounded,
                Reduction::Mean => ResultType::Float,
                Reduction::Max | Reduction::Min => ResultType::Same,
                Reduction::Any | Reduction::All => ResultType::Bool,
            },
            Self::Activation(_) => ResultType::Float,
            Self::Matmul(_) => ResultType::MayWrap,
            Self::Concatenate(_)
            | Self::Stack(_)
            | Self::Rearrange(_)
            | Self::Identity
            | Self::Where
            | Self::Index(_) => ResultType::Same,
        }
    }

    /// Whether the plain numbers among its arguments are operands.
    pub(crate) fn has_plain_operands(&self) -> bool {
        !matches!(self, Self::Index(_))
    }

    /// The operands of a call in the order of its arguments: tensors, and what `constant` makes of
    /// the numbers and arrays among them. `args` and `named` are the tensors.
    fn operands<T: Clone>(
        &self,
        call: &Call,
        args: &[T],
        named: &[(&str, T)],
        constant: impl Fn(&Array) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut tensors = args.iter();
        let mut operands = Vec::new();
        let mut args: Vec<&Arg> = match self.has_plain_operands() {
            true => call.args.iter().collect(),
            false => call.args.iter().take(1).collect(),
        };
        if let [Arg::List(all)] = args[..] {
            args = all.iter().collect();
        }
        for arg in args {
            operands.push(match arg {
                Arg::Tensor(_) => tensors.next().cloned().ok_or(NO_INPUT)?,
                other => constant(&array(other)?)?,
            });
        }
        for (name, arg) in call.kwargs.iter().filter(|(name, _)| is_operand(name)) {
            let tensor = named.iter().find(|(given, _)| given == name);
            operands.push(match tensor {
                Some((_, tensor)) => tensor.clone(),
                None => constant(&array(arg)?)?,
            });
        }
        let fits = match self {
            Self::Binary(_) | Self::Matmul(_) => operands.len() == 2,
            Self::Where => operands.len() == 3,
            Self::Concatenate(_) | Self::Stack(_) => !operands.is_empty(),
            _ => operands.len() == 1,
        };
        match fits {
            true => Ok(operands),
            false => Err(format!("it is called with {} operands", operands.len())),
        }
    }

    /// The shape of the result of a call with tensors of these shapes.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn output(
        &self,
        call: &Call,
        args: &[Shape],
        named: &[(&str, Shape)],
    ) -> Result<Shape, String> {
        self.shape(&self.operands(call, args, named, |array| Ok(array.shape.clone()))?)
    }

    fn shape(&self, operands: &[Shape]) -> Result<Shape, String> {
        let first = operands.first().ok_or(NO_INPUT)?;
        match self {
            Self::Binary(_) => broadcast(first, operands.get(1).unwrap_or(first)),
            Self::Unary(_) | Self::Identity => Ok(first.clone()),
            Self::Reduce(reduce) => reduce.shape(first),
            Self::Concatenate(axis) => concatenated(*axis, operands),
            Self::Stack(axis) => {
                let expand = Rearrange::ExpandDims(vec![*axis]);
                let expanded: Result<Vec<Shape>, String> =
                    operands.iter().map(|shape| expand.shape(shape)).collect();
                concatenated(*axis, &expanded?)
            }
            Self::Activation(activation) => {
                if let Activation::Softmax(axis) = activation {
                    axis_index(first.len(), *axis)?;
                }
                activation.shape(first)
            }
            Self::Rearrange(rearrange) => rearrange.shape(first),
            Self::Where => {
                let mut others = operands[1..].iter();
                others.try_fold(first.clone(), |all, next| broadcast(&all, next))
            }
            Self::Matmul(matmul) => matmul.shape(operands),
            Self::Index(index) => Ok(index.ranges(first)?.1),
        }
    }

    /// Computes a call.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn run(
        &self,
        call: &Call,
        args: &[Masked],
        named: &[(&str, Masked)],
    ) -> Result<Vec<Masked>, String> {
        let mut tensors = args.iter().chain(named.iter().map(|(_, tensor)| tensor));
        let device = tensors.next().ok_or(NO_INPUT)?.x.device();
        let constant = |array: &Array| {
            let tensor = DynTensor::from_data(array.values.clone(), &array.shape, &device)?;
            Ok(Masked::unmasked(tensor))
        };
        let operands = self.operands(call, args, named, constant)?;
        if let Self::Identity = self {
            return Ok(operands);
        }
        let operands: Vec<DynTensor> = operands.into_iter().map(|operand| operand.x).collect();
        let shapes: Vec<Shape> = operands.iter().map(DynTensor::shape).collect();
        let shape = self.shape(&shapes)?;
        let y = self.compute(operands, shape.len())?.reshape(&shape)?;
        Ok(vec![Masked::unmasked(y)])
    }

    /// The result, which may lack the shape that it will have. `rank` is its rank.
    fn compute(&self, mut operands: Vec<DynTensor>, rank: usize) -> Result<DynTensor, String> {
        match self {
            Self::Concatenate(axis) => {
                return DynTensor::concat(operands, axis_index(rank, *axis)?);
            }
            Self::Stack(axis) => {
                let expand = Rearrange::ExpandDims(vec![*axis]);
                let expanded = operands.into_iter().map(|x| expand.apply(x));
                let expanded = expanded.collect::<Result<Vec<DynTensor>, String>>()?;
                return DynTensor::concat(expanded, axis_index(rank, *axis)?);
            }
            _ => {}
        }
        // From here on the number of operands is fixed, and `operands` has checked it.
        let last = operands.pop().ok_or(NO_INPUT)?;
        match (self, operands.pop(), operands.pop()) {
            (Self::Where, Some(chosen), Some(condition)) => condition.select(chosen, last),
            (Self::Binary(op), Some(first), None) => first.combine(last, *op),
            (Self::Matmul(matmul), Some(first), None) => matmul.apply(first, last),
            (Self::Unary(op), None, None) => Ok(map!(last, t => op.apply(t))),
            (Self::Reduce(reduce), None, None) => reduce.apply(last),
            (Self::Index(index), None, None) => index.apply(last),
            (Self::Activation(activation), None, None) => activation.apply(last),
            (Self::Rearrange(rearrange), None, None) => rearrange.apply(last),
            _ => Err("it is called with the wrong number of operands".into()),
        }
    }
}

/// The numbers of an argument that is not a tensor.
fn array(arg: &Arg) -> Result<Array, String> {
    let array = match arg {
        Arg::Constant(array) => Some(Array::clone(array)),
        Arg::Value(value) => call::array(value),
        Arg::Tensor(_) | Arg::List(_) | Arg::Dictionary(_) => None,
    };
    array.ok_or_else(|| "one of its arguments is neither a tensor nor numbers".into())
}
