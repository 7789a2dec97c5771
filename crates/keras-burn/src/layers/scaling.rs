//! Layers that scale and shift by stored or given numbers.

use super::class::{Class, Kwargs, Layer, LayerPlan, Parsed, WeightCount, Weightless, one};
use super::weights::LayerWeights;
use crate::config::settings::Settings;
use crate::tensor::shape::axis_indices;
use crate::tensor::{Binary, DynTensor, Masked, map};

pub(super) const CLASSES: &[Class] = &[
    Class::new("Normalization", NormalizationPlan::read),
    Class::new("Rescaling", Rescaling::read),
];

/// The smallest deviation that is divided by (keras/src/backend/config.py, `epsilon`).
const EPSILON: f64 = 1e-7;

struct NormalizationPlan {
    /// Empty for one mean and variance of all values.
    axes: Vec<i64>,
    /// The mean and the variance, if they are in the settings; else they are weights.
    given: Option<(Vec<f32>, Vec<f32>)>,
    invert: bool,
}

impl NormalizationPlan {
    fn read(settings: &Settings<'_>) -> Parsed {
        let (mean, variance) = (settings.numbers("mean")?, settings.numbers("variance")?);
        Ok(Box::new(Self {
            // Unlike those of other layers, a missing axis stands for all of them.
            axes: settings.axes("axis")?.unwrap_or_default(),
            given: mean.zip(variance),
            invert: settings.flag("invert", false),
        }))
    }
}

impl LayerPlan for NormalizationPlan {
    fn weight_count(&self) -> WeightCount {
        WeightCount::others(if self.given.is_some() { 0 } else { 3 })
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        let (mean, variance) = match &self.given {
            Some((mean, variance)) => {
                let vector = |values: &[f32]| {
                    DynTensor::from_data(values.to_vec(), &[values.len()], weights.device())
                };
                (vector(mean)?, vector(variance)?)
            }
            None => {
                let shape = vec![None; self.axes.len()];
                let mean = weights.next_or_scalar("mean", &shape)?;
                let variance = weights.next_or_scalar("variance", &shape)?;
                // The number of rows that both were computed from has no effect.
                let _ = weights.next_or_scalar("count", &[])?;
                (mean, variance)
            }
        };
        Ok(Box::new(Normalization {
            mean,
            deviation: map!(variance, t => t.sqrt().clamp_min(EPSILON)),
            axes: self.axes.clone(),
            invert: self.invert,
        }))
    }
}

/// `Normalization`: by a mean and a variance that were adapted or given.
struct Normalization {
    mean: DynTensor,
    deviation: DynTensor,
    axes: Vec<i64>,
    invert: bool,
}

impl Layer for Normalization {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        let rank = input.x.rank();
        let mut axes = axis_indices(rank, &self.axes)?;
        axes.sort_unstable();
        if axes.is_empty() {
            axes.push(rank - 1);
        }
        // The last sizes of the statistics belong to the last of the axes.
        let along_axes = |v: &DynTensor| -> Result<DynTensor, String> {
            let mut shape = vec![1; rank];
            for (&axis, size) in axes.iter().rev().zip(v.shape().into_iter().rev()) {
                shape[axis] = size;
            }
            v.clone().reshape(&shape)
        };
        let (mean, deviation) = (along_axes(&self.mean)?, along_axes(&self.deviation)?);
        let x = input.x.clone();
        let y = match self.invert {
            true => x
                .combine_into(deviation, Binary::Multiply)?
                .combine_into(mean, Binary::Add)?,
            false => x
                .combine_into(mean, Binary::Subtract)?
                .combine_into(deviation, Binary::Divide)?,
        };
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}

/// `Rescaling`: a scale and an offset, for all values or for each channel.
#[derive(Clone)]
struct Rescaling {
    scale: Vec<f32>,
    offset: Vec<f32>,
}

impl Rescaling {
    fn read(settings: &Settings<'_>) -> Parsed {
        Ok(Box::new(Self {
            scale: settings.numbers("scale")?.unwrap_or_else(|| vec![1.0]),
            offset: settings.numbers("offset")?.unwrap_or_else(|| vec![0.0]),
        }))
    }
}

impl Weightless for Rescaling {}

impl Layer for Rescaling {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        let device = input.x.device();
        let vector =
            |values: &[f32]| DynTensor::from_data(values.to_vec(), &[values.len()], &device);
        let scaled = input
            .x
            .clone()
            .combine_into(vector(&self.scale)?, Binary::Multiply)?;
        let y = scaled.combine_into(vector(&self.offset)?, Binary::Add)?;
        Ok(vec![Masked::with_mask_of(y, input)])
    }
}
