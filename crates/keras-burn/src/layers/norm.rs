//! Normalization by the statistics of a batch, a group or an item.

use burn::tensor::Tensor;
use serde_json::Value;

use super::class::{Class, Kwargs, Layer, LayerPlan, Parsed, WeightCount, Weightless, one};
use super::weights::LayerWeights;
use crate::config::settings::Settings;
use crate::tensor::shape::axis_indices;
use crate::tensor::{Binary, DynTensor, Masked, map};

pub(super) const CLASSES: &[Class] = &[
    Class::new("BatchNormalization", BatchPlan::read),
    Class::new("GroupNormalization", GroupPlan::read),
    Class::new("LayerNormalization", LayerNormPlan::read),
    Class::new("UnitNormalization", UnitNorm::read),
];

/// The default of `epsilon`.
const EPSILON: f64 = 1e-3;

/// The weights `gamma` and `beta` that a layer has.
#[derive(Clone, Copy)]
struct Affine {
    has_gamma: bool,
    has_beta: bool,
}

impl Affine {
    fn read(settings: &Settings<'_>) -> Self {
        Self {
            has_gamma: settings.flag("scale", true),
            has_beta: settings.flag("center", true),
        }
    }

    fn count(self) -> usize {
        usize::from(self.has_gamma) + usize::from(self.has_beta)
    }

    /// Reads both as vectors.
    fn vectors(
        self,
        weights: &mut LayerWeights<'_>,
    ) -> Result<(Option<Tensor<1>>, Option<Tensor<1>>), String> {
        let gamma = weights.vector_if(self.has_gamma, "gamma", None)?;
        let size = gamma.as_ref().map(|g| g.dims()[0]);
        let beta = weights.vector_if(self.has_beta, "beta", size)?;
        Ok((gamma, beta))
    }
}

/// A vector as a tensor of a rank, its values along one axis.
fn along(vector: Tensor<1>, axis: usize, rank: usize) -> Result<DynTensor, String> {
    let mut shape = vec![1; rank];
    shape[axis] = vector.dims()[0];
    DynTensor::R1(vector).reshape(&shape)
}

/// A tensor minus its mean, divided by its standard deviation, both along some axes.
fn standardized(x: DynTensor, axes: &[usize], epsilon: f64) -> DynTensor {
    map!(x, t => {
        let mean = axes.iter().fold(t.clone(), |t, &axis| t.mean_dim(axis));
        let centered = t - mean;
        let squares = centered.clone().powi_scalar(2);
        let variance = axes.iter().fold(squares, |t, &axis| t.mean_dim(axis));
        centered / (variance + epsilon).sqrt()
    })
}

struct BatchPlan {
    affine: Affine,
    axis: i64,
    epsilon: f64,
}

impl BatchPlan {
    fn read(settings: &Settings<'_>) -> Parsed {
        let axis = match settings.axes("axis")?.as_deref() {
            None => -1,
            Some(&[axis]) => axis,
            Some(_) => return Err(settings.unsupported("axis")),
        };
        Ok(Box::new(Self {
            affine: Affine::read(settings),
            axis,
            epsilon: settings.number("epsilon", EPSILON),
        }))
    }
}

impl LayerPlan for BatchPlan {
    fn weight_count(&self) -> WeightCount {
        WeightCount {
            trainable: self.affine.count(),
            others: 2,
        }
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        let (gamma, beta) = self.affine.vectors(weights)?;
        let size = gamma.as_ref().map(|g| g.dims()[0]);
        let mean = weights.vector("moving_mean", size)?;
        let variance = weights.vector("moving_variance", Some(mean.dims()[0]))?;
        let deviation = (variance + self.epsilon).sqrt();
        let scale = match gamma {
            Some(gamma) => gamma / deviation,
            None => deviation.recip(),
        };
        let shift = mean.neg() * scale.clone();
        Ok(Box::new(Batch {
            shift: match beta {
                Some(beta) => beta + shift,
                None => shift,
            },
            scale,
            axis: self.axis,
        }))
    }
}

/// `BatchNormalization` in a prediction: by the moving mean and variance.
struct Batch {
    /// `gamma / sqrt(variance + epsilon)`.
    scale: Tensor<1>,
    /// `beta - mean * scale`.
    shift: Tensor<1>,
    axis: i64,
}

impl Layer for Batch {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        let axis = input.x.axis(self.axis)?;
        let size = self.scale.dims()[0];
        if shape[axis] != size {
            return Err(format!(
                "it has statistics of {size} channels, and its input has the shape {shape:?}"
            ));
        }
        let scale = along(self.scale.clone(), axis, shape.len())?;
        let shift = along(self.shift.clone(), axis, shape.len())?;
        let scaled = input.x.clone().combine(scale, Binary::Multiply)?;
        let y = scaled.combine(shift, Binary::Add)?;
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}

struct LayerNormPlan {
    affine: Affine,
    axes: Vec<i64>,
    epsilon: f64,
}

impl LayerNormPlan {
    fn read(settings: &Settings<'_>) -> Parsed {
        settings.refuse("rms_scaling", &[Value::from(false)])?;
        Ok(Box::new(Self {
            affine: Affine::read(settings),
            axes: settings.axes("axis")?.unwrap_or_else(|| vec![-1]),
            epsilon: settings.number("epsilon", EPSILON),
        }))
    }
}

