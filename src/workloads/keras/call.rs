//! The calls of a layer as Keras writes them, versions 2 and 3: tensors, lists of them, and what is
//! written out.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::npy::Array;

/// One call of a layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) args: Vec<Arg>,
    pub(super) kwargs: Vec<(String, Arg)>,
}

impl Call {
    /// The plain value that it is called with by this name.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        match self.kwargs.iter().find(|(n, _)| n == name) {
            Some((_, Arg::Value(value))) => Some(value),
            _ => None,
        }
    }

    /// Whether one of its plain numbers is no whole one.
    pub(super) fn has_fraction(&self) -> bool {
        let named = self.kwargs.iter().map(|(_, arg)| arg);
        let all = self.args.iter().chain(named);
        let values = all.filter_map(|arg| match arg {
            Arg::Value(value) => Some(value.is_f64()),
            Arg::Constant(array) => Some(array.values.iter().any(|v| v.fract() != 0.0)),
            _ => None,
        });
        values.into_iter().any(|is_fraction| is_fraction)
    }

    /// Whether it asks its layer to behave as in training.
    pub(super) fn trains(&self) -> bool {
        let training = self.value("training");
        training.is_some_and(|value| value.as_bool() == Some(true) || value.as_f64() > Some(0.0))
    }

    /// Whether it is called with a plain `true` by this name.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.value(name).and_then(Value::as_bool) == Some(true)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Arg {
    Tensor(TensorRef),
    List(Vec<Arg>),
    /// By the names of a model's inputs.
    Dictionary(Vec<(String, Arg)>),
    /// An array that was written into the call.
    Constant(Arc<Array>),
    Value(Value),
}

impl Arg {
    /// The tensors in it, lists in their order.
    pub(super) fn tensors(&self) -> Vec<&TensorRef> {
        match self {
            Self::Tensor(tensor) => vec![tensor],
            Self::List(args) => args.iter().flat_map(Self::tensors).collect(),
            Self::Dictionary(args) => args.iter().flat_map(|(_, arg)| arg.tensors()).collect(),
            Self::Constant(_) | Self::Value(_) => Vec::new(),
        }
    }

    pub(super) fn each_tensor(&mut self, visit: &impl Fn(&mut TensorRef)) {
        match self {
            Self::Tensor(tensor) => visit(tensor),
            Self::List(args) => args.iter_mut().for_each(|arg| arg.each_tensor(visit)),
            Self::Dictionary(args) => args.iter_mut().for_each(|(_, arg)| arg.each_tensor(visit)),
            Self::Constant(_) | Self::Value(_) => {}
        }
    }

    /// Whether there is an array in it.
    pub(super) fn has_constant(&self) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::List(args) => args.iter().any(Self::has_constant),
            Self::Dictionary(args) => args.iter().any(|(_, arg)| arg.has_constant()),
            Self::Tensor(_) | Self::Value(_) => false,
        }
    }
}

/// An output of a call of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorRef {
    pub(super) layer: String,
    pub(super) node: usize,
    pub(super) tensor: usize,
    /// The type of its numbers, where the call tells.
    pub(super) dtype: Option<String>,
}

impl TensorRef {
    pub(super) fn first_of(layer: &str) -> Self {
        Self {
            layer: layer.into(),
            node: 0,
            tensor: 0,
            dtype: None,
        }
    }

    /// `["name", node, tensor, …]`.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let parts = value.as_array()?;
        Some(Self {
            layer: parts.first()?.as_str()?.into(),
            node: usize::try_from(parts.get(1)?.as_u64()?).ok()?,
            tensor: usize::try_from(parts.get(2)?.as_u64()?).ok()?,
            dtype: None,
        })
    }
}

