//! The model's configuration as Keras writes it, versions 2 and 3: layers, and how they call each
//! other.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::call::{Arg, Call, TensorRef, call};
use super::container::wrong;
use super::signature;
use super::wiring::Wiring;
use crate::base::error::Error;

/// A model: layers, and which of their outputs go in and come out.
#[derive(Debug)]
pub(super) struct ModelSpec {
    pub(super) name: String,
    pub(super) layers: Vec<LayerSpec>,
    pub(super) inputs: Vec<TensorRef>,
    /// What its inputs are called in a dictionary.
    pub(super) input_names: Vec<String>,
    /// The same of its outputs, which in a list go by their layers.
    pub(super) output_names: Vec<String>,
    pub(super) wiring: Arc<Wiring>,
}

/// A layer, with all its calls; shared layers have several.
#[derive(Debug)]
pub(super) struct LayerSpec {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) config: Map<String, Value>,
    pub(super) calls: Vec<Call>,
    /// The model that this layer is, or that it runs on each step, if there is one.
    pub(super) model: Option<Box<ModelSpec>>,
    /// An operation between tensors, such as `a + b`, and no layer.
    pub(super) is_operation: bool,
    /// It has code of its own, whatever its class is called.
    pub(super) is_custom: bool,
    /// It is in the file more than once, with one set of weights.
    pub(super) is_shared: bool,
}

/// Most layers of a model: the largest known have a thousand.
const MOST_LAYERS: usize = 20_000;

/// What runs a layer or a model on each step.
const EACH_STEP: &str = "TimeDistributed";

/// Names that layers without a name of their own would be confused by.
pub(super) const INPUT: &str = "InputLayer";

/// How layers are called that leave out of their configuration what all others have in it.
const LESS_SAID: &str = "SpatialDropout";

impl ModelSpec {
    /// Reads the configuration of a whole file.
    ///
    /// # Errors
    /// If it is not that of a Sequential or a Functional model, or lacks what it needs.
    pub(super) fn of(path: &Path, mut config: Value) -> Result<Self, Error> {
        Self::parse(&mut config, "model")
            .map_err(|what| wrong(path, format!("the configuration: {what}")))
    }

    fn parse(value: &mut Value, place: &str) -> Result<Self, String> {
        let class = text(value, "class_name", place)?.to_owned();
        let is_custom = self::is_custom(value);
        let config = value
            .get_mut("config")
            .and_then(Value::as_object_mut)
            .ok_or_else(|| format!("`{place}` has no config"))?;
        let name = config.get("name").and_then(Value::as_str);
        let name = name.unwrap_or(place).to_owned();
        if is_custom && is_model(&class) {
            return Err(format!(
                "`{name}` is of a custom class `{class}`, which has Python code of its own"
            ));
        }
        if !is_model(&class) {
            return Err(format!(
                "`{name}` is of the class `{class}`; only Sequential and Functional models say what \
                 they are made of, and a subclassed one is Python code"
            ));
        }
        // Taken, so that a configuration is in memory once.
        let Some(Value::Array(layers)) = config.remove("layers") else {
            return Err(format!("`{name}` has no list of layers"));
        };
        if layers.len() > MOST_LAYERS {
            return Err(format!("`{name}` has more than {MOST_LAYERS} layers"));
        }
        match class.as_str() {
            "Sequential" => Self::sequential(name, layers),
            _ => Self::functional(name, layers, config),
        }
    }

    fn sequential(name: String, layers: Vec<Value>) -> Result<Self, String> {
        let mut parsed = Vec::new();
        for (i, layer) in layers.into_iter().enumerate() {
            parsed.push(LayerSpec::parse(layer, &format!("layer {i} of {name}"))?);
        }
        if parsed.first().is_none_or(|l| l.class != INPUT) {
            let mut config = Map::new();
            // Keras 2 keeps the shape in the first layer.
            let shape = parsed
                .first()
                .and_then(|l| l.config.get("batch_input_shape"));
            if let Some(shape) = shape {
                config.insert("batch_shape".into(), shape.clone());
            }
            parsed.insert(
                0,
                LayerSpec {
                    name: format!("{name}_input"),
                    class: INPUT.into(),
                    config,
                    calls: vec![Call::default()],
                    model: None,
                    is_operation: false,
                    is_custom: false,
                    is_shared: false,
                },
            );
        }
        for i in 0..parsed.len() {
            parsed[i].calls = match i {
                0 => vec![Call::default()],
                _ => {
                    let before = TensorRef::first_of(&parsed[i - 1].name);
                    vec![Call {
                        args: vec![Arg::Tensor(before)],
                        kwargs: Vec::new(),
                    }]
                }
            };
        }
        let first = TensorRef::first_of(&parsed[0].name);
        let last = TensorRef::first_of(&parsed[parsed.len() - 1].name);
        Self::wired(name, unique(parsed)?, vec![first], vec![last])
    }

