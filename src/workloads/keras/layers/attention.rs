//! Attention with several heads.

use ::burn::tensor::{Tensor, activation::softmax};
use serde_json::Value as Json;

use super::attended::{Attended, allowed};
use super::{Config, Extra, Layer};
use crate::base::error::Error;
use crate::workloads::keras::plan::{Budget, Shape};
use crate::workloads::keras::value::{Flow, Value};
use crate::workloads::keras::weights::Vars;

/// A projection to heads, as a matrix.
struct Projection {
    /// `[in, out]`.
    kernel: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Projection {
    fn run(&self, x: Tensor<3>) -> Result<Tensor<3>, String> {
        let [batch, steps, features] = x.dims();
        let [takes, gives] = self.kernel.dims();
        if features != takes {
            return Err(format!(
                "a kernel takes {takes} features, and its input has {features}"
            ));
        }
        let mut y = x
            .reshape([batch * steps, features])
            .matmul(self.kernel.clone());
        if let Some(bias) = &self.bias {
            y = y + bias.clone().unsqueeze_dim::<2>(0);
        }
        Ok(y.reshape([batch, steps, gives]))
    }
}

/// `MultiHeadAttention` (A. Vaswani et al. (2017), "Attention is all you need").
pub(super) struct MultiHead {
    heads: usize,
    key_width: usize,
    value_width: usize,
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
    attended: Attended,
    /// What a query may not look at has no share at all, even where it may look at nothing.
    zeroes_blocked: bool,
    is_keras_2: bool,
}

impl MultiHead {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let no = [Json::from(false)];
        vars.checked(config.refuse("use_gate", &no))?;
        vars.checked(config.refuse("sliding_window", &[]))?;
        vars.checked(config.refuse("output_shape", &[]))?;
        let attended = vars.checked(Attended::of(config))?;
        let heads = vars.checked(config.size("num_heads"))?;
        let key_width = vars.checked(config.size("key_dim"))?;
        let value_width = vars.checked(config.size_or("value_dim", key_width))?;
        let use_bias = config.flag("use_bias", true);
        let mut inward = |name: &str, width: usize| -> Result<Projection, Error> {
            let kernel = vars.next(name, &[None, Some(heads), Some(width)])?;
            let takes = kernel.shape()[0];
            let kernel = vars.checked(kernel.reshape(&[takes, heads * width]))?;
            let bias = match use_bias {
                true => Some(vars.next(name, &[Some(heads), Some(width)])?),
                false => None,
            };
            let bias = bias.map(|b| b.reshape(&[heads * width])).transpose();
            Ok(Projection {
                kernel: vars.checked(matrix(kernel))?,
                bias: vars.checked(bias.and_then(|b| b.map(vector).transpose()))?,
            })
        };
        let query = inward("query", key_width)?;
        let key = inward("key", key_width)?;
        let value = inward("value", value_width)?;
        let kernel = vars.next("output", &[Some(heads), Some(value_width), None])?;
        let gives = kernel.last();
        let kernel = vars.checked(kernel.reshape(&[heads * value_width, gives]))?;
        let bias = vars.vector_if(use_bias, "output", Some(gives))?;
        Ok(Self {
            heads,
            key_width,
            value_width,
            query,
            key,
            value,
            output: Projection {
                kernel: vars.checked(matrix(kernel))?,
                bias,
            },
            attended,
            zeroes_blocked: !config.is_keras_2 && config.number("dropout", 0.0) > 0.0,
            is_keras_2: config.is_keras_2,
        })
    }

    /// `[batch, steps, heads * width]` to `[batch, heads, steps, width]`.
    fn split(&self, x: Tensor<3>, width: usize) -> Tensor<4> {
        let [batch, steps, _] = x.dims();
        x.reshape([batch, steps, self.heads, width])
            .permute([0, 2, 1, 3])
    }
}

