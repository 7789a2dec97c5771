//! The layers, one file a family. Each is built from its configuration and its weights, and called
//! with tensors that it checks before it computes, so that a file that does not fit is an error
//! that names the layer.

use serde_json::{Map, Value as Json};

use super::config::LayerSpec;
use super::value::{Flow, Mask, Value};
use super::weights::{Counts, Vars};
use crate::base::error::Error;

pub(super) mod activation;
mod attended;
mod attention;
mod conv;
mod dense;
mod dot;
mod elementwise;
mod items;
mod masking;
mod matmul;
mod merge;
mod moved;
mod norm;
pub(super) mod operation;
pub(super) mod plan;
mod pool;
pub(super) mod recurrent;
mod reduce;
mod shape;

/// A layer with its weights.
pub(super) trait Layer {
    /// Runs it.
    ///
    /// # Errors
    /// If the inputs do not fit: in words, without the layer's name.
    fn call(&self, inputs: &[Flow], extra: &Extra) -> Result<Vec<Flow>, String>;
}

/// What a call has besides its inputs.
#[derive(Default)]
pub(super) struct Extra {
    /// Tensors by name, such as an attention layer's `value`.
    pub(super) tensors: Vec<(String, Flow)>,
    /// Plain values by name.
    pub(super) values: Vec<(String, Json)>,
}

impl Extra {
    pub(super) fn tensor(&self, name: &str) -> Option<&Flow> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// A mask by name: one that an operation has made comes as a tensor of zeros and ones.
    ///
    /// # Errors
    /// If it is not of rank 2.
    pub(super) fn mask(&self, name: &str) -> Result<Option<Mask>, String> {
        match self.tensor(name).map(|flow| &flow.x) {
            None => Ok(None),
            Some(Value::R2(mask)) => Ok(Some(mask.clone().not_equal_elem(0.0))),
            Some(mask) => {
                let shape = mask.shape();
                Err(format!("a mask of the shape {shape:?} is not supported"))
            }
        }
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        let value = self.values.iter().find(|(n, _)| n == name);
        value.is_some_and(|(_, v)| v.as_bool() == Some(true))
    }
}

/// The one input of a layer that has one.
fn one(inputs: &[Flow]) -> Result<&Flow, String> {
    match inputs {
        [input] => Ok(input),
        _ => Err(format!(
            "it takes one input, and is called with {}",
            inputs.len()
        )),
    }
}

/// A layer's configuration, read with what Keras takes for granted.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    pub(super) map: &'a Map<String, Json>,
    /// Written by Keras 2.
    pub(super) is_keras_2: bool,
}

impl<'a> Config<'a> {
    /// The value; `None` if it is not there, or null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Json> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    pub(super) fn size(&self, key: &str) -> Result<usize, String> {
        let value = self.get(key).and_then(Json::as_u64);
        let value = value.filter(|&v| (1..1 << 32).contains(&v));
        value
            .map(|v| v as usize)
            .ok_or_else(|| format!("its `{key}` is no number of things: {}", self.shown(key)))
    }

    pub(super) fn size_or(&self, key: &str, default: usize) -> Result<usize, String> {
        if self.get(key).is_some() {
            self.size(key)
        } else {
            Ok(default)
        }
    }

    pub(super) fn number(&self, key: &str, default: f64) -> f64 {
        self.get(key).and_then(Json::as_f64).unwrap_or(default)
    }

    /// One number or a list of them; `None` if it is not there.
    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>, String> {
        let number = |v: &Json| v.as_f64().map(|v| v as f32);
        let numbers = match self.get(key) {
            None => return Ok(None),
            Some(Json::Array(all)) => all.iter().map(number).collect(),
            Some(one) => number(one).map(|v| vec![v]),
        };
        let wrong = || format!("its `{key}` is no number: {}", self.shown(key));
        numbers.map(Some).ok_or_else(wrong)
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key).and_then(Json::as_bool).unwrap_or(default)
    }

    pub(super) fn text(&self, key: &str, default: &'static str) -> String {
        self.get(key)
            .and_then(Json::as_str)
            .unwrap_or(default)
            .to_owned()
    }

    fn shown(&self, key: &str) -> String {
        let text = self.map.get(key).map_or("missing".into(), Json::to_string);
        text.chars().take(60).collect()
    }

    /// Sizes of the axes of an image, from a number or a list.
    pub(super) fn sizes<const N: usize>(
        &self,
        key: &str,
        default: Option<usize>,
    ) -> Result<[usize; N], String> {
        const MOST: u64 = 1 << 20;
        let wrong = || {
            let shown = self.shown(key);
            format!("its `{key}` is not {N} sizes below {MOST}: {shown}")
        };
        let size = |v: &Json| {
            v.as_u64()
                .filter(|v| (1..MOST).contains(v))
                .map(|v| v as usize)
        };
        match (self.get(key), default) {
            (None, Some(default)) => Ok([default; N]),
            (None, None) => Err(wrong()),
            (Some(Json::Array(all)), _) => {
                let all: Option<Vec<usize>> = all.iter().map(size).collect();
                all.and_then(|all| all.try_into().ok()).ok_or_else(wrong)
            }
            (Some(one), _) => size(one).map(|s| [s; N]).ok_or_else(wrong),
        }
    }

    /// Sizes of the height and the width; a sequence has the height 1.
    fn image_sizes(
        &self,
        is_sequence: bool,
        key: &str,
        default: Option<usize>,
    ) -> Result<[usize; 2], String> {
        if is_sequence {
            self.sizes::<1>(key, default).map(|[width]| [1, width])
        } else {
            self.sizes(key, default)
        }
    }

    /// Refuses what is set and would change the result.
    pub(super) fn refuse(&self, key: &str, harmless: &[Json]) -> Result<(), String> {
        match self.get(key) {
            Some(value) if !harmless.contains(value) => Err(format!(
                "its `{key}` of {} is not supported",
                self.shown(key)
            )),
            _ => Ok(()),
        }
    }

    /// Refuses images with their channels first.
    pub(super) fn channels_last(&self) -> Result<(), String> {
        self.refuse("data_format", &[Json::from("channels_last")])
    }
}

