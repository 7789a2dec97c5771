//! The registry of operations.

use super::index::Index;
use super::matmul::Matmul;
use super::operation::Operation;
use super::rearrange::Rearrange;
use super::reduce::{Reduce, Reduction};
use super::request::{Request, name};
use super::unary::Unary;
use crate::config::call::Call;
use crate::config::model::LayerSpec;
use crate::layers::Activation;
use crate::tensor::Binary;

/// An operation, by all names that Keras 3 and Keras 2 have for it.
struct Entry {
    names: &'static [&'static str],
    read: Read,
}

/// How the operation is made of a call.
#[derive(Clone, Copy)]
enum Read {
    Binary(Binary),
    Unary(Unary),
    Reduce(Reduction),
    Cast,
    Other(fn(&Request<'_>) -> Result<Operation, String>),
}

const fn binary(names: &'static [&'static str], op: Binary) -> Entry {
    let read = Read::Binary(op);
    Entry { names, read }
}

const fn unary(names: &'static [&'static str], op: Unary) -> Entry {
    let read = Read::Unary(op);
    Entry { names, read }
}

const fn reduce(names: &'static [&'static str], to: Reduction) -> Entry {
    let read = Read::Reduce(to);
    Entry { names, read }
}

const fn other(
    names: &'static [&'static str],
    read: fn(&Request<'_>) -> Result<Operation, String>,
) -> Entry {
    let read = Read::Other(read);
    Entry { names, read }
}

const OPERATIONS: &[Entry] = &[
    binary(&["Add", "add", "__add__"], Binary::Add),
    binary(&["Subtract", "subtract", "sub"], Binary::Subtract),
    binary(&["Multiply", "multiply", "mul"], Binary::Multiply),
    binary(
        &["Divide", "TrueDivide", "divide", "truediv"],
        Binary::Divide,
    ),
    binary(&["Maximum", "maximum"], Binary::Maximum),
    binary(&["Minimum", "minimum"], Binary::Minimum),
    binary(&["Power", "pow"], Binary::Power),
    binary(&["Equal", "equal"], Binary::Equal),
    binary(&["NotEqual", "not_equal"], Binary::NotEqual),
    binary(&["Greater", "greater"], Binary::Greater),
    binary(&["GreaterEqual", "greater_equal"], Binary::GreaterEqual),
    binary(&["Less", "less"], Binary::Less),
    binary(&["LessEqual", "less_equal"], Binary::LessEqual),
    binary(
        &["FloorDivide", "floordiv", "floor_div"],
        Binary::FloorDivide,
    ),
    binary(&["Mod", "floormod", "mod"], Binary::Modulo),
    binary(&["squared_difference"], Binary::SquaredDifference),
    binary(&["divide_no_nan"], Binary::DivideNoNan),
    binary(&["LogicalOr", "logical_or"], Binary::Or),
    binary(&["LogicalAnd", "logical_and"], Binary::And),
    unary(&["Negative", "negative", "neg"], Unary::Negative),
    unary(&["Absolute", "Abs", "abs"], Unary::Absolute),
    unary(&["Exp", "exp"], Unary::Exp),
    unary(&["Log", "log"], Unary::Log),
    unary(&["Sqrt", "sqrt"], Unary::Sqrt),
    unary(&["Square", "square"], Unary::Square),
    unary(&["Relu", "relu"], Unary::Relu),
    unary(&["Sigmoid", "sigmoid"], Unary::Sigmoid),
    unary(&["Tanh", "tanh"], Unary::Tanh),
    unary(&["LogicalNot", "logical_not"], Unary::Not),
    unary(&["ZerosLike", "zeros_like"], Unary::Zeros),
    unary(&["OnesLike", "ones_like"], Unary::Ones),
    reduce(&["Mean", "reduce_mean"], Reduction::Mean),
    reduce(&["Sum", "reduce_sum"], Reduction::Sum),
    reduce(&["Max", "reduce_max"], Reduction::Max),
    reduce(&["Min", "reduce_min"], Reduction::Min),
    reduce(&["Any", "reduce_any"], Reduction::Any),
    reduce(&["All", "reduce_all"], Reduction::All),
    Entry {
        names: &["Cast", "cast", "ConvertToTensor"],
        read: Read::Cast,
    },
    other(&["Clip"], |r| clip(r, ["x_min", "x_max"])),
    other(&["clip_by_value"], |r| {
        clip(r, ["clip_value_min", "clip_value_max"])
    }),
    other(&["Concatenate", "concat"], |r| match r.axes()?[..] {
        [axis] => Ok(Operation::Concatenate(axis)),
        _ => Err("its `axis` is not one axis".into()),
    }),
    other(&["Stack", "stack"], |r| Ok(Operation::Stack(r.axis(0)?))),
    other(&["ExpandDims", "expand_dims"], |r| {
        Ok(Operation::Rearrange(Rearrange::ExpandDims(r.axes()?)))
    }),
    other(&["Transpose"], |r| {
        Ok(Operation::Rearrange(Rearrange::Transpose(
            r.integers("axes")?,
        )))
    }),
    other(&["transpose"], |r| {
        Ok(Operation::Rearrange(Rearrange::Transpose(
            r.integers("perm")?,
        )))
    }),
    other(&["Reshape", "reshape"], |r| {
        let sizes = match r.integers("newshape")? {
            Some(sizes) => Some(sizes),
            None => r.integers("shape")?,
        };
        let sizes = sizes.ok_or("a reshape to sizes that are computed is not supported")?;
        Ok(Operation::Rearrange(Rearrange::Reshape(sizes)))
    }),
    other(&["Where", "where"], |_| Ok(Operation::Where)),
    other(&["Matmul", "matmul"], matmul),
    other(&["GetItem"], |r| Index::read(r.call).map(Operation::Index)),
    other(&["Softmax", "softmax"], |r| {
        let axis = r.number("axis").map_or(-1, |axis| axis as i64);
        Ok(Operation::Activation(Activation::Softmax(axis)))
    }),
    // The default differs between Keras 3 and TensorFlow.
    other(&["Gelu"], |r| Ok(gelu(r.flag("approximate", true)))),
    other(&["gelu"], |r| Ok(gelu(r.flag("approximate", false)))),
    other(&["Silu", "silu", "swish"], |_| {
        Ok(Operation::Activation(Activation::Silu))
    }),
    other(&["Relu6", "relu6"], |_| {
        Ok(Operation::Activation(Activation::Relu(6.0, 0.0, 0.0)))
    }),
    other(&["LeakyRelu"], |r| Ok(leaky(r.number("negative_slope")))),
    other(&["leaky_relu"], |r| Ok(leaky(r.number("alpha")))),
    other(&["Softplus", "softplus"], |_| {
        Ok(Operation::Activation(Activation::Softplus))
    }),
    other(&["Softsign", "softsign"], |_| {
        Ok(Operation::Activation(Activation::Softsign))
    }),
    other(&["Selu", "selu"], |_| {
        Ok(Operation::Activation(Activation::Selu))
    }),
    other(&["Elu"], |r| {
        let alpha = r.number("alpha").unwrap_or(1.0);
        Ok(Operation::Activation(Activation::Elu(alpha)))
    }),
    other(&["elu"], |_| {
        Ok(Operation::Activation(Activation::Elu(1.0)))
    }),
];

