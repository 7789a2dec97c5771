//! A model's configuration: its layers, their calls, and which tensors go in and come out.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::call::{self, Call, TensorRef};
use super::settings::Settings;

/// Most layers of a model: the largest known have a thousand.
const MAX_LAYERS: usize = 20_000;

/// The class of an input.
pub(crate) const INPUT: &str = "InputLayer";

/// The class that runs a layer or a whole model on each step of a sequence.
const TIME_DISTRIBUTED: &str = "TimeDistributed";

/// The classes of models whose configuration describes all that they do.
const MODELS: [&str; 3] = ["Sequential", "Functional", "Model"];

/// A Sequential or Functional model.
#[derive(Debug)]
pub(crate) struct ModelSpec {
    pub(crate) name: String,
    pub(crate) layers: Vec<LayerSpec>,
    pub(crate) inputs: Vec<TensorRef>,
    pub(crate) outputs: Vec<TensorRef>,
    /// The keys of the inputs in a dictionary; without one, the names of their layers.
    pub(crate) input_keys: Vec<String>,
    /// The keys of the outputs in a dictionary; without one, the names of their layers.
    pub(crate) output_keys: Vec<String>,
}

/// A layer with all its calls; a shared layer has several.
#[derive(Debug)]
pub(crate) struct LayerSpec {
    pub(crate) name: String,
    pub(crate) class: String,
    pub(crate) config: Map<String, Value>,
    pub(crate) calls: Vec<Call>,
    /// The model that this layer is, or that it runs on each step.
    pub(crate) model: Option<Box<ModelSpec>>,
    /// It is an operation on tensors, such as `a + b`, and not a layer.
    pub(crate) is_operation: bool,
    /// Its class is defined outside of Keras, even if it has the name of one of Keras's own.
    pub(crate) is_custom: bool,
    /// It is in the file more than once, with one set of weights.
    pub(crate) is_shared: bool,
}

impl ModelSpec {
    /// Reads the configuration of a file.
    ///
    /// # Errors
    /// If it is not that of a Sequential or Functional model, or lacks a part.
    pub(crate) fn read(config: Value) -> Result<Self, String> {
        Self::parse(config, "model").map_err(|what| format!("the configuration: {what}"))
    }

    fn parse(mut value: Value, place: &str) -> Result<Self, String> {
        let class = text(&value, "class_name", place)?.to_owned();
        let is_custom = is_custom(&value);
        let Some(Value::Object(mut config)) = value.get_mut("config").map(Value::take) else {
            return Err(format!("`{place}` has no `config`"));
        };
        let name = config.get("name").and_then(Value::as_str);
        let name = name.unwrap_or(place).to_owned();
        if !is_model(&class) {
            return Err(format!(
                "`{name}` is of the class `{class}`; only Sequential and Functional models describe \
                 their layers, and a subclassed model is Python code"
            ));
        }
        if is_custom {
            return Err(format!(
                "`{name}` is of a custom class `{class}`, which has Python code of its own"
            ));
        }
        let Some(Value::Array(layers)) = config.remove("layers") else {
            return Err(format!("`{name}` has no list of layers"));
        };
        if layers.len() > MAX_LAYERS {
            return Err(format!("`{name}` has more than {MAX_LAYERS} layers"));
        }
        match class.as_str() {
            "Sequential" => Self::sequential(name, layers),
            _ => Self::functional(name, layers, &config),
        }
    }

    fn sequential(name: String, layers: Vec<Value>) -> Result<Self, String> {
        let mut layers = parse_layers(&name, layers)?;
        if layers.first().is_none_or(|l| l.class != INPUT) {
            // Keras 2 keeps the shape of the input in the first layer.
            let shape = layers
                .first()
                .and_then(|l| l.config.get("batch_input_shape"));
            let shape = shape.map(|shape| ("batch_shape".into(), shape.clone()));
            let input = LayerSpec::input(format!("{name}_input"), shape.into_iter().collect());
            layers.insert(0, input);
        }
        let mut before: Option<TensorRef> = None;
        for layer in &mut layers {
            layer.calls = vec![before.take().map_or_else(Call::default, Call::on)];
            before = Some(TensorRef::first_of(&layer.name));
        }
        let first = TensorRef::first_of(&layers[0].name);
        let last = TensorRef::first_of(&layers[layers.len() - 1].name);
        Self::new(name, layers, vec![first], vec![last])
    }