    fn functional(
        name: String,
        layers: Vec<Value>,
        config: &Map<String, Value>,
    ) -> Result<Self, String> {
        let mut parsed = Vec::new();
        let is_keras_2 = layers.iter().any(|layer| {
            let first = layer.get("inbound_nodes").and_then(|nodes| nodes.get(0));
            first.is_some_and(Value::is_array)
        });
        for (i, layer) in layers.into_iter().enumerate() {
            parsed.push(LayerSpec::parse(layer, &format!("layer {i} of {name}"))?);
        }
        // A nested model has a call of its own, before those of the model that it is in. Keras 2
        // counts it in every reference, Keras 3 in those of the ends, and not for Sequential models.
        let counted: BTreeSet<String> = parsed
            .iter()
            .filter(|l| l.model.is_some() && !l.is_each_step())
            .filter(|l| is_keras_2 || l.class != "Sequential")
            .map(|l| l.name.clone())
            .collect();
        let uncount = |tensor: &mut TensorRef| {
            if counted.contains(&tensor.layer) {
                tensor.node = tensor.node.saturating_sub(1);
            }
        };
        if is_keras_2 {
            for layer in &mut parsed {
                for call in &mut layer.calls {
                    let kwargs = call.kwargs.iter_mut().map(|(_, arg)| arg);
                    call.args
                        .iter_mut()
                        .chain(kwargs)
                        .for_each(|arg| arg.each_tensor(&uncount));
                }
            }
        }
        let ends = |key: &str| -> Result<Vec<TensorRef>, String> {
            let value = config.get(key);
            let value = value.ok_or_else(|| format!("`{name}` has no `{key}`"))?;
            let ends = refs(value).filter(|e| !e.is_empty());
            let mut ends =
                ends.ok_or_else(|| format!("`{key}` of `{name}` is no list of tensors"))?;
            ends.iter_mut().for_each(&uncount);
            Ok(ends)
        };
        let (inputs, outputs) = (ends("input_layers")?, ends("output_layers")?);
        let mut model = Self::wired(name, unique(parsed)?, inputs, outputs)?;
        let keys = |of: &str| config.get(of).and_then(Value::as_object);
        if let Some(keys) = keys("input_layers") {
            model.input_names = keys.keys().cloned().collect();
        }
        if let Some(keys) = keys("output_layers") {
            model.output_names = keys.keys().cloned().collect();
        }
        Ok(model)
    }

    fn wired(
        name: String,
        layers: Vec<LayerSpec>,
        inputs: Vec<TensorRef>,
        outputs: Vec<TensorRef>,
    ) -> Result<Self, String> {
        let wiring = Wiring::of(&layers, &inputs, &outputs);
        let wiring = wiring.map_err(|what| format!("model `{name}`: {what}"))?;
        Ok(Self {
            name,
            layers,
            input_names: inputs.iter().map(|input| input.layer.clone()).collect(),
            output_names: outputs.iter().map(|output| output.layer.clone()).collect(),
            inputs,
            wiring: Arc::new(wiring),
        })
    }

    /// Whether a layer computes in a type of two bytes.
    pub(super) fn is_half(&self) -> bool {
        let layers = self.all_layers();
        let mut types = layers.iter().filter_map(|layer| layer.dtype());
        types.any(|dtype| dtype.ends_with("float16"))
    }

    /// This model's layers and those of the models in it.
    pub(super) fn all_layers(&self) -> Vec<&LayerSpec> {
        let mut all = Vec::new();
        for layer in &self.layers {
            match &layer.model {
                Some(model) => all.extend(model.all_layers()),
                None => all.push(layer),
            }
        }
        all
    }
}

fn is_model(class: &str) -> bool {
    matches!(class, "Sequential" | "Functional" | "Model")
}

/// Whether an object is of a class that is not Keras's own: a `.keras` archive says where a class is
/// from, null if it was registered.
pub(super) fn is_custom(object: &Value) -> bool {
    let is_registered = object.get("registered_name").is_some_and(Value::is_string);
    match object.get("module") {
        Some(Value::Null) => is_registered,
        Some(Value::String(module)) => {
            let package = module.split('.').next().unwrap_or("");
            !["", "builtins", "keras", "tf_keras", "tensorflow"].contains(&package)
        }
        _ => false,
    }
}

fn unique(layers: Vec<LayerSpec>) -> Result<Vec<LayerSpec>, String> {
    let mut seen = BTreeSet::new();
    for layer in &layers {
        if !seen.insert(&layer.name) {
            return Err(format!("two layers have the name `{}`", layer.name));
        }
    }
    Ok(layers)
}

/// `["name", 0, 0]`, or a list of such; in a dictionary, its values.
fn refs(value: &Value) -> Option<Vec<TensorRef>> {
    if let Some(one) = TensorRef::of(value) {
        return Some(vec![one]);
    }
    let parts: Vec<&Value> = match value {
        Value::Array(parts) => parts.iter().collect(),
        Value::Object(parts) => parts.values().collect(),
        _ => return None,
    };
    let parts: Option<Vec<Vec<TensorRef>>> = parts.into_iter().map(refs).collect();
    Some(parts?.concat())
}