fn clip(request: &Request<'_>, ends: [&str; 2]) -> Result<Operation, String> {
    match ends.map(|key| request.number(key)) {
        [Some(least), Some(greatest)] => Ok(Operation::Unary(Unary::Clip(least, greatest))),
        _ => Err("a clip at values that are not plain numbers is not supported".into()),
    }
}

fn matmul(request: &Request<'_>) -> Result<Operation, String> {
    for key in ["adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse"] {
        if request.flag(key, false) {
            return Err(format!("its `{key}` is true, which is not supported"));
        }
    }
    let transposed = ["transpose_a", "transpose_b"].map(|key| request.flag(key, false));
    Ok(Operation::Matmul(Matmul { transposed }))
}

fn gelu(approximate: bool) -> Operation {
    Operation::Activation(match approximate {
        true => Activation::GeluByTanh,
        false => Activation::Gelu,
    })
}

fn leaky(slope: Option<f64>) -> Operation {
    let slope = slope.unwrap_or(0.2);
    Operation::Activation(Activation::Relu(f64::INFINITY, slope, 0.0))
}

fn find(name: &str) -> Option<&'static Entry> {
    OPERATIONS.iter().find(|entry| entry.names.contains(&name))
}

/// A call of an operation, read.
#[derive(Debug)]
pub(crate) struct PlannedOperation {
    pub(crate) operation: Operation,
    /// The type that it casts its tensor to.
    pub(crate) cast_to: Option<String>,
}

/// Whether an operation of this name is known. Its call may still ask for something that is not
/// supported.
pub(crate) fn is_supported(layer: &LayerSpec) -> bool {
    name(layer).and_then(find).is_some()
}

/// Reads a call of an operation.
///
/// # Errors
/// If the operation is not known, or lacks what it needs.
pub(crate) fn read(layer: &LayerSpec, call: &Call) -> Result<PlannedOperation, String> {
    let name = name(layer).ok_or("it names no function")?;
    let entry = find(name);
    let entry =
        entry.ok_or_else(|| format!("the operation `{}` is not supported", name.escape_debug()))?;
    let request = Request::new(layer, call);
    let mut cast_to = None;
    let operation = match entry.read {
        Read::Binary(op) => Operation::Binary(op),
        Read::Unary(op) => Operation::Unary(op),
        Read::Reduce(to) => {
            if request.get("initial").is_some() {
                return Err("its `initial` is not supported".into());
            }
            Operation::Reduce(Reduce {
                to,
                axes: request.axes()?,
                keeps_axes: request.flag("keepdims", false),
            })
        }
        Read::Cast => {
            let to = request.text("dtype");
            cast_to = to.map(str::to_owned);
            match to {
                to if request.is_identity(to) => Operation::Identity,
                Some(to) => {
                    Operation::Unary(Unary::cast(to).ok_or("its `dtype` is not a type of numbers")?)
                }
                None => return Err("its `dtype` is not a type of numbers".into()),
            }
        }
        Read::Other(read) => read(&request)?,
    };
    Ok(PlannedOperation { operation, cast_to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_entry() {
        let mut names: Vec<&str> = OPERATIONS.iter().flat_map(|e| e.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
