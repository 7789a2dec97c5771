//! Normalization by stored statistics or by a tensor's own, and scaling.

use ::burn::tensor::Tensor;
use serde_json::Value as Json;

use super::{Config, Extra, Layer, keeping_mask, one};
use crate::error::Error;
use crate::workloads::keras::value::{Binary, Flow, Value, each, look};
use crate::workloads::keras::weights::Vars;

/// A vector along one axis of a tensor of some rank.
fn along(vector: Tensor<1>, axis: usize, rank: usize) -> Result<Value, String> {
    let mut shape = vec![1; rank];
    shape[axis] = vector.dims()[0];
    Value::R1(vector).reshape(&shape)
}

/// A single axis of a configuration, which may be in a list.
fn single_axis(config: &Config<'_>) -> Result<i64, String> {
    match config.get("axis") {
        None => Ok(-1),
        Some(Json::Array(axes)) => match &axes[..] {
            [axis] => axis.as_i64(),
            _ => None,
        }
        .ok_or_else(|| "more than one `axis` is not supported".into()),
        Some(axis) => axis.as_i64().ok_or_else(|| "its `axis` is no axis".into()),
    }
}

/// The weights `gamma` and `beta` of a layer, those that it has.
fn gamma_and_beta(
    config: &Config<'_>,
    vars: &mut Vars<'_>,
) -> Result<(Option<Tensor<1>>, Option<Tensor<1>>), Error> {
    let gamma = vars.vector_if(config.flag("scale", true), "gamma", None)?;
    let size = gamma.as_ref().map(|g| g.dims()[0]);
    let beta = vars.vector_if(config.flag("center", true), "beta", size)?;
    Ok((gamma, beta))
}

/// `BatchNormalization` as it predicts: by the moving mean and variance.
pub(super) struct Batch {
    /// `gamma / sqrt(variance + epsilon)`.
    scale: Tensor<1>,
    /// `beta - mean * scale`.
    shift: Tensor<1>,
    axis: i64,
}

impl Batch {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let axis = vars.checked(single_axis(config))?;
        let (gamma, beta) = gamma_and_beta(config, vars)?;
        let size = gamma.as_ref().map(|g| g.dims()[0]);
        let mean = vars.vector("moving_mean", size)?;
        let variance = vars.vector("moving_variance", Some(mean.dims()[0]))?;
        let deviation = (variance + config.number("epsilon", 1e-3)).sqrt();
        let scale = match gamma {
            Some(gamma) => gamma / deviation,
            None => deviation.recip(),
        };
        let shift = mean.neg() * scale.clone();
        Ok(Self {
            shift: match beta {
                Some(beta) => beta + shift,
                None => shift,
            },
            scale,
            axis,
        })
    }
}

impl Layer for Batch {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        let axis = input.x.axis(self.axis)?;
        let size = self.scale.dims()[0];
        if shape[axis] != size {
            return Err(format!(
                "it has {size} statistics, and its input has the shape {shape:?}"
            ));
        }
        let scale = along(self.scale.clone(), axis, shape.len())?;
        let shift = along(self.shift.clone(), axis, shape.len())?;
        let scaled = input.x.clone().with(scale, Binary::Multiply)?;
        Ok(keeping_mask(input, scaled.with(shift, Binary::Add)?))
    }
}

/// `LayerNormalization` over the last axis.
pub(super) struct LayerNorm {
    gamma: Option<Tensor<1>>,
    beta: Option<Tensor<1>>,
    axis: i64,
    epsilon: f64,
}

impl LayerNorm {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let axis = vars.checked(single_axis(config))?;
        vars.checked(config.refuse("rms_scaling", &[Json::from(false)]))?;
        let (gamma, beta) = gamma_and_beta(config, vars)?;
        Ok(Self {
            gamma,
            beta,
            axis,
            epsilon: config.number("epsilon", 1e-3),
        })
    }
}