/// A call, as Keras 3 (`{"args": …, "kwargs": …}`) or as Keras 2 writes it
/// (`[["name", node, tensor, {…}], …]`).
pub(super) fn call(node: &Value) -> Option<Call> {
    if let Some(node) = node.as_object() {
        let args = node.get("args")?.as_array()?.iter().map(arg).collect();
        let none = Map::new();
        let kwargs = node
            .get("kwargs")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        return Some(Call {
            args,
            kwargs: kwargs.iter().map(|(k, v)| (k.clone(), arg(v))).collect(),
        });
    }
    let inputs = node.as_array()?;
    // A single input of Keras 2 may stand without its list.
    let inputs: Vec<&Value> = match inputs.first() {
        Some(Value::String(_)) => vec![node],
        _ => inputs.iter().collect(),
    };
    // In place of a tensor there may be a number: `["_CONSTANT_VALUE", -1, 2.0, {…}]`.
    let input = |input: &&Value| match TensorRef::of(input) {
        Some(tensor) => Some(Arg::Tensor(tensor)),
        None if input.get(0)?.as_str()? == "_CONSTANT_VALUE" => {
            Some(Arg::Value(input.get(2)?.clone()))
        }
        None => None,
    };
    let mut tensors = inputs.iter().map(input).collect::<Option<Vec<Arg>>>()?;
    let kwargs = inputs
        .first()
        .and_then(|i| i.as_array()?.get(3)?.as_object().cloned());
    let args = match tensors.len() {
        0 => Vec::new(),
        1 => vec![tensors.remove(0)],
        _ => vec![Arg::List(tensors)],
    };
    Some(Call {
        args,
        kwargs: kwargs
            .unwrap_or_default()
            .iter()
            .map(|(k, v)| (k.clone(), keras_2_arg(v)))
            .collect(),
    })
}

fn keras_2_arg(value: &Value) -> Arg {
    if let Some(tensor) = TensorRef::of(value) {
        return Arg::Tensor(tensor);
    }
    Arg::Value(value.clone())
}

/// The numbers of nested lists, each of a level as long as the others; a single one has one axis.
pub(super) fn array(value: &Value) -> Option<Array> {
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

fn arg(value: &Value) -> Arg {
    let class = value.get("class_name").and_then(Value::as_str);
    if class == Some("__keras_tensor__") {
        let told = |key: &str| value.get("config").and_then(|c| c.get(key));
        if let Some(mut tensor) = told("keras_history").and_then(TensorRef::of) {
            let dtype = told("dtype").and_then(Value::as_str);
            tensor.dtype = dtype.map(str::to_owned);
            return Arg::Tensor(tensor);
        }
    }
    if matches!(class, Some("__numpy__" | "__tensor__"))
        && let Some(array) = value.get("config").and_then(|c| array(c.get("value")?))
    {
        return Arg::Constant(Arc::new(array));
    }
    match value {
        Value::Array(parts) if parts.iter().any(Value::is_object) => {
            Arg::List(parts.iter().map(arg).collect())
        }
        Value::Object(parts) if class.is_none() && parts.values().any(Value::is_object) => {
            Arg::Dictionary(parts.iter().map(|(k, v)| (k.clone(), arg(v))).collect())
        }
        other => Arg::Value(other.clone()),
    }
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
        let three = call(&three).unwrap();
        assert!(matches!(&three.args[..], [Arg::List(list)] if list.len() == 2));
        assert!(matches!(&three.kwargs[..], [(name, Arg::Value(_))] if name == "training"));
        let two = json!([["a", 0, 0, {"value": ["b", 1, 0]}]]);
        let two = call(&two).unwrap();
        assert!(matches!(&two.args[..], [Arg::Tensor(t)] if t.layer == "a"));
        assert!(matches!(&two.kwargs[..], [(_, Arg::Tensor(t))] if t.node == 1));
        assert!(call(&json!("nonsense")).is_none());
        assert!(call(&json!([["a"]])).is_none());
    }

    #[test]
    fn arrays_are_read_if_their_lists_are_of_one_length() {
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
