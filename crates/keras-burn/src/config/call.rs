//! The calls of a layer: the tensors that it takes, and the plain values that it is called with.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::array::Array;

/// One call of a layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub(crate) args: Vec<Arg>,
    pub(crate) kwargs: Vec<(String, Arg)>,
}

impl Call {
    /// A call with one tensor.
    pub(crate) fn on(tensor: TensorRef) -> Self {
        Self {
            args: vec![Arg::Tensor(tensor)],
            kwargs: Vec::new(),
        }
    }

    /// The arguments, first those by position.
    pub(crate) fn all_args(&self) -> impl Iterator<Item = &Arg> {
        let named = self.kwargs.iter().map(|(_, arg)| arg);
        self.args.iter().chain(named)
    }

    /// The tensors among the arguments, in their order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorRef> {
        self.all_args().flat_map(Arg::tensors)
    }

    /// The plain value of a keyword argument.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        match self.kwargs.iter().find(|(n, _)| n == name) {
            Some((_, Arg::Value(value))) => Some(value),
            _ => None,
        }
    }

    /// Whether a keyword argument is a plain `true`.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.value(name).and_then(Value::as_bool) == Some(true)
    }

    /// Whether one of the plain numbers among the arguments is not an integer.
    pub(crate) fn has_fraction(&self) -> bool {
        self.all_args().any(|arg| match arg {
            Arg::Value(value) => value.is_f64(),
            Arg::Constant(array) => array.values.iter().any(|v| v.fract() != 0.0),
            _ => false,
        })
    }

    /// Whether the layer is called with `training=True`.
    pub(crate) fn trains(&self) -> bool {
        let training = self.value("training");
        training.is_some_and(|value| value.as_bool() == Some(true) || value.as_f64() > Some(0.0))
    }
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Tensor(TensorRef),
    List(Vec<Arg>),
    /// Keyed by the names of a model's inputs.
    Dictionary(Vec<(String, Arg)>),
    /// An array that is written out in the configuration.
    Constant(Arc<Array>),
    Value(Value),
}

impl Arg {
    /// The tensors in it, in their order.
    pub(crate) fn tensors(&self) -> Vec<&TensorRef> {
        match self {
            Self::Tensor(tensor) => vec![tensor],
            Self::List(args) => args.iter().flat_map(Self::tensors).collect(),
            Self::Dictionary(args) => args.iter().flat_map(|(_, arg)| arg.tensors()).collect(),
            Self::Constant(_) | Self::Value(_) => Vec::new(),
        }
    }

    pub(crate) fn for_each_tensor(&mut self, visit: &impl Fn(&mut TensorRef)) {
        match self {
            Self::Tensor(tensor) => visit(tensor),
            Self::List(args) => args.iter_mut().for_each(|arg| arg.for_each_tensor(visit)),
            Self::Dictionary(args) => {
                args.iter_mut()
                    .for_each(|(_, arg)| arg.for_each_tensor(visit));
            }
            Self::Constant(_) | Self::Value(_) => {}
        }
    }

    /// Whether it is or contains an array that is written out in the configuration.
    pub(crate) fn has_constant(&self) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::List(args) => args.iter().any(Self::has_constant),
            Self::Dictionary(args) => args.iter().any(|(_, arg)| arg.has_constant()),
            Self::Tensor(_) | Self::Value(_) => false,
        }
    }
}

/// A reference to a tensor: an output of a call of a layer (Keras's `keras_history`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorRef {
    pub(crate) layer: String,
    /// Which call of the layer; Keras calls it a node.
    pub(crate) node: usize,
    /// Which output of the call.
    pub(crate) output: usize,
    /// The type of its numbers, if the configuration says so.
    pub(crate) dtype: Option<String>,
}

impl TensorRef {
    /// The first output of the first call of a layer.
    pub(crate) fn first_of(layer: &str) -> Self {
        Self {
            layer: layer.into(),
            node: 0,
            output: 0,
            dtype: None,
        }
    }

    /// Reads `["name", node, output, …]`.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let parts = value.as_array()?;
        Some(Self {
            layer: parts.first()?.as_str()?.into(),
            node: usize::try_from(parts.get(1)?.as_u64()?).ok()?,
            output: usize::try_from(parts.get(2)?.as_u64()?).ok()?,
            dtype: None,
        })
    }
}

/// Reads a call as Keras 3 (`{"args": …, "kwargs": …}`) or as Keras 2 writes it
/// (`[["name", node, output, {…}], …]`).
pub(crate) fn read(node: &Value) -> Option<Call> {
    match node {
        Value::Object(node) => keras_3_call(node),
        _ => keras_2_call(node),
    }
}

fn keras_3_call(node: &Map<String, Value>) -> Option<Call> {
    let args = node.get("args")?.as_array()?.iter().map(keras_3_arg);
    let kwargs = node.get("kwargs").and_then(Value::as_object);
    let kwargs = kwargs.into_iter().flatten();
    Some(Call {
        args: args.collect(),
        kwargs: kwargs.map(|(k, v)| (k.clone(), keras_3_arg(v))).collect(),
    })
}

