//! A model, and the models nested in it, with every layer's settings read.

use super::schedule::{Calls, Schedule};
use crate::config::call::Call;
use crate::config::model::{LayerSpec, ModelSpec};
use crate::config::settings::Wrapped;
use crate::config::signature::{Signature, bind_dictionary};
use crate::layers::{PlannedLayer, registry};
use crate::operations::{self, PlannedOperation};

/// A model as it runs, without its weights.
pub(crate) struct ModelPlan {
    pub(crate) name: String,
    pub(crate) layers: Vec<LayerNode>,
    pub(crate) schedule: Schedule,
    /// The layers of the inputs.
    pub(super) inputs: Vec<String>,
}

/// A layer of a model, or an operation.
pub(crate) struct LayerNode {
    pub(crate) name: String,
    pub(crate) class: String,
    pub(crate) calls: Vec<Call>,
    /// The type or policy that it computes in, if the configuration says so.
    pub(super) dtype: Option<String>,
    pub(crate) does: Does,
}

/// What a call of a layer runs.
pub(crate) enum Does {
    Layer(PlannedLayer),
    /// One for each call.
    Operations(Vec<PlannedOperation>),
    Model(Box<ModelPlan>),
    /// Runs a model on each step of a sequence.
    TimeDistributed(Box<ModelPlan>),
}

impl ModelPlan {
    /// # Errors
    /// If a setting of a layer is wrong or not supported, or the calls do not fit each other.
    pub(super) fn new(spec: ModelSpec, is_keras_2: bool) -> Result<Self, String> {
        let layers = spec.layers.into_iter();
        let layers = layers.map(|layer| LayerNode::new(layer, is_keras_2));
        let layers = layers.collect::<Result<Vec<LayerNode>, String>>()?;
        let calls: Vec<Calls<'_>> = layers.iter().map(|l| (&*l.name, &l.calls[..])).collect();
        let schedule = Schedule::new(&calls, &spec.inputs, &spec.outputs)
            .map_err(|what| format!("model `{}`: {what}", spec.name.escape_debug()))?;
        Ok(Self {
            name: spec.name,
            inputs: spec.inputs.into_iter().map(|input| input.layer).collect(),
            layers,
            schedule,
        })
    }

    /// Checks the number of inputs that the model is called with.
    ///
    /// # Errors
    /// If it takes another number.
    pub(crate) fn check_inputs(&self, given: usize) -> Result<(), String> {
        match self.schedule.inputs() {
            takes if takes == given => Ok(()),
            takes => Err(format!(
                "model `{}` takes {takes} inputs, and is given {given}",
                self.name.escape_debug()
            )),
        }
    }

    /// The layers and operations of this model and of the models nested in it, without those models
    /// themselves.
    pub(crate) fn all_layers(&self) -> Vec<&LayerNode> {
        let layers = self.layers.iter().flat_map(|layer| match &layer.does {
            Does::Model(model) | Does::TimeDistributed(model) => model.all_layers(),
            Does::Layer(_) | Does::Operations(_) => vec![layer],
        });
        layers.collect()
    }
}

impl LayerNode {
    fn new(mut layer: LayerSpec, is_keras_2: bool) -> Result<Self, String> {
        let model = layer.model.take();
        let signature = registry::find(&layer.class).map_or(&Signature::DEFAULT, |c| &c.signature);
        let calls = std::mem::take(&mut layer.calls).into_iter();
        let calls = calls.map(|call| match &model {
            _ if layer.is_operation => call,
            Some(model) => bind_dictionary(&model.input_keys, signature.bind(call)),
            None => signature.bind(call),
        });
        let calls: Vec<Call> = calls.collect();
        let does = match model {
            Some(model) => {
                ModelPlan::new(*model, is_keras_2).map(|model| match layer.is_time_distributed() {
                    true => Does::TimeDistributed(Box::new(model)),
                    false => Does::Model(Box::new(model)),
                })
            }
            None if layer.is_operation => {
                let operations = calls.iter().map(|call| operations::read(&layer, call));
                operations
                    .collect::<Result<_, String>>()
                    .map(Does::Operations)
            }
            None => {
                let settings = Wrapped {
                    class: &layer.class,
                    name: &layer.name,
                    settings: layer.settings(is_keras_2),
                    is_shared: layer.is_shared,
                };
                PlannedLayer::read(&settings, registry::find).map(Does::Layer)
            }
        };
        Ok(Self {
            does: does.map_err(|what| in_layer(&layer.name, &layer.class, &what))?,
            dtype: layer.dtype().map(str::to_owned),
            name: layer.name,
            class: layer.class,
            calls,
        })
    }

    /// The message with the layer's name and class.
    pub(super) fn error(&self, what: &str) -> String {
        in_layer(&self.name, &self.class, what)
    }
}

fn in_layer(name: &str, class: &str, what: &str) -> String {
    let (name, class) = (name.escape_debug(), class.escape_debug());
    format!("layer `{name}` of the class `{class}`: {what}")
}
