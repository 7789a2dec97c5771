//! A call of an operation: its name, and the plain values that it depends on.

use serde_json::Value;

use crate::config::call::{Arg, Call};
use crate::config::model::LayerSpec;

/// The class of Keras 2 whose setting `function` names what it computes.
const FUNCTION: &str = "TFOpLambda";

/// A call of an operation.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    layer: &'a LayerSpec,
    pub(super) call: &'a Call,
}

/// The name of an operation: the class of Keras 3, or the function of Keras 2 without its module.
pub(super) fn name(layer: &LayerSpec) -> Option<&str> {
    match layer.class.as_str() {
        FUNCTION => layer.config.get("function")?.as_str()?.rsplit('.').next(),
        class => Some(class),
    }
}

/// Whether Keras passes an operand of an operation under this name.
pub(crate) fn is_operand(name: &str) -> bool {
    matches!(name, "condition" | "x" | "x1" | "x2" | "y" | "b")
}

impl<'a> Request<'a> {
    pub(super) fn new(layer: &'a LayerSpec, call: &'a Call) -> Self {
        Self { layer, call }
    }

    /// A plain value. Keras 3 writes it to the settings, Keras 2 to the call: there the settings are
    /// those that all layers have.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        let setting = match self.layer.class.as_str() {
            FUNCTION => None,
            _ => self.layer.config.get(key),
        };
        let value = setting.or_else(|| self.call.value(key));
        value.filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    /// The axis `axis`, counted from the end if negative.
    pub(super) fn axis(&self, default: i64) -> Result<i64, String> {
        let axis = self.get("axis").map_or(Some(default), Value::as_i64);
        axis.ok_or_else(|| "its `axis` is not an axis".into())
    }

    /// The axes `axis`, at least one.
    pub(super) fn axes(&self) -> Result<Vec<i64>, String> {
        let axes = match self.get("axis") {
            Some(Value::Array(axes)) => axes.iter().map(Value::as_i64).collect(),
            Some(axis) => axis.as_i64().map(|axis| vec![axis]),
            None => {
                return Err(
                    "its `axis` is missing, which means all axes and is not supported".into(),
                );
            }
        };
        axes.ok_or_else(|| "its `axis` is not an axis or a list of axes".into())
    }

    /// A list of integers; `None` if it is missing.
    pub(super) fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, String> {
        let integers = match self.get(key) {
            None => return Ok(None),
            Some(Value::Array(all)) => all.iter().map(Value::as_i64).collect(),
            Some(_) => None,
        };
        let wrong = || format!("its `{key}` is not a list of integers");
        integers.map(Some).ok_or_else(wrong)
    }

    /// Whether it is a cast to the type that its tensor has already: Keras 3 then returns the tensor
    /// itself. `to` is the type that the call asks for.
    pub(super) fn is_identity(&self, to: Option<&str>) -> bool {
        let has_type = || match self.call.args.first() {
            Some(Arg::Tensor(tensor)) => to.is_some() && tensor.dtype.as_deref() == to,
            _ => false,
        };
        match self.layer.class.as_str() {
            "Cast" => has_type(),
            "ConvertToTensor" => to.is_none() || has_type(),
            _ => false,
        }
    }
}
