//! Refuses parts of a model that would otherwise be ignored, although they change its predictions.

use std::path::Path;

use serde_json::Value;

use super::model::{Does, LayerNode, ModelPlan};
use crate::config::call::{Arg, Call};
use crate::config::model::{LayerSpec, ModelSpec, is_custom};
use crate::config::settings::Settings;
use crate::error::{Error, Result};
use crate::layers::registry;
use crate::operations::{self, is_operand};
use crate::tensor::dtype;

/// Refuses layers of classes that are unknown or custom, and unknown types of numbers.
///
/// # Errors
/// If there is one: the layer is named.
pub(super) fn classes(path: &Path, spec: &ModelSpec) -> Result<()> {
    let layers = spec.all_layers();
    for layer in &layers {
        if let Some(class) = unsupported_class(layer) {
            let is = match (layer.is_operation, class == layer.class) {
                (true, _) => "is of the operation",
                (_, true) => "is of the class",
                _ => "wraps one of the class",
            };
            let what = format!(
                "layer `{}` {is} `{}`, which is not supported",
                layer.name.escape_debug(),
                class.escape_debug()
            );
            let supported = registry::names().join(", ");
            return Err(Error::file(path, what).hint(format!("supported are: {supported}")));
        }
    }
    for layer in &layers {
        let wraps_custom = wrapped_layers(layer).into_iter().any(is_custom);
        if layer.is_custom || wraps_custom {
            let is = if layer.is_custom { "is" } else { "wraps one" };
            return Err(Error::file(
                path,
                format!(
                    "layer `{}` {is} of a custom class with the name of Keras's own `{}`, which has \
                     Python code of its own",
                    layer.name.escape_debug(),
                    layer.class.escape_debug()
                ),
            ));
        }
        if let Some(dtype) = layer.dtype().filter(|dtype| !dtype::is_known(dtype)) {
            let (name, dtype) = (layer.name.escape_debug(), dtype.escape_debug());
            let what = format!("layer `{name}`: its `dtype` is `{dtype}`, which is not supported");
            return Err(Error::file(path, what));
        }
    }
    Ok(())
}

/// The unknown class of a layer or operation, its own or that of a layer that it wraps.
fn unsupported_class(layer: &LayerSpec) -> Option<&str> {
    if layer.is_operation {
        return (!operations::is_supported(layer)).then_some(&layer.class);
    }
    let wrapped = wrapped_layers(layer).into_iter();
    let classes = wrapped.filter_map(|l| l.get("class_name")?.as_str());
    let mut classes = [layer.class.as_str()].into_iter().chain(classes);
    classes.find(|class| registry::find(class).is_none())
}

/// The JSON of the layers that a layer wraps, and of those that they wrap.
fn wrapped_layers(layer: &LayerSpec) -> Vec<&Value> {
    let mut all: Vec<&Value> = layer.wrapped().collect();
    let mut next = 0;
    while let Some(wrapped) = all.get(next).copied() {
        let config = wrapped.get("config").unwrap_or(&Value::Null);
        all.extend(Settings::WRAPPED.iter().filter_map(|key| config.get(key)));
        next += 1;
    }
    all
}

/// Refuses arguments that a layer would not use, tensors and arrays: its prediction would be wrong.
///
/// # Errors
/// If there is one: the layer is named.
pub(super) fn arguments(model: &ModelPlan, is_keras_2: bool) -> std::result::Result<(), String> {
    for layer in &model.layers {
        let wrong = |what: String| {
            format!(
                "layer `{}`: its class `{}` is called with {what}",
                layer.name.escape_debug(),
                layer.class.escape_debug()
            )
        };
        for call in &layer.calls {
            let is_operation = matches!(layer.does, Does::Operations(_));
            if !is_operation && call.all_args().any(Arg::has_constant) {
                return Err(wrong(
                    "an array that is written out in the configuration, which is not supported"
                        .into(),
                ));
            }
            if is_keras_2 && call.trains() {
                return Err(wrong(
                    "`training=True`, which Keras 2 obeys in a prediction, and which is not \
                     supported"
                        .into(),
                ));
            }
            if call
                .args
                .iter()
                .any(|arg| matches!(arg, Arg::Dictionary(_)))
            {
                return Err(wrong(
                    "a dictionary that does not have the names of its inputs".into(),
                ));
            }
            if let Some(name) = unused_tensor(layer, call) {
                let name = name.escape_debug();
                return Err(wrong(format!(
                    "a tensor as `{name}`, which is not supported"
                )));
            }
        }
        if let Does::Model(model) | Does::TimeDistributed(model) = &layer.does {
            arguments(model, is_keras_2)?;
        }
    }
    Ok(())
}

/// The name of a keyword argument that is a tensor which the layer would not use.
fn unused_tensor<'a>(layer: &LayerNode, call: &'a Call) -> Option<&'a str> {
    let takes = |name: &str| match &layer.does {
        Does::Layer(layer) => layer.class.takes_tensor(name),
        Does::Operations(_) => is_operand(name),
        Does::Model(_) | Does::TimeDistributed(_) => name == "mask",
    };
    let mut tensors = call
        .kwargs
        .iter()
        .filter(|(_, arg)| !arg.tensors().is_empty());
    let unused = tensors.find(|(name, arg)| {
        // Only initial states may be several.
        let is_list = matches!(arg, Arg::List(_) | Arg::Dictionary(_)) && name != "initial_state";
        is_list || !takes(name)
    });
    unused.map(|(name, _)| name.as_str())
}
