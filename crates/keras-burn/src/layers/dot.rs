//! Products of two inputs, item by item: `Dot`, and `Attention` without projections.

use burn::tensor::{Tensor, activation::softmax};
use serde_json::Value;

use super::attention_mask::later_keys;
use super::class::{Class, Kwargs, Layer, LayerPlan, Parsed, WeightCount, Weightless};
use super::norm::unit_length;
use super::weights::LayerWeights;
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::config::signature::Signature;
use crate::tensor::budget::Budget;
use crate::tensor::shape::{Shape, axis_index};
use crate::tensor::{DynTensor, Masked};

pub(super) const CLASSES: &[Class] = &[
    Class::new("Attention", AttentionPlan::read).called(
        Signature {
            inputs: &["inputs"],
            others: &[
                "mask",
                "training",
                "return_attention_scores",
                "use_causal_mask",
            ],
        },
        &["mask"],
    ),
    Class::new("Dot", Dot::read),
];

/// `Dot`: sums of products along an axis of each input.
#[derive(Clone)]
struct Dot {
    axes: [i64; 2],
    /// Divides both inputs by their lengths first.
    normalize: bool,
}

impl Dot {
    fn read(settings: &Settings<'_>) -> Parsed {
        let axes = match settings.get("axes") {
            Some(Value::Array(axes)) => match &axes[..] {
                [a, b] => a.as_i64().zip(b.as_i64()).map(|(a, b)| [a, b]),
                _ => None,
            },
            Some(axis) => axis.as_i64().map(|axis| [axis; 2]),
            None => None,
        };
        let axes = axes.ok_or_else(|| settings.wrong("axes", "one or two axes"))?;
        Ok(Box::new(Self {
            axes,
            normalize: settings.flag("normalize", false),
        }))
    }

    /// The index of the axis in each input.
    fn indices(&self, inputs: &[Shape]) -> Result<[usize; 2], String> {
        let [a, b] = inputs else {
            return Err(format!(
                "it takes two inputs, and is called with {}",
                inputs.len()
            ));
        };
        let [i, j] = [
            axis_index(a.len(), self.axes[0])?,
            axis_index(b.len(), self.axes[1])?,
        ];
        let fits = a[i] == b[j] && a[0] == b[0];
        let ranks = [a, b].iter().all(|shape| (2..=5).contains(&shape.len()));
        match fits && ranks && i != 0 && j != 0 {
            true => Ok([i, j]),
            false => Err(format!(
                "products of the shapes {a:?} and {b:?} along the axes {i} and {j} are not supported"
            )),
        }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let indices = self.indices(inputs)?;
        let mut shape = vec![inputs[0][0]];
        for (input, index) in inputs.iter().zip(indices) {
            let others = (1..input.len()).filter(|&axis| axis != index);
            shape.extend(others.map(|axis| input[axis]));
        }
        if shape.len() == 1 {
            shape.push(1);
        }
        Ok(shape)
    }
}

impl Weightless for Dot {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        Ok(vec![self.shape(inputs)?])
    }
}

impl Layer for Dot {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.x.shape()).collect();
        let (result, indices) = (self.shape(&shapes)?, self.indices(&shapes)?);
        let mut sides = Vec::new();
        for (input, index) in inputs.iter().zip(indices) {
            let x = match self.normalize {
                true => unit_length(input.x.clone(), &[index]),
                false => input.x.clone(),
            };
            // `[batch, all other axes, axis of the products]`.
            let shape = x.shape();
            let others = (1..shape.len()).filter(|&axis| axis != index);
            let order: Vec<usize> = [0].into_iter().chain(others).chain([index]).collect();
            let others = order[1..order.len() - 1].iter().map(|&axis| shape[axis]);
            let flat = [shape[0], others.product(), shape[index]];
            sides.push(match x.permute(&order)?.reshape(&flat)? {
                DynTensor::R3(t) => t,
                other => return Err(format!("an input has the shape {:?}", other.shape())),
            });
        }
        let (Some(b), Some(a)) = (sides.pop(), sides.pop()) else {
            return Err("it takes two inputs".into());
        };
        let products = DynTensor::R3(a.matmul(b.permute([0, 2, 1])));
        Ok(vec![Masked::unmasked(products.reshape(&result)?)])
    }
}