fn matrix(value: Value) -> Result<Tensor<2>, String> {
    match value {
        Value::R2(t) => Ok(t),
        other => Err(format!("a kernel has the shape {:?}", other.shape())),
    }
}

fn vector(value: Value) -> Result<Tensor<1>, String> {
    match value {
        Value::R1(t) => Ok(t),
        other => Err(format!("a bias has the shape {:?}", other.shape())),
    }
}

/// The query, the value and the key of a call; the key is the value if there is none.
fn roles<T>(inputs: &[T]) -> Result<[&T; 3], String> {
    match inputs {
        [query, value] => Ok([query, value, value]),
        [query, value, key] => Ok([query, value, key]),
        _ => Err("it is called without a query or a value".into()),
    }
}

/// The shapes of the result, and of the scores if they are asked for.
///
/// # Errors
/// If the inputs do not fit, or what is made within is too large.
pub(super) fn planned(
    config: &Config<'_>,
    inputs: &[Shape],
    gives_scores: bool,
    budget: &mut Budget,
) -> Result<Vec<Shape>, String> {
    let [query, value, key] = roles(inputs)?;
    let attended = Attended::of(config)?;
    let fit = attended.fitted(query, value, key)?;
    let heads = config.size("num_heads")?;
    let width = config.size("key_dim")?;
    let width = width.max(config.size_or("value_dim", width)?);
    let all = heads.checked_mul(width).ok_or("its heads are too wide")?;
    budget.tensor(&[fit.items, fit.queries, all])?;
    budget.tensor(&[fit.items, fit.keys, all])?;
    let scores = vec![fit.items, heads, fit.queries, fit.keys];
    budget.tensor(&scores)?;
    if gives_scores && query.len() > 3 {
        return Err(format!(
            "the scores of a query of the shape {query:?} are not supported"
        ));
    }
    let mut made = vec![query.clone()];
    made.extend(gives_scores.then_some(scores));
    Ok(made)
}

impl Layer for MultiHead {
    fn call(&self, inputs: &[Flow], extra: &Extra) -> Result<Vec<Flow>, String> {
        let [query, value, key] = roles(inputs)?;
        let shapes = [query, value, key].map(|flow| flow.x.shape());
        let fit = self.attended.fitted(&shapes[0], &shapes[1], &shapes[2])?;
        let query_mask = query.mask();
        let allowed = allowed(inputs, extra, self.heads, &fit)?;
        if !self.is_keras_2 {
            // As Keras 3 does (keras/src/layers/attention/multi_head_attention.py, `call`).
            inputs.iter().for_each(Flow::unmask);
        }
        let steps = |flow: &Flow| self.attended.folded(flow.x.clone());
        let q = self.split(self.query.run(steps(query)?)?, self.key_width);
        let k = self.split(self.key.run(steps(key)?)?, self.key_width);
        let v = self.split(self.value.run(steps(value)?)?, self.value_width);
        let gives_scores = extra.is_set("return_attention_scores");
        let mut scores = q.matmul(k.permute([0, 1, 3, 2])) / (self.key_width as f64).sqrt();
        let blocked = allowed.map(|allowed| allowed.bool_not());
        if let Some(blocked) = blocked.clone() {
            scores = scores.mask_fill(blocked, f32::MIN / 2.0);
        }
        let mut shares = softmax(scores, 3);
        if let Some(blocked) = blocked
            && (self.zeroes_blocked || gives_scores && !self.is_keras_2)
        {
            shares = shares.mask_fill(blocked, 0.0);
        }
        let mixed = shares.clone().matmul(v).permute([0, 2, 1, 3]);
        let mixed = mixed.reshape([fit.items, fit.queries, self.heads * self.value_width]);
        let made = self
            .attended
            .unfolded(self.output.run(mixed)?, &shapes[0])?;
        let mut flows = vec![Flow::masked(made, query_mask)];
        if gives_scores {
            flows.push(Flow::of(Value::R4(shares)));
        }
        Ok(flows)
    }
}
