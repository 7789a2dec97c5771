//! The interface of a class of layers: it reads the settings of a layer, plans it without its weights,
//! builds it from them, and runs it.

use std::any::Any;

use serde_json::Value;

use super::weights::LayerWeights;
use crate::config::call::Call;
use crate::config::settings::{Settings, Wrapped};
use crate::config::signature::Signature;
use crate::tensor::budget::Budget;
use crate::tensor::dtype::ResultType;
use crate::tensor::shape::Shape;
use crate::tensor::{DynTensor, Mask, Masked};

/// A class of layers: one entry of the registry.
pub(crate) struct Class {
    /// Its name in Keras.
    pub(crate) name: &'static str,
    parse: Parse,
    /// The parameters of its `call`.
    pub(crate) signature: Signature,
    /// The keyword arguments of its `call` that may be tensors.
    tensors: &'static [&'static str],
    /// The type of its results.
    pub(crate) result_type: ResultType,
    /// It does nothing when a model predicts.
    pub(crate) is_inert: bool,
}

/// Reads a layer's settings.
#[derive(Clone, Copy)]
enum Parse {
    Layer(fn(&Settings<'_>) -> Parsed),
    /// Of a layer that wraps another one, whose class it looks up.
    Wrapper(fn(&Settings<'_>, Lookup) -> Parsed),
}

/// A layer, or what is wrong with its settings.
pub(crate) type Parsed = Result<Box<dyn LayerPlan>, String>;

/// Finds a class by its name.
pub(crate) type Lookup = fn(&str) -> Option<&'static Class>;

impl Class {
    /// A class without wrapped layers, whose call has one input, and may have a mask.
    pub(crate) const fn new(name: &'static str, parse: fn(&Settings<'_>) -> Parsed) -> Self {
        Self::with(name, Parse::Layer(parse))
    }

    /// A class that wraps another layer.
    pub(crate) const fn wrapper(
        name: &'static str,
        parse: fn(&Settings<'_>, Lookup) -> Parsed,
    ) -> Self {
        Self::with(name, Parse::Wrapper(parse))
    }

    const fn with(name: &'static str, parse: Parse) -> Self {
        Self {
            name,
            parse,
            signature: Signature::DEFAULT,
            tensors: &["mask"],
            result_type: ResultType::Float,
            is_inert: false,
        }
    }

    /// Sets the parameters of its `call`, and which of those after the inputs may be tensors.
    pub(crate) const fn called(
        mut self,
        signature: Signature,
        tensors: &'static [&'static str],
    ) -> Self {
        self.signature = signature;
        self.tensors = tensors;
        self
    }

    /// Sets the type of its results, if it is not a type of floats.
    pub(crate) const fn gives(mut self, result_type: ResultType) -> Self {
        self.result_type = result_type;
        self
    }

    /// Declares that it does nothing when a model predicts.
    pub(crate) const fn inert(mut self) -> Self {
        self.is_inert = true;
        self
    }

    /// Whether it uses a tensor that it is called with under this name.
    pub(crate) fn takes_tensor(&self, name: &str) -> bool {
        self.tensors.contains(&name)
    }

    /// Reads the settings of a layer that wraps no other one.
    pub(crate) fn parse_plain(&self, settings: &Settings<'_>) -> Parsed {
        self.parse(settings, |_| None)
    }

    fn parse(&self, settings: &Settings<'_>, lookup: Lookup) -> Parsed {
        match self.parse {
            Parse::Layer(parse) => parse(settings),
            Parse::Wrapper(parse) => parse(settings, lookup),
        }
    }
}

/// A layer as its settings describe it. Error messages complete the sentence "layer `x`: …".
pub(crate) trait LayerPlan: Any + Send + Sync {
    /// The shapes of the outputs for inputs of these shapes. Large temporary tensors and recurrent
    /// steps are taken from the budget; the outputs are not. Most layers keep the
    /// shape of their input.
    ///
    /// # Errors
    /// If the inputs do not fit, or the budget is exceeded.
    fn outputs(
        &self,
        inputs: &[Shape],
        _call: &Call,
        _budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        Ok(vec![one(inputs)?.clone()])
    }

    /// Takes the layer's weights.
    ///
    /// # Errors
    /// If one is missing, or does not fit the settings.
    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String>;

    /// How many weights it has if it is trainable.
    fn weight_count(&self) -> WeightCount {
        WeightCount::default()
    }

    /// The folders of its sub-layers with weights in a `.keras` archive, in the order of its
    /// weights; an empty string for the layer itself.
    fn folders(&self) -> &'static [&'static str] {
        &[""]
    }

    /// The layer that it wraps, if that one's weights are stored under its own name, and the folder.
    fn wrapped(&self) -> Option<(&'static str, &PlannedLayer)> {
        None
    }

    /// The number of different tokens that it takes, if its input is tokens.
    fn tokens(&self) -> Option<usize> {
        None
    }
}

/// A layer without weights, which is its own plan.
pub(crate) trait Weightless: Layer + Clone + 'static {
    /// As [`LayerPlan::outputs`].
    ///
    /// # Errors
    /// As there.
    fn outputs(
        &self,
        inputs: &[Shape],
        _call: &Call,
        _budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        Ok(vec![one(inputs)?.clone()])
    }
}

impl<T: Weightless> LayerPlan for T {
    fn outputs(
        &self,
        inputs: &[Shape],
        call: &Call,
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        Weightless::outputs(self, inputs, call, budget)
    }

