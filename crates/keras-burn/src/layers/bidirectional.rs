//! `Bidirectional`: a recurrent layer forwards and backwards in time.

use std::any::Any;

use serde_json::Value;

use super::class::{Class, Kwargs, Layer, LayerPlan, Lookup, Parsed, PlannedLayer, WeightCount};
use super::recurrent::{Recurrent, RecurrentPlan, SIGNATURE, Start, TENSORS};
use super::weights::LayerWeights;
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::tensor::budget::Budget;
use crate::tensor::shape::{NO_INPUT, Shape, with_last};
use crate::tensor::{Binary, DynTensor, Masked, map};

pub(super) const CLASSES: &[Class] =
    &[Class::wrapper("Bidirectional", BidirectionalPlan::read).called(SIGNATURE, TENSORS)];

/// How the outputs of the two directions become one.
#[derive(Clone, Copy)]
enum Merge {
    /// They stay two.
    None,
    Concatenate,
    Combine(Binary),
    Average,
}

impl Merge {
    fn read(settings: &Settings<'_>) -> Result<Self, String> {
        const KEY: &str = "merge_mode";
        Ok(match settings.get_or_null(KEY).map(Value::as_str) {
            None => Self::Concatenate,
            Some(None) if settings.get(KEY).is_none() => Self::None,
            Some(Some("concat")) => Self::Concatenate,
            Some(Some("sum")) => Self::Combine(Binary::Add),
            Some(Some("mul")) => Self::Combine(Binary::Multiply),
            Some(Some("ave")) => Self::Average,
            Some(_) => return Err(settings.unsupported(KEY)),
        })
    }
}

struct BidirectionalPlan {
    forward: RecurrentPlan,
    backward: RecurrentPlan,
    merge: Merge,
    /// The weights of one direction.
    count: WeightCount,
}

impl BidirectionalPlan {
    fn read(settings: &Settings<'_>, lookup: Lookup) -> Parsed {
        let layer = |key: &str| -> Result<(RecurrentPlan, WeightCount), String> {
            let layer = PlannedLayer::read(&settings.wrapped(key)?, lookup)
                .map_err(|what| format!("its `{key}`: {what}"))?;
            let plan: &dyn Any = &*layer.plan;
            let plan = plan.downcast_ref::<RecurrentPlan>();
            let plan = plan.ok_or_else(|| {
                let class = layer.class.name;
                format!("its `{key}` is of the class `{class}`, which is not a recurrent layer")
            })?;
            Ok((plan.clone(), layer.weight_count()))
        };
        let (mut forward, count) = layer("layer")?;
        // Keras 2 leaves the other direction out if it has the same settings.
        let mut backward = match settings.get("backward_layer") {
            Some(_) => layer("backward_layer")?.0,
            None => forward.clone(),
        };
        backward.backwards = !forward.backwards;
        if settings.is_keras_2 {
            // This overrides the settings of the layers (tf_keras/src/layers/rnn/bidirectional.py,
            // `force_zero_output_for_mask`).
            for layer in [&mut forward, &mut backward] {
                layer.zero_if_masked = layer.sequences;
            }
        }
        Ok(Box::new(Self {
            forward,
            backward,
            merge: Merge::read(settings)?,
            count,
        }))
    }
}

impl LayerPlan for BidirectionalPlan {
    fn outputs(
        &self,
        inputs: &[Shape],
        _: &Call,
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        let input = inputs.first().ok_or(NO_INPUT)?;
        let outputs = self.forward.shapes(input, budget)?;
        self.backward.shapes(input, budget)?;
        let (first, states) = outputs.split_first().ok_or("its layer has no output")?;
        let merged = match self.merge {
            Merge::None => vec![first.clone(); 2],
            Merge::Concatenate => {
                let width = first[first.len() - 1].saturating_mul(2);
                vec![with_last(first, width)]
            }
            Merge::Combine(_) | Merge::Average => vec![first.clone()],
        };
        Ok([&merged[..], states, states].concat())
    }

    fn weight_count(&self) -> WeightCount {
        WeightCount {
            trainable: 2 * self.count.trainable,
            others: 2 * self.count.others,
        }
    }

    fn folders(&self) -> &'static [&'static str] {
        &["/forward_layer/cell", "/backward_layer/cell"]
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        Ok(Box::new(Bidirectional {
            forward: self.forward.recurrent(weights)?,
            backward: self.backward.recurrent(weights)?,
            merge: self.merge,
        }))
    }
}

struct Bidirectional {
    forward: Recurrent,
    backward: Recurrent,
    merge: Merge,
}

impl Layer for Bidirectional {
    fn forward(&self, inputs: &[Masked], kwargs: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let start = Start::of(inputs, kwargs, self.forward.plan.is_keras_2)?;
        let (first, second) = start.states.split_at(start.states.len() / 2);
        let mut forward = self.forward.run(&start, first)?.into_iter();
        let mut backward = self.backward.run(&start, second)?.into_iter();
        let (Some(a), Some(mut b)) = (forward.next(), backward.next()) else {
            return Err("its layers have no output".into());
        };
        if let DynTensor::R3(t) = b.x {
            // The steps in the order of the input.
            b.x = DynTensor::R3(t.flip([1]));
        }
        let mask = a.mask();
        let merged = match self.merge {
            Merge::None => return Ok([a, b].into_iter().chain(forward).chain(backward).collect()),
            Merge::Concatenate => {
                let axis = a.x.rank() - 1;
                DynTensor::concat(vec![a.x, b.x], axis)?
            }
            Merge::Combine(op) => a.x.combine(b.x, op)?,
            Merge::Average => map!(a.x.combine(b.x, Binary::Add)?, t => t / 2.0),
        };
        let merged = Masked::new(merged, mask);
        Ok([merged]
            .into_iter()
            .chain(forward)
            .chain(backward)
            .collect())
    }
}
