//! Normalization by stored statistics or by a tensor's own, and scaling.

use ::burn::tensor::Tensor;
use serde_json::Value as Json;

use super::{Config, Extra, Layer, keeping_mask, one};
use crate::base::error::Error;
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

/// The axes of a configuration, of which there may be several.
pub(super) fn axes(config: &Config<'_>) -> Result<Vec<i64>, String> {
    let axes = match config.get("axis") {
        None => Some(vec![-1]),
        Some(Json::Array(axes)) => axes.iter().map(Json::as_i64).collect(),
        Some(axis) => axis.as_i64().map(|axis| vec![axis]),
    };
    axes.ok_or_else(|| "its `axis` is no axis".into())
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

/// By the mean and the variance of a tensor along some axes.
fn standardized(x: Value, axes: &[usize], epsilon: f64) -> Value {
    each!(x, t => {
        let mean = axes.iter().fold(t.clone(), |t, &axis| t.mean_dim(axis));
        let centered = t - mean;
        let squares = centered.clone().powi_scalar(2);
        let variance = axes.iter().fold(squares, |t, &axis| t.mean_dim(axis));
        centered / (variance + epsilon).sqrt()
    })
}

/// `LayerNormalization`.
pub(super) struct LayerNorm {
    /// Of the sizes of the axes that are normalized.
    gamma: Option<Value>,
    beta: Option<Value>,
    axes: Vec<i64>,
    epsilon: f64,
}

impl LayerNorm {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        let axes = vars.checked(axes(config))?;
        vars.checked(config.refuse("rms_scaling", &[Json::from(false)]))?;
        let sizes = vec![None; axes.len()];
        let mut next = |key: &str, name: &str| match config.flag(key, true) {
            true => vars.next(name, &sizes).map(Some),
            false => Ok(None),
        };
        Ok(Self {
            gamma: next("scale", "gamma")?,
            beta: next("center", "beta")?,
            axes,
            epsilon: config.number("epsilon", 1e-3),
        })
    }
}

impl Layer for LayerNorm {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        let places = self.axes.iter().map(|&axis| input.x.axis(axis));
        let places = places.collect::<Result<Vec<usize>, String>>()?;
        if !places.is_sorted_by(|a, b| a < b) {
            return Err(format!(
                "its `axis` is {:?}, which is not the order of its input's axes and not supported \
                 (Keras sorts what it is given, by number: -1 comes before 1)",
                self.axes
            ));
        }
        let mut sizes = vec![1; shape.len()];
        for &axis in &places {
            sizes[axis] = shape[axis];
        }
        let mut y = standardized(input.x.clone(), &places, self.epsilon);
        for (scales, op) in [(&self.gamma, Binary::Multiply), (&self.beta, Binary::Add)] {
            if let Some(scales) = scales {
                let scales = scales.clone().reshape(&sizes).map_err(|_| {
                    format!(
                        "it has scales of {:?}, and its input has the shape {shape:?}",
                        scales.shape()
                    )
                })?;
                y = y.with(scales, op)?;
            }
        }
        Ok(keeping_mask(input, y))
    }
}

/// `GroupNormalization`: of the channels of a group and all cells of an item.
pub(super) struct GroupNorm {
    groups: i64,
    gamma: Option<Tensor<1>>,
    beta: Option<Tensor<1>>,
    epsilon: f64,
}

impl GroupNorm {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        vars.checked(config.refuse("axis", &[Json::from(-1), Json::from(vec![-1])]))?;
        let groups = config.get("groups").map_or(Some(32), Json::as_i64);
        let groups = groups.filter(|&groups| groups == -1 || groups > 0);
        let groups = groups.ok_or_else(|| "its `groups` is no number of groups".to_owned());
        let groups = vars.checked(groups)?;
        let (gamma, beta) = gamma_and_beta(config, vars)?;
        Ok(Self {
            groups,
            gamma,
            beta,
            epsilon: config.number("epsilon", 1e-3),
        })
    }
}

impl Layer for GroupNorm {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        let [batch, cells @ .., channels] = &shape[..] else {
            return Err(format!("its input has the shape {shape:?}"));
        };
        // As many as channels, if it is -1.
        let groups = usize::try_from(self.groups).unwrap_or(*channels);
        if !channels.is_multiple_of(groups) {
            return Err(format!("{channels} channels are not {groups} groups"));
        }
        let cells = cells.iter().product();
        let grouped = [*batch, cells, groups, channels / groups];
        let x = input.x.clone().reshape(&grouped)?;
        let mut y = standardized(x, &[1, 3], self.epsilon).reshape(&shape)?;
        for (vector, op) in [(&self.gamma, Binary::Multiply), (&self.beta, Binary::Add)] {
            if let Some(vector) = vector {
                y = y.onto(along(vector.clone(), shape.len() - 1, shape.len())?, op)?;
            }
        }
        Ok(keeping_mask(input, y))
    }
}

/// `UnitNormalization`: to a length of 1 along some axes.
pub(super) struct UnitNorm(Vec<i64>);

impl UnitNorm {
    pub(super) fn build(config: &Config<'_>) -> Result<Self, String> {
        axes(config).map(Self)
    }
}

impl Layer for UnitNorm {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let places = self.0.iter().map(|&axis| input.x.axis(axis));
        let places = places.collect::<Result<Vec<usize>, String>>()?;
        let y = unit(input.x.clone(), &places);
        Ok(keeping_mask(input, y))
    }
}

/// A tensor divided by its length along some axes; one of length 0 stays.
pub(super) fn unit(x: Value, axes: &[usize]) -> Value {
    each!(x, t => {
        let squares = t.clone() * t.clone();
        let sum = axes.iter().fold(squares, |t, &axis| t.sum_dim(axis));
        t / sum.clamp_min(1e-12).sqrt()
    })
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
        // Unlike other layers it goes over all axes if it has none.
        let axes = match config.get("axis") {
            None => Vec::new(),
            Some(_) => vars.checked(axes(config))?,
        };
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
        // Keras's own smallest number (keras/src/backend/config.py, `epsilon`).
        let epsilon = 1e-7;
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
        let places = self.axes.iter().map(|&axis| input.x.axis(axis));
        let mut places = places.collect::<Result<Vec<usize>, String>>()?;
        places.sort_unstable();
        if places.is_empty() {
            places.push(rank - 1);
        }
        // The last sizes are those of the last axes.
        let placed = |v: &Value| -> Result<Value, String> {
            let mut shape = vec![1; rank];
            for (&place, size) in places.iter().rev().zip(v.shape().into_iter().rev()) {
                shape[place] = size;
            }
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