    fn build(&self, _: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        Ok(Box::new(self.clone()))
    }
}

/// A layer with its weights.
pub(crate) trait Layer: Send + Sync {
    /// Computes the outputs.
    ///
    /// # Errors
    /// If the inputs do not fit. The message completes the sentence "layer `x`: …".
    fn forward(&self, inputs: &[Masked], kwargs: &Kwargs<'_>) -> Result<Vec<Masked>, String>;
}

/// The numbers of weights that a legacy file keeps apart: of a nested model it has first all that
/// are trainable, then all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WeightCount {
    pub(crate) trainable: usize,
    pub(crate) others: usize,
}

impl WeightCount {
    /// Weights that are trained.
    pub(crate) fn trainable(count: usize) -> Self {
        Self {
            trainable: count,
            others: 0,
        }
    }

    /// Weights that are not trained.
    pub(crate) fn others(count: usize) -> Self {
        Self {
            trainable: 0,
            others: count,
        }
    }
}

/// A layer of a model, or in one, its settings read.
pub(crate) struct PlannedLayer {
    pub(crate) class: &'static Class,
    pub(crate) plan: Box<dyn LayerPlan>,
    name: String,
    is_shared: bool,
    is_trainable: bool,
}

/// A folder of an archive in which weights of a layer are.
pub(crate) struct Folder {
    /// The path below the folder of the layer.
    pub(crate) path: String,
    /// The layer that owns the weights, and which of its sub-layers they are of.
    pub(crate) owner: String,
    /// The owner is in the model more than once, and its weights are stored in one place.
    pub(crate) is_shared: bool,
}

impl PlannedLayer {
    /// # Errors
    /// If the class is unknown, or the settings are wrong or not supported.
    pub(crate) fn read(layer: &Wrapped<'_>, lookup: Lookup) -> Result<Self, String> {
        let class = lookup(layer.class);
        let class = class.ok_or_else(|| {
            format!(
                "the class `{}` is not supported",
                layer.class.escape_debug()
            )
        })?;
        let trainable = layer.settings.get("trainable").and_then(Value::as_bool);
        Ok(Self {
            class,
            plan: class.parse(&layer.settings, lookup)?,
            name: layer.name.to_owned(),
            is_shared: layer.is_shared,
            is_trainable: trainable.unwrap_or(true),
        })
    }

    /// How many weights it has.
    pub(crate) fn weight_count(&self) -> WeightCount {
        let count = self.plan.weight_count();
        match self.is_trainable {
            true => count,
            false => WeightCount::others(count.trainable + count.others),
        }
    }

    /// Where its weights are in an archive.
    pub(crate) fn folders(&self) -> Vec<Folder> {
        if let Some((folder, inner)) = self.plan.wrapped() {
            let mut folders = inner.folders();
            for inner in &mut folders {
                inner.path.insert_str(0, folder);
            }
            return folders;
        }
        let folders = self.plan.folders().iter();
        let folders = folders.map(|folder| Folder {
            path: (*folder).to_owned(),
            owner: format!("{} {}{folder}", self.class.name, self.name),
            is_shared: self.is_shared,
        });
        folders.collect()
    }
}

/// The keyword arguments of a call.
pub(crate) struct Kwargs<'a> {
    call: &'a Call,
    tensors: Vec<(&'a str, Masked)>,
}

impl<'a> Kwargs<'a> {
    pub(crate) fn new(call: &'a Call, tensors: Vec<(&'a str, Masked)>) -> Self {
        Self { call, tensors }
    }

    /// The tensors of this name, in their order.
    pub(crate) fn tensors(&self, name: &str) -> impl Iterator<Item = &Masked> {
        let named = self.tensors.iter().filter(move |(n, _)| *n == name);
        named.map(|(_, tensor)| tensor)
    }

    /// A mask. One that an operation computes is a tensor of zeros and ones.
    ///
    /// # Errors
    /// If its rank is not 2.
    pub(crate) fn mask(&self, name: &str) -> Result<Option<Mask>, String> {
        match self.tensors(name).next().map(|tensor| &tensor.x) {
            None => Ok(None),
            Some(DynTensor::R2(mask)) => Ok(Some(mask.clone().not_equal_elem(0.0))),
            Some(mask) => {
                let shape = mask.shape();
                Err(format!("a mask of the shape {shape:?} is not supported"))
            }
        }
    }

    /// Whether a plain value is `true`.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.call.is_set(name)
    }
}

/// The input of a layer that has one.
pub(crate) fn one<T>(inputs: &[T]) -> Result<&T, String> {
    match inputs {
        [input] => Ok(input),
        _ => Err(format!(
            "it takes one input, and is called with {}",
            inputs.len()
        )),
    }
}