/// Classes that do nothing when a model predicts.
const ONLY_WHEN_TRAINED: &[&str] = &[
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
];

/// All layers that can be read, for the message that refuses another.
pub(super) const SUPPORTED: &[&str] = &[
    "Activation",
    "Add",
    "Attention",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Dot",
    "ELU",
    "Embedding",
    "Flatten",
    "GRU",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "InputLayer",
    "LSTM",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPooling1D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "SeparableConv1D",
    "SeparableConv2D",
    "SimpleRNN",
    "Softmax",
    "Subtract",
    "TimeDistributed",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
];

/// The class that keeps a layer or operation from being read, its own or that of a layer which it
/// wraps; `None` if it can be.
pub(super) fn unsupported(layer: &LayerSpec) -> Option<&str> {
    let own = layer.class.as_str();
    if layer.is_operation {
        return (!operation::is_supported(layer)).then_some(own);
    }
    let inner = ["layer", "backward_layer"].map(|key| layer.config.get(key));
    let inner = inner.into_iter().flatten();
    let classes = inner.filter_map(|l| l.get("class_name")?.as_str());
    let is_known = |class: &&str| SUPPORTED.contains(class) || ONLY_WHEN_TRAINED.contains(class);
    [own]
        .into_iter()
        .chain(classes)
        .find(|class| !is_known(class))
}

/// Whether a layer looks at a tensor that it is called with by this name.
pub(super) fn reads(layer: &LayerSpec, name: &str) -> bool {
    if layer.is_operation {
        return operation::is_operand(name);
    }
    match name {
        "mask" => layer.class != "Softmax",
        "attention_mask" | "query_mask" | "value_mask" | "key_mask" => {
            layer.class == "MultiHeadAttention"
        }
        "initial_state" => matches!(
            layer.class.as_str(),
            "SimpleRNN" | "LSTM" | "GRU" | "Bidirectional"
        ),
        _ => false,
    }
}

/// How many weights a layer has of each kind, where a legacy file keeps them apart.
pub(super) fn counts(layer: &LayerSpec) -> Counts {
    let flag = |key: &str, default: bool| {
        let value = layer.config.get(key).and_then(Json::as_bool);
        usize::from(value.unwrap_or(default))
    };
    let has = |key: &str| layer.config.get(key).is_some_and(|value| !value.is_null());
    let inner = |key: &str| {
        let inner = layer.config.get(key)?;
        let spec = LayerSpec {
            name: String::new(),
            class: inner.get("class_name")?.as_str()?.into(),
            config: inner.get("config")?.as_object()?.clone(),
            calls: Vec::new(),
            model: None,
            is_operation: false,
            is_custom: false,
            is_shared: false,
        };
        Some(counts(&spec))
    };
    let bias = flag("use_bias", true);
    let (trained, fixed) = match layer.class.as_str() {
        _ if layer.is_operation => (0, 0),
        "Dense" | "Conv1D" | "Conv2D" | "Conv2DTranspose" | "DepthwiseConv1D"
        | "DepthwiseConv2D" => (1 + bias, 0),
        "SeparableConv1D" | "SeparableConv2D" | "SimpleRNN" | "LSTM" | "GRU" => (2 + bias, 0),
        "BatchNormalization" => (flag("center", true) + flag("scale", true), 2),
        "LayerNormalization" | "GroupNormalization" => {
            (flag("center", true) + flag("scale", true), 0)
        }
        "Embedding" | "PReLU" => (1, 0),
        "Attention" => (flag("use_scale", false), 0),
        "MultiHeadAttention" => (4 * (1 + bias), 0),
        // What is given needs not be learnt.
        "Normalization" if ["mean", "variance"].iter().all(|key| has(key)) => (0, 0),
        "Normalization" => (0, 3),
        "Bidirectional" | "TimeDistributed" => {
            let one = inner("layer").unwrap_or(Counts {
                trained: 0,
                fixed: 0,
            });
            let times = if layer.class == "Bidirectional" { 2 } else { 1 };
            (times * one.trained, times * one.fixed)
        }
        _ => (0, 0),
    };
    if flag("trainable", true) == 0 {
        return Counts {
            trained: 0,
            fixed: trained + fixed,
        };
    }
    Counts { trained, fixed }
}