fn text<'a>(value: &'a Value, key: &str, place: &str) -> Result<&'a str, String> {
    let text = value.get(key).and_then(Value::as_str);
    text.ok_or_else(|| format!("`{place}` has no `{key}`"))
}

impl LayerSpec {
    /// The name of the type, or of the policy, that it computes in.
    pub(super) fn dtype(&self) -> Option<&str> {
        let dtype = self.config.get("dtype")?;
        let policy = || dtype.get("config")?.get("name")?.as_str();
        dtype.as_str().or_else(policy)
    }

    /// Whether it runs its layer or model on each step.
    pub(super) fn is_each_step(&self) -> bool {
        self.class == EACH_STEP
    }

    fn parse(mut value: Value, place: &str) -> Result<Self, String> {
        let class = text(&value, "class_name", place)?.to_owned();
        let config = value.get("config").and_then(Value::as_object);
        let config = config.ok_or_else(|| format!("{place} has no config"))?;
        let own = config.get("name").and_then(Value::as_str);
        let name = own.or_else(|| value.get("name").and_then(Value::as_str));
        let name = name
            .ok_or_else(|| format!("{place} has no name"))?
            .to_owned();
        let calls = match value.get("inbound_nodes") {
            Some(Value::Array(nodes)) => {
                let calls = nodes.iter().map(call);
                calls
                    .collect::<Option<Vec<Call>>>()
                    .ok_or_else(|| format!("the calls of `{name}` cannot be read"))?
            }
            _ => Vec::new(),
        };
        let calls = if calls.is_empty() && class == INPUT {
            vec![Call::default()]
        } else {
            calls
        };
        let is_model = self::is_model(&class) && config.contains_key("layers");
        let inner = config.get("layer").and_then(|l| l.get("class_name"));
        let wraps_model =
            class == EACH_STEP && inner.and_then(Value::as_str).is_some_and(self::is_model);
        let module = value.get("module").and_then(Value::as_str).unwrap_or("");
        // In a legacy file the module is left out; then an operation lacks what all layers have.
        let has_calls = value.get("inbound_nodes").and_then(|nodes| nodes.get(0));
        let is_bare = value.get("module").is_none()
            && class != INPUT
            && !class.starts_with(LESS_SAID)
            && !config.contains_key("trainable");
        let is_operation = module.contains(".ops.")
            || matches!(class.as_str(), "TFOpLambda" | "SlicingOpLambda")
            || (is_bare && has_calls.is_some_and(Value::is_object));
        let is_custom = is_custom(&value);
        let is_shared = value.get("shared_object_id").is_some();
        let model = match value.get_mut("config").and_then(|c| c.get_mut("layer")) {
            _ if is_model => Some(ModelSpec::parse(&mut value, &name)?),
            Some(inner) if wraps_model => Some(ModelSpec::parse(inner, &name)?),
            _ => None,
        };
        let model = model.map(Box::new);
        let calls = calls.into_iter().map(|call| match &model {
            _ if is_operation => call,
            Some(model) => {
                signature::by_inputs(&model.input_names, signature::sorted(&class, call))
            }
            None => signature::sorted(&class, call),
        });
        let calls = calls.collect();
        let config = match value.get_mut("config").map(Value::take) {
            Some(Value::Object(config)) => config,
            _ => Map::new(),
        };
        Ok(Self {
            name,
            class,
            config,
            calls,
            model,
            is_operation,
            is_custom,
            is_shared,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sequential_model_is_a_chain() {
        let config = json!({"class_name": "Sequential", "config": {"name": "s", "layers": [
            {"class_name": "Dense", "config": {"name": "d", "batch_input_shape": [null, 3]}},
            {"class_name": "Dense", "config": {"name": "e"}},
        ]}});
        let model = ModelSpec::of(Path::new("m"), config).unwrap();
        let names: Vec<&str> = model.layers.iter().map(|l| &*l.name).collect();
        assert_eq!(names, ["s_input", "d", "e"]);
        assert_eq!(model.layers[0].config["batch_shape"], json!([null, 3]));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (config, says) in [
            (json!({}), "no `class_name`"),
            (json!({"class_name": "Sequential"}), "has no config"),
            (
                json!({"class_name": "Mine", "config": {"layers": []}}),
                "the class `Mine`",
            ),
            (
                json!({"class_name": "Functional", "config": {"name": "f", "layers": []}}),
                "`f` has no `input_layers`",
            ),
            (
                json!({"class_name": "Sequential", "config": {"layers": [
                    {"class_name": "Dense", "config": {"name": "d"}},
                    {"class_name": "Dense", "config": {"name": "d"}}]}}),
                "two layers have the name `d`",
            ),
        ] {
            let error = ModelSpec::of(Path::new("m.keras"), config).unwrap_err();
            let error = error.to_string();
            assert!(
                error.starts_with("m.keras: ") && error.contains(says),
                "{error}"
            );
        }
    }
}