    fn functional(
        name: String,
        layers: Vec<Value>,
        config: &Map<String, Value>,
    ) -> Result<Self, String> {
        let is_keras_2 = layers.iter().any(|layer| {
            let first = layer.get("inbound_nodes").and_then(|nodes| nodes.get(0));
            first.is_some_and(Value::is_array)
        });
        let mut layers = parse_layers(&name, layers)?;
        // A nested model has a call from its own construction, before those of the model that it is
        // in. Keras 2 counts that call in every reference; Keras 3 counts it in the references of
        // `input_layers` and `output_layers`, and not for Sequential models.
        let counted: BTreeSet<String> = layers
            .iter()
            .filter(|l| l.model.is_some() && !l.is_time_distributed())
            .filter(|l| is_keras_2 || l.class != "Sequential")
            .map(|l| l.name.clone())
            .collect();
        let skip_own_call = |tensor: &mut TensorRef| {
            if counted.contains(&tensor.layer) {
                tensor.node = tensor.node.saturating_sub(1);
            }
        };
        if is_keras_2 {
            for call in layers.iter_mut().flat_map(|layer| &mut layer.calls) {
                let named = call.kwargs.iter_mut().map(|(_, arg)| arg);
                for arg in call.args.iter_mut().chain(named) {
                    arg.for_each_tensor(&skip_own_call);
                }
            }
        }
        let ends = |key: &str| -> Result<Vec<TensorRef>, String> {
            let value = config.get(key);
            let value = value.ok_or_else(|| format!("`{name}` has no `{key}`"))?;
            let ends = tensor_refs(value).filter(|e| !e.is_empty());
            let mut ends =
                ends.ok_or_else(|| format!("`{key}` of `{name}` is not a list of tensors"))?;
            ends.iter_mut().for_each(&skip_own_call);
            Ok(ends)
        };
        let (inputs, outputs) = (ends("input_layers")?, ends("output_layers")?);
        let mut model = Self::new(name, layers, inputs, outputs)?;
        for (key, names) in [
            ("input_layers", &mut model.input_keys),
            ("output_layers", &mut model.output_keys),
        ] {
            if let Some(Value::Object(dictionary)) = config.get(key) {
                *names = dictionary.keys().cloned().collect();
            }
        }
        Ok(model)
    }

    fn new(
        name: String,
        layers: Vec<LayerSpec>,
        inputs: Vec<TensorRef>,
        outputs: Vec<TensorRef>,
    ) -> Result<Self, String> {
        let mut names = BTreeSet::new();
        if let Some(twice) = layers.iter().find(|layer| !names.insert(&layer.name)) {
            return Err(format!("two layers have the name `{}`", twice.name));
        }
        Ok(Self {
            input_keys: inputs.iter().map(|input| input.layer.clone()).collect(),
            output_keys: outputs.iter().map(|output| output.layer.clone()).collect(),
            name,
            layers,
            inputs,
            outputs,
        })
    }

    /// The layers of this model and of the models nested in it, without those models themselves.
    pub(crate) fn all_layers(&self) -> Vec<&LayerSpec> {
        let layers = self.layers.iter().flat_map(|layer| match &layer.model {
            Some(model) => model.all_layers(),
            None => vec![layer],
        });
        layers.collect()
    }
}

impl LayerSpec {
    /// An input that no layer in the file stands for.
    fn input(name: String, config: Map<String, Value>) -> Self {
        Self {
            name,
            class: INPUT.into(),
            config,
            calls: vec![Call::default()],
            model: None,
            is_operation: false,
            is_custom: false,
            is_shared: false,
        }
    }

    fn parse(mut value: Value, place: &str) -> Result<Self, String> {
        let class = text(&value, "class_name", place)?.to_owned();
        let config = value.get("config").and_then(Value::as_object);
        let config = config.ok_or_else(|| format!("`{place}` has no `config`"))?;
        let own_name = config.get("name").and_then(Value::as_str);
        let name = own_name.or_else(|| value.get("name")?.as_str());
        let name = name.ok_or_else(|| format!("`{place}` has no `name`"))?;
        let name = name.to_owned();
        let mut calls = Vec::new();
        if let Some(Value::Array(nodes)) = value.get("inbound_nodes") {
            let read: Option<Vec<Call>> = nodes.iter().map(call::read).collect();
            calls = read.ok_or_else(|| format!("the calls of layer `{name}` cannot be read"))?;
        }
        if calls.is_empty() && class == INPUT {
            calls.push(Call::default());
        }
        let is_operation = is_operation(&value, &class, config);
        let is_custom = is_custom(&value);
        let is_shared = value.get("shared_object_id").is_some();
        let has_layers = config.contains_key("layers");
        let mut model = None;
        if is_model(&class) && has_layers {
            model = Some(Box::new(ModelSpec::parse(value.take(), &name)?));
        } else if class == TIME_DISTRIBUTED
            && let Some(inner) = value.get_mut("config").and_then(|c| c.get_mut("layer"))
            && let Some(Value::String(class)) = inner.get("class_name")
            && is_model(class)
        {
            model = Some(Box::new(ModelSpec::parse(inner.take(), &name)?));
        }
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

    pub(crate) fn settings(&self, is_keras_2: bool) -> Settings<'_> {
        Settings::new(&self.config, is_keras_2)
    }