impl LayerPlan for LayerNormPlan {
    fn weight_count(&self) -> WeightCount {
        WeightCount::trainable(self.affine.count())
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        let shape = vec![None; self.axes.len()];
        let mut next = |has: bool, name: &str| has.then(|| weights.next(name, &shape)).transpose();
        Ok(Box::new(LayerNorm {
            gamma: next(self.affine.has_gamma, "gamma")?,
            beta: next(self.affine.has_beta, "beta")?,
            axes: self.axes.clone(),
            epsilon: self.epsilon,
        }))
    }
}

/// `LayerNormalization`: each item by its own mean and variance.
struct LayerNorm {
    /// Of the sizes of the axes that are normalized.
    gamma: Option<DynTensor>,
    beta: Option<DynTensor>,
    axes: Vec<i64>,
    epsilon: f64,
}

impl Layer for LayerNorm {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        let axes = axis_indices(shape.len(), &self.axes)?;
        if !axes.is_sorted_by(|a, b| a < b) {
            return Err(format!(
                "its `axis` is {:?}, which is not in the order of the axes of its input, and is not \
                 supported (Keras sorts the axes by number, so that -1 comes before 1)",
                self.axes
            ));
        }
        let mut sizes = vec![1; shape.len()];
        for &axis in &axes {
            sizes[axis] = shape[axis];
        }
        let mut y = standardized(input.x.clone(), &axes, self.epsilon);
        for (values, op) in [(&self.gamma, Binary::Multiply), (&self.beta, Binary::Add)] {
            if let Some(values) = values {
                let values = values.clone().reshape(&sizes).map_err(|_| {
                    format!(
                        "it has weights of the shape {:?}, and its input has the shape {shape:?}",
                        values.shape()
                    )
                })?;
                y = y.combine(values, op)?;
            }
        }
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}

struct GroupPlan {
    affine: Affine,
    /// `None` for as many as there are channels.
    groups: Option<usize>,
    epsilon: f64,
}

impl GroupPlan {
    fn read(settings: &Settings<'_>) -> Parsed {
        settings.refuse("axis", &[Value::from(-1), Value::from(vec![-1])])?;
        let groups = settings.get("groups").map_or(Some(32), Value::as_i64);
        let groups = match groups {
            Some(-1) => None,
            Some(groups @ 1..) => usize::try_from(groups).ok(),
            _ => return Err(settings.wrong("groups", "a positive integer, or -1")),
        };
        Ok(Box::new(Self {
            affine: Affine::read(settings),
            groups,
            epsilon: settings.number("epsilon", EPSILON),
        }))
    }
}

impl LayerPlan for GroupPlan {
    fn weight_count(&self) -> WeightCount {
        WeightCount::trainable(self.affine.count())
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        let (gamma, beta) = self.affine.vectors(weights)?;
        Ok(Box::new(GroupNorm {
            groups: self.groups,
            gamma,
            beta,
            epsilon: self.epsilon,
        }))
    }
}

/// `GroupNormalization`: by the mean and variance of the channels of a group and all cells of an
/// item.
struct GroupNorm {
    groups: Option<usize>,
    gamma: Option<Tensor<1>>,
    beta: Option<Tensor<1>>,
    epsilon: f64,
}

impl Layer for GroupNorm {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        let [batch, cells @ .., channels] = &shape[..] else {
            return Err(format!("its input has the shape {shape:?}"));
        };
        let groups = self.groups.unwrap_or(*channels);
        if !channels.is_multiple_of(groups) {
            return Err(format!(
                "{channels} channels cannot be divided into {groups} groups of the same size"
            ));
        }
        let cells = cells.iter().product();
        let grouped = [*batch, cells, groups, channels / groups];
        let x = input.x.clone().reshape(&grouped)?;
        let mut y = standardized(x, &[1, 3], self.epsilon).reshape(&shape)?;
        for (values, op) in [(&self.gamma, Binary::Multiply), (&self.beta, Binary::Add)] {
            if let Some(values) = values {
                let values = along(values.clone(), shape.len() - 1, shape.len())?;
                y = y.combine_into(values, op)?;
            }
        }
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}

/// `UnitNormalization`: to a length of 1 along some axes.
#[derive(Clone)]
struct UnitNorm {
    axes: Vec<i64>,
}

impl UnitNorm {
    fn read(settings: &Settings<'_>) -> Parsed {
        let axes = settings.axes("axis")?.unwrap_or_else(|| vec![-1]);
        Ok(Box::new(Self { axes }))
    }
}

impl Weightless for UnitNorm {}

impl Layer for UnitNorm {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        let axes = axis_indices(input.x.rank(), &self.axes)?;
        let y = unit_length(input.x.clone(), &axes);
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}

/// A tensor divided by its Euclidean length along some axes; zeros stay zeros.
pub(super) fn unit_length(x: DynTensor, axes: &[usize]) -> DynTensor {
    map!(x, t => {
        let squares = t.clone() * t.clone();
        let sum = axes.iter().fold(squares, |t, &axis| t.sum_dim(axis));
        t / sum.clamp_min(1e-12).sqrt()
    })
}