impl Layer for LayerNorm {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let rank = input.x.rank();
        if input.x.axis(self.axis)? != rank - 1 {
            return Err("only the last axis can be normalized".into());
        }
        let normal = each!(input.x.clone(), t => {
            let centered = t.clone() - t.mean_dim(rank - 1);
            let variance = centered.clone().powi_scalar(2).mean_dim(rank - 1);
            centered / (variance + self.epsilon).sqrt()
        });
        let mut y = normal;
        for (vector, op) in [(&self.gamma, Binary::Multiply), (&self.beta, Binary::Add)] {
            let Some(vector) = vector else { continue };
            let size = vector.dims()[0];
            if y.last() != size {
                let shape = y.shape();
                return Err(format!(
                    "it has {size} scales, and its input has the shape {shape:?}"
                ));
            }
            y = y.with(along(vector.clone(), rank - 1, rank)?, op)?;
        }
        Ok(keeping_mask(input, y))
    }
}

/// `Normalization`: by a mean and a variance that were learnt or given.
pub(super) struct Normalize {
    mean: Value,
    deviation: Value,
    axes: Vec<i64>,
    invert: bool,
}

impl Normalize {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let axes = match config.get("axis") {
            None => Vec::new(),
            Some(Json::Array(axes)) => axes.iter().filter_map(Json::as_i64).collect(),
            Some(axis) => axis.as_i64().into_iter().collect(),
        };
        if axes.len() > 1 {
            return Err(vars.wrong("more than one `axis` is not supported"));
        }
        let mean = vars.checked(config.numbers("mean"))?;
        let variance = vars.checked(config.numbers("variance"))?;
        let (mean, variance) = match (mean, variance) {
            (Some(mean), Some(variance)) => {
                let device = vars.device().clone();
                let vector = |values: Vec<f32>| {
                    let size = values.len();
                    Value::from_data(values, &[size], &device)
                };
                (vars.checked(vector(mean))?, vars.checked(vector(variance))?)
            }
            _ => {
                let shape = vec![None; axes.len()];
                let mean = vars.next_or_scalar("mean", &shape)?;
                let variance = vars.next_or_scalar("variance", &shape)?;
                // How many rows it learnt from changes nothing.
                let _ = vars.next_or_scalar("count", &[])?;
                (mean, variance)
            }
        };
        let epsilon = f64::from(f32::EPSILON);
        Ok(Self {
            mean,
            deviation: each!(variance, t => t.sqrt().clamp_min(epsilon)),
            axes,
            invert: config.flag("invert", false),
        })
    }
}

impl Layer for Normalize {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let rank = input.x.rank();
        let placed = |v: &Value| -> Result<Value, String> {
            let mut shape = vec![1; rank];
            let size: usize = v.shape().iter().product();
            let axis = self.axes.first().copied().unwrap_or(-1);
            shape[input.x.axis(axis)?] = size;
            v.clone().reshape(&shape)
        };
        let (mean, deviation) = (placed(&self.mean)?, placed(&self.deviation)?);
        let y = match self.invert {
            true => input
                .x
                .clone()
                .onto(deviation, Binary::Multiply)?
                .onto(mean, Binary::Add)?,
            false => {
                let centered = input.x.clone().onto(mean, Binary::Subtract)?;
                centered.onto(deviation, Binary::Divide)?
            }
        };
        Ok(keeping_mask(input, y))
    }
}

/// `Rescaling`: a scale and an offset, for all or for each channel.
pub(super) struct Rescale {
    scale: Vec<f32>,
    offset: Vec<f32>,
}

impl Rescale {
    pub(super) fn build(config: &Config<'_>) -> Result<Self, String> {
        Ok(Self {
            scale: config.numbers("scale")?.unwrap_or_else(|| vec![1.0]),
            offset: config.numbers("offset")?.unwrap_or_else(|| vec![0.0]),
        })
    }
}

impl Layer for Rescale {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let device = look!(&input.x, t => t.device());
        let value = |numbers: &[f32]| Value::from_data(numbers.to_vec(), &[numbers.len()], &device);
        let scaled = input
            .x
            .clone()
            .onto(value(&self.scale)?, Binary::Multiply)?;
        Ok(keeping_mask(
            input,
            scaled.onto(value(&self.offset)?, Binary::Add)?,
        ))
    }
}
