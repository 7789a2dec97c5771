//! `MultiHeadAttention`.

use burn::tensor::{Tensor, activation::softmax};
use serde_json::Value;

use super::attention_axes::AttentionAxes;
use super::attention_mask::allowed;
use super::class::{Class, Kwargs, Layer, LayerPlan, Parsed, WeightCount};
use super::weights::LayerWeights;
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::config::signature::Signature;
use crate::tensor::budget::Budget;
use crate::tensor::shape::Shape;
use crate::tensor::{DynTensor, Masked};

pub(super) const CLASSES: &[Class] = &[Class::new("MultiHeadAttention", MultiHeadPlan::read)
    .called(
        Signature {
            inputs: &["query", "value", "key"],
            others: &[
                "query_mask",
                "value_mask",
                "key_mask",
                "attention_mask",
                "return_attention_scores",
                "training",
                "use_causal_mask",
            ],
        },
        &[
            "mask",
            "attention_mask",
            "query_mask",
            "value_mask",
            "key_mask",
        ],
    )];

#[derive(Clone)]
struct MultiHeadPlan {
    heads: usize,
    key_width: usize,
    value_width: usize,
    use_bias: bool,
    axes: AttentionAxes,
    /// The share of a key that a query may not attend to is exactly 0, even if the query may
    /// attend to none.
    zeroes_blocked: bool,
    is_keras_2: bool,
}

impl MultiHeadPlan {
    fn read(settings: &Settings<'_>) -> Parsed {
        settings.refuse("use_gate", &[Value::from(false)])?;
        settings.refuse("sliding_window", &[])?;
        settings.refuse("output_shape", &[])?;
        let key_width = settings.size("key_dim")?;
        Ok(Box::new(Self {
            heads: settings.size("num_heads")?,
            key_width,
            value_width: settings.size_or("value_dim", key_width)?,
            use_bias: settings.flag("use_bias", true),
            axes: AttentionAxes::read(settings)?,
            zeroes_blocked: !settings.is_keras_2 && settings.number("dropout", 0.0) > 0.0,
            is_keras_2: settings.is_keras_2,
        }))
    }
}

/// The query, the value and the key of a call. Without a key the value is the key, too.
fn roles<T>(inputs: &[T]) -> Result<[&T; 3], String> {
    match inputs {
        [query, value] => Ok([query, value, value]),
        [query, value, key] => Ok([query, value, key]),
        _ => Err("it is called without a query or a value".into()),
    }
}

impl LayerPlan for MultiHeadPlan {
    fn outputs(
        &self,
        inputs: &[Shape],
        call: &Call,
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        let [query, value, key] = roles(inputs)?;
        let sizes = self.axes.fit(query, value, key)?;
        let width = self.key_width.max(self.value_width);
        let all = self.heads.checked_mul(width);
        let all = all.ok_or("its heads are too wide")?;
        budget.tensor(&[sizes.items, sizes.queries, all])?;
        budget.tensor(&[sizes.items, sizes.keys, all])?;
        let scores = vec![sizes.items, self.heads, sizes.queries, sizes.keys];
        budget.tensor(&scores)?;
        let mut outputs = vec![query.clone()];
        if call.is_set("return_attention_scores") {
            if !sizes.is_plain {
                return Err(format!(
                    "the scores of a query of the shape {query:?} are not supported"
                ));
            }
            outputs.push(scores);
        }
        Ok(outputs)
    }

    fn weight_count(&self) -> WeightCount {
        WeightCount::trainable(4 * (1 + usize::from(self.use_bias)))
    }

    fn folders(&self) -> &'static [&'static str] {
        &[
            "/query_dense",
            "/key_dense",
            "/value_dense",
            "/output_dense",
        ]
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        let (heads, use_bias) = (self.heads, self.use_bias);
        let mut inward = |name: &str, width: usize| -> Result<Projection, String> {
            let kernel = weights.next(name, &[None, Some(heads), Some(width)])?;
            let features = kernel.shape()[0];
            let mut bias = None;
            if use_bias {
                let heads_bias = weights.next(name, &[Some(heads), Some(width)])?;
                bias = Some(vector(heads_bias.reshape(&[heads * width])?)?);
            }
            Ok(Projection {
                kernel: matrix(kernel.reshape(&[features, heads * width])?)?,
                bias,
            })
        };
        let query = inward("query", self.key_width)?;
        let key = inward("key", self.key_width)?;
        let value = inward("value", self.value_width)?;
        let width = self.value_width;
        let kernel = weights.next("output", &[Some(heads), Some(width), None])?;
        let features = kernel.last();
        let kernel = matrix(kernel.reshape(&[heads * width, features])?)?;
        let bias = weights.vector_if(use_bias, "output", Some(features))?;
        Ok(Box::new(MultiHead {
            plan: self.clone(),
            query,
            key,
            value,
            output: Projection { kernel, bias },
        }))
    }
}

