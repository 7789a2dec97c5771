//! Products of two inputs, item by item: `Dot`, and `Attention` without weights of its own.

use ::burn::tensor::{Tensor, activation::softmax};
use serde_json::Value as Json;

use super::norm::unit;
use super::{Config, Extra, Layer, keeping_mask};
use crate::base::error::Error;
use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::{Flow, Value, axis_of};
use crate::workloads::keras::weights::Vars;

/// `Dot`: products along an axis of each input.
pub(super) struct Dot {
    axes: [i64; 2],
    /// Makes it the cosine of the angle between them.
    normalize: bool,
}

impl Dot {
    pub(super) fn build(config: &Config<'_>) -> Result<Self, String> {
        let axes = match config.get("axes") {
            Some(Json::Array(axes)) => match &axes[..] {
                [a, b] => a.as_i64().zip(b.as_i64()).map(|(a, b)| [a, b]),
                _ => None,
            },
            Some(axis) => axis.as_i64().map(|axis| [axis; 2]),
            None => None,
        };
        Ok(Self {
            axes: axes.ok_or("its `axes` are no axes")?,
            normalize: config.flag("normalize", false),
        })
    }

    /// The axes that go, one of each input.
    fn places(&self, inputs: &[Shape]) -> Result<[usize; 2], String> {
        let [a, b] = inputs else {
            return Err(format!(
                "it takes two inputs, and is called with {}",
                inputs.len()
            ));
        };
        let places = [
            axis_of(a.len(), self.axes[0])?,
            axis_of(b.len(), self.axes[1])?,
        ];
        let fits = a[places[0]] == b[places[1]] && a[0] == b[0];
        let ranks = [a, b].iter().all(|shape| (2..=5).contains(&shape.len()));
        match fits && ranks && !places.contains(&0) {
            true => Ok(places),
            false => Err(format!(
                "products of {a:?} and {b:?} along their axes {} and {} are not supported",
                places[0], places[1]
            )),
        }
    }

    /// # Errors
    /// If the inputs do not fit.
    pub(super) fn planned(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let places = self.places(inputs)?;
        let mut shape = vec![inputs[0][0]];
        for (input, place) in inputs.iter().zip(places) {
            let others = (1..input.len()).filter(|&axis| axis != place);
            shape.extend(others.map(|axis| input[axis]));
        }
        if shape.len() == 1 {
            shape.push(1);
        }
        Ok(shape)
    }
}

impl Layer for Dot {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let shapes: Vec<Shape> = inputs.iter().map(|flow| flow.x.shape()).collect();
        let (planned, places) = (self.planned(&shapes)?, self.places(&shapes)?);
        let mut sides = Vec::new();
        for (input, place) in inputs.iter().zip(places) {
            let x = match self.normalize {
                true => unit(input.x.clone(), &[place]),
                false => input.x.clone(),
            };
            // The axis that goes is the last, behind all others as one.
            let shape = x.shape();
            let others = (1..shape.len()).filter(|&axis| axis != place);
            let order: Vec<usize> = [0].into_iter().chain(others).chain([place]).collect();
            let count = order[1..order.len() - 1].iter().map(|&axis| shape[axis]);
            let flat = [shape[0], count.product(), shape[place]];
            sides.push(match x.permute(&order)?.reshape(&flat)? {
                Value::R3(t) => t,
                other => return Err(format!("an input has the shape {:?}", other.shape())),
            });
        }
        let (Some(b), Some(a)) = (sides.pop(), sides.pop()) else {
            return Err("it takes two inputs".into());
        };
        let products = a.matmul(b.permute([0, 2, 1]));
        Ok(vec![Flow::of(Value::R3(products).reshape(&planned)?)])
    }
}

/// `Attention` by products (M. Luong et al. (2015), "Effective approaches to attention-based neural
/// machine translation").
pub(super) struct Attention {
    scale: Option<Tensor<1>>,
}

impl Attention {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        vars.checked(config.refuse("score_mode", &[Json::from("dot")]))?;
        let scale = match config.flag("use_scale", false) {
            true => Some(vars.next_or_scalar("scale", &[])?),
            false => None,
        };
        let scale = match scale {
            Some(Value::R1(t)) => Some(t),
            Some(_) => return Err(vars.wrong("`scale` is no number")),
            None => None,
        };
        Ok(Self { scale })
    }

    /// The shapes of the result and of the scores.
    ///
    /// # Errors
    /// If the inputs do not fit.
    pub(super) fn planned(inputs: &[Shape]) -> Result<[Shape; 2], String> {
        let wrong = || format!("inputs of the shapes {inputs:?} are no query, value and key");
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
}

impl Layer for Attention {
    fn call(&self, inputs: &[Flow], extra: &Extra) -> Result<Vec<Flow>, String> {
        let shapes: Vec<Shape> = inputs.iter().map(|flow| flow.x.shape()).collect();
        Self::planned(&shapes)?;
        let (Some(query), Some(value)) = (inputs.first(), inputs.get(1)) else {
            return Err("it is called without a query or a value".into());
        };
        let key = inputs.get(2).unwrap_or(value);
        let (Value::R3(q), Value::R3(v), Value::R3(k)) = (&query.x, &value.x, &key.x) else {
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
        if extra.is_set("use_causal_mask") {
            let ones = Tensor::<2>::ones([queries, keys], &q.device());
            let (rows, columns) = (ones.clone().cumsum(0), ones.cumsum(1));
            let blocked = columns.greater(rows).reshape([1, queries, keys]);
            scores = scores.mask_fill(blocked.repeat_dim(0, batch), -1e9);
        }
        let shares = softmax(scores, 2);
        let mut mixed = shares.clone().matmul(v.clone());
        if let Some(mask) = query.mask() {
            let blocked = mask.bool_not().reshape([batch, queries, 1]);
            let width = mixed.dims()[2];
            mixed = mixed.mask_fill(blocked.repeat_dim(2, width), 0.0);
        }
        let mut flows = keeping_mask(query, Value::R3(mixed));
        if extra.is_set("return_attention_scores") {
            flows.push(Flow::of(Value::R3(shares)));
        }
        Ok(flows)
    }
}