/// Builds a layer from its configuration, taking its weights.
///
/// # Errors
/// If the configuration is not one that can be read, or the weights do not fit it.
pub(super) fn build(
    class: &str,
    config: &Config<'_>,
    vars: &mut Vars<'_>,
) -> Result<Box<dyn Layer>, Error> {
    let built: Box<dyn Layer> = match class {
        "InputLayer" => Box::new(Identity),
        class if ONLY_WHEN_TRAINED.contains(&class) => Box::new(Identity),
        "Dense" => Box::new(dense::Dense::build(config, vars)?),
        "Embedding" => Box::new(dense::Embedding::build(config, vars)?),
        "Softmax" if let Some(layer) = vars.checked(activation::SoftmaxOver::build(config))? => {
            Box::new(layer)
        }
        "Activation" | "ReLU" | "LeakyReLU" | "ELU" | "Softmax" => {
            Box::new(vars.checked(activation::Activated::build(class, config))?)
        }
        "Dot" => Box::new(vars.checked(dot::Dot::build(config))?),
        "Attention" => Box::new(dot::Attention::build(config, vars)?),
        "Masking" => Box::new(masking::Masking::build(config)),
        "PReLU" => Box::new(activation::PRelu::build(vars)?),
        "Conv1D" | "Conv2D" | "DepthwiseConv1D" | "DepthwiseConv2D" | "SeparableConv1D"
        | "SeparableConv2D" => Box::new(conv::Conv::build(class, config, vars)?),
        "Conv2DTranspose" => Box::new(conv::Transposed::build(config, vars)?),
        "MaxPooling1D" | "MaxPooling2D" | "AveragePooling1D" | "AveragePooling2D" => {
            Box::new(vars.checked(pool::Pool::build(class, config))?)
        }
        "GlobalMaxPooling1D"
        | "GlobalMaxPooling2D"
        | "GlobalAveragePooling1D"
        | "GlobalAveragePooling2D" => Box::new(vars.checked(pool::Global::build(class, config))?),
        "BatchNormalization" => Box::new(norm::Batch::build(config, vars)?),
        "LayerNormalization" => Box::new(norm::LayerNorm::build(config, vars)?),
        "GroupNormalization" => Box::new(norm::GroupNorm::build(config, vars)?),
        "UnitNormalization" => Box::new(vars.checked(norm::UnitNorm::build(config))?),
        "Normalization" => Box::new(norm::Normalize::build(config, vars)?),
        "Rescaling" => Box::new(vars.checked(norm::Rescale::build(config))?),
        "SimpleRNN" | "LSTM" | "GRU" => Box::new(recurrent::Recurrent::build(class, config, vars)?),
        "Bidirectional" => Box::new(recurrent::Bidirectional::build(config, vars)?),
        "TimeDistributed" => Box::new(recurrent::EachStep::build(config, vars)?),
        "MultiHeadAttention" => Box::new(attention::MultiHead::build(config, vars)?),
        "Add" | "Subtract" | "Multiply" | "Average" | "Maximum" | "Minimum" | "Concatenate" => {
            Box::new(vars.checked(merge::Merge::build(class, config))?)
        }
        _ => vars.checked(shape::build(class, config))?,
    };
    Ok(built)
}

/// Hands on what it gets.
struct Identity;

impl Layer for Identity {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        Ok(vec![one(inputs)?.clone()])
    }
}

/// Joins values into the output of a layer that keeps the mask of its input.
fn keeping_mask(input: &Flow, x: Value) -> Vec<Flow> {
    vec![Flow::masked(x, input.mask())]
}