fn keras_3_arg(value: &Value) -> Arg {
    let class = value.get("class_name").and_then(Value::as_str);
    let config = |key: &str| value.get("config").and_then(|c| c.get(key));
    if class == Some("__keras_tensor__")
        && let Some(mut tensor) = config("keras_history").and_then(TensorRef::read)
    {
        tensor.dtype = config("dtype").and_then(Value::as_str).map(str::to_owned);
        return Arg::Tensor(tensor);
    }
    if matches!(class, Some("__numpy__" | "__tensor__"))
        && let Some(array) = config("value").and_then(array)
    {
        return Arg::Constant(Arc::new(array));
    }
    match value {
        Value::Array(parts) if parts.iter().any(Value::is_object) => {
            Arg::List(parts.iter().map(keras_3_arg).collect())
        }
        Value::Object(parts) if class.is_none() && parts.values().any(Value::is_object) => {
            let parts = parts.iter().map(|(k, v)| (k.clone(), keras_3_arg(v)));
            Arg::Dictionary(parts.collect())
        }
        other => Arg::Value(other.clone()),
    }
}

fn keras_2_call(node: &Value) -> Option<Call> {
    let inputs = node.as_array()?;
    // A single input may be written without its list.
    let inputs: Vec<&Value> = match inputs.first() {
        Some(Value::String(_)) => vec![node],
        _ => inputs.iter().collect(),
    };
    // A number may take the place of a tensor: `["_CONSTANT_VALUE", -1, 2.0, {…}]`.
    let input = |input: &&Value| match TensorRef::read(input) {
        Some(tensor) => Some(Arg::Tensor(tensor)),
        None if input.get(0)?.as_str()? == "_CONSTANT_VALUE" => {
            Some(Arg::Value(input.get(2)?.clone()))
        }
        None => None,
    };
    let mut args = inputs.iter().map(input).collect::<Option<Vec<Arg>>>()?;
    if args.len() > 1 {
        args = vec![Arg::List(args)];
    }
    let kwargs = inputs.first().and_then(|input| input.get(3)?.as_object());
    let kwargs = kwargs.into_iter().flatten();
    Some(Call {
        args,
        kwargs: kwargs.map(|(k, v)| (k.clone(), keras_2_kwarg(v))).collect(),
    })
}

fn keras_2_kwarg(value: &Value) -> Arg {
    match TensorRef::read(value) {
        Some(tensor) => Arg::Tensor(tensor),
        None => Arg::Value(value.clone()),
    }
}

/// The array that nested lists of numbers are; a single number is an array of one axis.
pub(crate) fn array(value: &Value) -> Option<Array> {
    fn fill(value: &Value, sizes: &[usize], values: &mut Vec<f32>) -> Option<()> {
        match (value, sizes) {
            (Value::Array(parts), [size, inner @ ..]) if parts.len() == *size => {
                parts.iter().try_for_each(|part| fill(part, inner, values))
            }
            (Value::Bool(is_set), []) => {
                values.push(f32::from(u8::from(*is_set)));
                Some(())
            }
            (number, []) => {
                values.push(number.as_f64()? as f32);
                Some(())
            }
            _ => None,
        }
    }
    let mut shape = Vec::new();
    let mut first = value;
    while let Value::Array(parts) = first {
        shape.push(parts.len());
        first = parts.first()?;
    }
    let mut values = Vec::new();
    fill(value, &shape, &mut values)?;
    if shape.is_empty() {
        shape.push(1);
    }
    Some(Array { shape, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_of_both_versions_are_read() {
        let tensor = |name: &str| {
            json!({"class_name": "__keras_tensor__",
                   "config": {"shape": [null, 4], "keras_history": [name, 0, 0]}})
        };
        let three = json!({"args": [[tensor("a"), tensor("b")]], "kwargs": {"training": false}});
        let three = read(&three).unwrap();
        assert!(matches!(&three.args[..], [Arg::List(list)] if list.len() == 2));
        assert!(matches!(&three.kwargs[..], [(name, Arg::Value(_))] if name == "training"));
        let two = json!([["a", 0, 0, {"value": ["b", 1, 0]}]]);
        let two = read(&two).unwrap();
        assert!(matches!(&two.args[..], [Arg::Tensor(t)] if t.layer == "a"));
        assert!(matches!(&two.kwargs[..], [(_, Arg::Tensor(t))] if t.node == 1));
        assert!(read(&json!("nonsense")).is_none());
        assert!(read(&json!([["a"]])).is_none());
    }

    #[test]
    fn nested_lists_are_an_array_if_their_lengths_agree() {
        let read = array(&json!([[1, true], [2.5, -1]])).unwrap();
        assert_eq!(
            (read.shape, read.values),
            (vec![2, 2], vec![1.0, 1.0, 2.5, -1.0])
        );
        for value in [
            json!([[1], [2, 3]]),
            json!([1, [2]]),
            json!([]),
            json!(["a"]),
            json!(null),
        ] {
            assert_eq!(array(&value), None, "{value}");
        }
    }
}