    /// The JSON of the layers that this one wraps.
    pub(crate) fn wrapped(&self) -> impl Iterator<Item = &Value> {
        let keys = Settings::WRAPPED.into_iter();
        keys.filter_map(|key| self.config.get(key))
    }

    /// The name of the type, or of the policy, that it computes in.
    pub(crate) fn dtype(&self) -> Option<&str> {
        let dtype = self.config.get("dtype")?;
        let policy = || dtype.get("config")?.get("name")?.as_str();
        dtype.as_str().or_else(policy)
    }

    /// Whether it runs its layer or model on each step of a sequence.
    pub(crate) fn is_time_distributed(&self) -> bool {
        self.class == TIME_DISTRIBUTED
    }
}

fn parse_layers(model: &str, layers: Vec<Value>) -> Result<Vec<LayerSpec>, String> {
    let layers = layers.into_iter().enumerate();
    let layers = layers.map(|(i, layer)| LayerSpec::parse(layer, &format!("layer {i} of {model}")));
    layers.collect()
}

/// Whether it is an operation on tensors. A `.keras` archive says where a class is from. A legacy
/// file does not: there, an operation of Keras 3 lacks what the configuration of every layer has.
fn is_operation(value: &Value, class: &str, config: &Map<String, Value>) -> bool {
    let module = value.get("module");
    let is_in_ops = module
        .and_then(Value::as_str)
        .is_some_and(|m| m.contains(".ops."));
    let first_call = value.get("inbound_nodes").and_then(|nodes| nodes.get(0));
    let lacks_settings = !config.contains_key("trainable")
        // SpatialDropout leaves them out, too.
        && !class.starts_with("SpatialDropout")
        && class != INPUT;
    is_in_ops
        || matches!(class, "TFOpLambda" | "SlicingOpLambda")
        || (module.is_none() && lacks_settings && first_call.is_some_and(Value::is_object))
}

fn is_model(class: &str) -> bool {
    MODELS.contains(&class)
}

/// Whether an object is of a class that Keras does not have: a `.keras` archive says which module
/// defines a class, null for one that was registered by its user.
pub(crate) fn is_custom(object: &Value) -> bool {
    match object.get("module") {
        Some(Value::Null) => object.get("registered_name").is_some_and(Value::is_string),
        Some(Value::String(module)) => {
            let package = module.split('.').next().unwrap_or("");
            !["", "builtins", "keras", "tf_keras", "tensorflow"].contains(&package)
        }
        _ => false,
    }
}

/// Reads `["name", 0, 0]`, a list of such, or the values of a dictionary of such.
fn tensor_refs(value: &Value) -> Option<Vec<TensorRef>> {
    if let Some(one) = TensorRef::read(value) {
        return Some(vec![one]);
    }
    let parts: Vec<&Value> = match value {
        Value::Array(parts) => parts.iter().collect(),
        Value::Object(parts) => parts.values().collect(),
        _ => return None,
    };
    let parts: Option<Vec<Vec<TensorRef>>> = parts.into_iter().map(tensor_refs).collect();
    Some(parts?.concat())
}

fn text<'a>(value: &'a Value, key: &str, place: &str) -> Result<&'a str, String> {
    let text = value.get(key).and_then(Value::as_str);
    text.ok_or_else(|| format!("`{place}` has no `{key}`"))
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
        let model = ModelSpec::read(config).unwrap();
        let names: Vec<&str> = model.layers.iter().map(|l| &*l.name).collect();
        assert_eq!(names, ["s_input", "d", "e"]);
        assert_eq!(model.layers[0].config["batch_shape"], json!([null, 3]));
        let takes: Vec<&str> = model.layers[2].calls[0]
            .tensors()
            .map(|t| &*t.layer)
            .collect();
        assert_eq!(takes, ["d"]);
        assert_eq!(model.outputs[0].layer, "e");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (config, says) in [
            (json!({}), "no `class_name`"),
            (json!({"class_name": "Sequential"}), "has no `config`"),
            (
                json!({"class_name": "Mine", "config": {"layers": []}}),
                "the class `Mine`",
            ),
            (
                json!({"class_name": "Functional", "config": {"name": "f", "layers": []}}),
                "`f` has no `input_layers`",
            ),
            (
                json!({"class_name": "Sequential", "config": {"name": "s", "layers": [
                    {"class_name": "Dense", "config": {}}]}}),
                "`layer 0 of s` has no `name`",
            ),
            (
                json!({"class_name": "Sequential", "config": {"layers": [
                    {"class_name": "Dense", "config": {"name": "d"}},
                    {"class_name": "Dense", "config": {"name": "d"}}]}}),
                "two layers have the name `d`",
            ),
        ] {
            let error = ModelSpec::read(config).unwrap_err();
            assert!(
                error.starts_with("the configuration: ") && error.contains(says),
                "{error}"
            );
        }
    }
}