/// `Attention` by products (M. Luong et al. (2015), "Effective approaches to attention-based neural
/// machine translation").
struct AttentionPlan {
    use_scale: bool,
}

impl AttentionPlan {
    fn read(settings: &Settings<'_>) -> Parsed {
        settings.refuse("score_mode", &[Value::from("dot")])?;
        Ok(Box::new(Self {
            use_scale: settings.flag("use_scale", false),
        }))
    }
}

/// The shapes of the result and of the scores.
///
/// # Errors
/// If the inputs do not fit.
fn attention_shapes(inputs: &[Shape]) -> Result<[Shape; 2], String> {
    let wrong = || format!("inputs of the shapes {inputs:?} are not a query, a value and a key");
    let (query, value, key) = match inputs {
        [query, value] => (query, value, value),
        [query, value, key] => (query, value, key),
        _ => return Err(wrong()),
    };
    match (&query[..], &value[..], &key[..]) {
        (&[batch, queries, width], &[b, keys, gives], &[c, k, w])
            if (b, c, k, w) == (batch, batch, keys, width) =>
        {
            Ok([vec![batch, queries, gives], vec![batch, queries, keys]])
        }
        _ => Err(wrong()),
    }
}

impl LayerPlan for AttentionPlan {
    fn outputs(
        &self,
        inputs: &[Shape],
        call: &Call,
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        let [result, scores] = attention_shapes(inputs)?;
        budget.tensor(&scores)?;
        Ok(match call.is_set("return_attention_scores") {
            true => vec![result, scores],
            false => vec![result],
        })
    }

    fn weight_count(&self) -> WeightCount {
        WeightCount::trainable(usize::from(self.use_scale))
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        let scale = match self.use_scale {
            true => Some(weights.next_or_scalar("scale", &[])?),
            false => None,
        };
        let scale = match scale {
            Some(DynTensor::R1(t)) => Some(t),
            Some(_) => return Err("the weight `scale` is not a single number".into()),
            None => None,
        };
        Ok(Box::new(Attention { scale }))
    }
}

struct Attention {
    scale: Option<Tensor<1>>,
}

impl Layer for Attention {
    fn forward(&self, inputs: &[Masked], kwargs: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.x.shape()).collect();
        attention_shapes(&shapes)?;
        let (Some(query), Some(value)) = (inputs.first(), inputs.get(1)) else {
            return Err("it is called without a query or a value".into());
        };
        let key = inputs.get(2).unwrap_or(value);
        let (DynTensor::R3(q), DynTensor::R3(v), DynTensor::R3(k)) = (&query.x, &value.x, &key.x)
        else {
            return Err("its inputs are not [batch, steps, features]".into());
        };
        let mut scores = q.clone().matmul(k.clone().permute([0, 2, 1]));
        let [batch, queries, keys] = scores.dims();
        if let Some(scale) = &self.scale {
            scores = scores * scale.clone().reshape([1, 1, 1]);
        }
        if let Some(mask) = value.mask() {
            let blocked = mask.bool_not().reshape([batch, 1, keys]);
            scores = scores.mask_fill(blocked.repeat_dim(1, queries), -1e9);
        }
        if kwargs.is_set("use_causal_mask") {
            let blocked = later_keys(queries, keys, &q.device());
            let blocked = blocked.reshape([1, queries, keys]);
            scores = scores.mask_fill(blocked.repeat_dim(0, batch), -1e9);
        }
        let shares = softmax(scores, 2);
        let mut mixed = shares.clone().matmul(v.clone());
        if let Some(mask) = query.mask() {
            let blocked = mask.bool_not().reshape([batch, queries, 1]);
            let width = mixed.dims()[2];
            mixed = mixed.mask_fill(blocked.repeat_dim(2, width), 0.0);
        }
        let mut outputs = vec![Masked::with_mask_of(DynTensor::R3(mixed), query)];
        if kwargs.is_set("return_attention_scores") {
            outputs.push(Masked::unmasked(DynTensor::R3(shares)));
        }
        Ok(outputs)
    }
}