/// A linear projection, to all heads side by side or from them.
struct Projection {
    /// `[in, out]`.
    kernel: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Projection {
    fn apply(&self, x: Tensor<3>) -> Result<Tensor<3>, String> {
        let [items, steps, features] = x.dims();
        let [takes, gives] = self.kernel.dims();
        if features != takes {
            return Err(format!(
                "a kernel takes {takes} features, and its input has {features}"
            ));
        }
        let mut y = x
            .reshape([items * steps, features])
            .matmul(self.kernel.clone());
        if let Some(bias) = &self.bias {
            y = y + bias.clone().unsqueeze_dim::<2>(0);
        }
        Ok(y.reshape([items, steps, gives]))
    }
}

fn matrix(value: DynTensor) -> Result<Tensor<2>, String> {
    match value {
        DynTensor::R2(t) => Ok(t),
        other => Err(format!("a kernel has the shape {:?}", other.shape())),
    }
}

fn vector(value: DynTensor) -> Result<Tensor<1>, String> {
    match value {
        DynTensor::R1(t) => Ok(t),
        other => Err(format!("a bias has the shape {:?}", other.shape())),
    }
}

/// Attention with several heads (A. Vaswani et al. (2017), "Attention is all you need").
struct MultiHead {
    plan: MultiHeadPlan,
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
}

impl MultiHead {
    /// `[items, steps, heads * width]` as `[items, heads, steps, width]`.
    fn split_heads(&self, x: Tensor<3>, width: usize) -> Tensor<4> {
        let [items, steps, _] = x.dims();
        x.reshape([items, steps, self.plan.heads, width])
            .permute([0, 2, 1, 3])
    }
}

impl Layer for MultiHead {
    fn forward(&self, inputs: &[Masked], kwargs: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let plan = &self.plan;
        let [query, value, key] = roles(inputs)?;
        let shapes = [query, value, key].map(|input| input.x.shape());
        let sizes = plan.axes.fit(&shapes[0], &shapes[1], &shapes[2])?;
        let query_mask = query.mask();
        let allowed = allowed(inputs, kwargs, plan.heads, &sizes)?;
        if !plan.is_keras_2 {
            // As Keras 3 does (keras/src/layers/attention/multi_head_attention.py, `call`).
            inputs.iter().for_each(Masked::remove_mask);
        }
        let fold = |input: &Masked| plan.axes.fold(input.x.clone());
        let q = self.split_heads(self.query.apply(fold(query)?)?, plan.key_width);
        let k = self.split_heads(self.key.apply(fold(key)?)?, plan.key_width);
        let v = self.split_heads(self.value.apply(fold(value)?)?, plan.value_width);
        let gives_scores = kwargs.is_set("return_attention_scores");
        let mut scores = q.matmul(k.permute([0, 1, 3, 2])) / (plan.key_width as f64).sqrt();
        let blocked = allowed.map(|allowed| allowed.bool_not());
        if let Some(blocked) = blocked.clone() {
            scores = scores.mask_fill(blocked, f32::MIN / 2.0);
        }
        let mut shares = softmax(scores, 3);
        if let Some(blocked) = blocked
            && (plan.zeroes_blocked || gives_scores && !plan.is_keras_2)
        {
            shares = shares.mask_fill(blocked, 0.0);
        }
        let mixed = shares.clone().matmul(v).permute([0, 2, 1, 3]);
        let width = plan.heads * plan.value_width;
        let mixed = mixed.reshape([sizes.items, sizes.queries, width]);
        let y = plan.axes.unfold(self.output.apply(mixed)?, &shapes[0])?;
        let mut outputs = vec![Masked::new(y, query_mask)];
        if gives_scores {
            outputs.push(Masked::unmasked(DynTensor::R4(shares)));
        }
        Ok(outputs)
    }
}
