//! Attention with several heads.

use ::burn::tensor::{Bool, Tensor, activation::softmax};
use serde_json::Value as Json;

use super::{Config, Extra, Layer, keeping_mask};
use crate::error::Error;
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
}

impl MultiHead {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let no = [Json::from(false)];
        vars.checked(config.refuse("use_gate", &no))?;
        vars.checked(config.refuse("sliding_window", &[]))?;
        vars.checked(config.refuse("output_shape", &[]))?;
        let middle = [Json::from(vec![1]), Json::from(1)];
        vars.checked(config.refuse("attention_axes", &middle))?;
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

/// Whether a query may look at a key, `[batch, 1, queries, keys]`; `None` if all may.
fn allowed(
    query: &Flow,
    value: &Flow,
    key: &Flow,
    extra: &Extra,
    [batch, queries, keys]: [usize; 3],
) -> Option<Tensor<4, Bool>> {
    let mut all: Vec<Tensor<4, Bool>> = Vec::new();
    if let Some(mask) = &query.mask {
        let rows = mask.clone().reshape([batch, 1, queries, 1]);
        all.push(rows.repeat_dim(3, keys));
    }
    for mask in [&value.mask, &key.mask].into_iter().flatten() {
        let columns = mask.clone().reshape([batch, 1, 1, keys]);
        all.push(columns.repeat_dim(2, queries));
    }
    if let Some(Value::R3(mask)) = extra.tensor("attention_mask").map(|flow| &flow.x) {
        let mask = mask.clone().not_equal_elem(0.0);
        all.push(mask.unsqueeze_dim::<4>(1));
    }
    if extra.is_set("use_causal_mask") {
        let device = query.x.device();
        let ones = Tensor::<2>::ones([queries, keys], &device);
        // The key must not come after the query.
        let (rows, columns) = (ones.clone().cumsum(0), ones.cumsum(1));
        let causal = columns.lower_equal(rows).reshape([1, 1, queries, keys]);
        all.push(causal.repeat_dim(0, batch));
    }
    all.into_iter().reduce(|a, b| a.bool_and(b))
}

impl Layer for MultiHead {
    fn call(&self, inputs: &[Flow], extra: &Extra) -> Result<Vec<Flow>, String> {
        let mut inputs = inputs.iter();
        let query = inputs.next().or_else(|| extra.tensor("query"));
        let query = query.ok_or("it is called without a query")?;
        let value = inputs.next().or_else(|| extra.tensor("value"));
        let value = value.ok_or("it is called without a value")?;
        let key = inputs
            .next()
            .or_else(|| extra.tensor("key"))
            .unwrap_or(value);
        let steps = |flow: &Flow| match &flow.x {
            Value::R3(t) => Ok(t.clone()),
            other => Err(format!("an input has the shape {:?}", other.shape())),
        };
        let (q, v, k) = (steps(query)?, steps(value)?, steps(key)?);
        let ([batch, queries, _], [_, keys, _]) = (q.dims(), k.dims());
        if v.dims()[1] != keys || k.dims()[0] != batch || v.dims()[0] != batch {
            return Err(format!(
                "a query of the shape {:?}, a value of {:?} and a key of {:?} do not fit",
                q.dims(),
                v.dims(),
                k.dims()
            ));
        }
        let allowed = allowed(query, value, key, extra, [batch, queries, keys]);
        let q = self.split(self.query.run(q)?, self.key_width);
        let k = self.split(self.key.run(k)?, self.key_width);
        let v = self.split(self.value.run(v)?, self.value_width);
        let mut scores = q.matmul(k.permute([0, 1, 3, 2])) / (self.key_width as f64).sqrt();
        if let Some(allowed) = allowed {
            let blocked = allowed.bool_not().repeat_dim(1, self.heads);
            scores = scores.mask_fill(blocked, f32::MIN / 2.0);
        }
        let shares = softmax(scores, 3);
        let mixed = shares.clone().matmul(v).permute([0, 2, 1, 3]);
        let mixed = mixed.reshape([batch, queries, self.heads * self.value_width]);
        let mut flows = keeping_mask(query, Value::R3(self.output.run(mixed)?));
        if extra.is_set("return_attention_scores") {
            flows.push(Flow::of(Value::R4(shares)));
        }
        Ok(flows)
    }
}
