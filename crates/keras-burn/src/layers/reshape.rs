//! Layers that give a tensor another shape or order of axes.

use serde_json::Value;

use super::class::{Class, Kwargs, Layer, Parsed, Weightless, one};
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::tensor::budget::Budget;
use crate::tensor::dtype::ResultType;
use crate::tensor::shape::{Shape, is_permutation, reshaped, wrong_input};
use crate::tensor::{DynTensor, Masked};

pub(super) const CLASSES: &[Class] = &[
    Class::new("Flatten", |s| {
        s.require_channels_last()?;
        Ok(Box::new(Reshape { sizes: vec![-1] }))
    })
    .gives(ResultType::Same),
    Class::new("Permute", Permute::read).gives(ResultType::Same),
    Class::new("RepeatVector", |s| {
        let count = s.size("n")?;
        Ok(Box::new(RepeatVector { count }))
    })
    .gives(ResultType::Same),
    Class::new("Reshape", Reshape::read).gives(ResultType::Same),
];

/// `Reshape` and `Flatten`.
#[derive(Clone)]
struct Reshape {
    /// The sizes without the batch; one may be -1, which is inferred.
    sizes: Vec<i64>,
}

impl Reshape {
    fn read(settings: &Settings<'_>) -> Parsed {
        const KEY: &str = "target_shape";
        let sizes = settings.get(KEY).and_then(Value::as_array);
        let sizes: Option<Vec<i64>> = sizes.and_then(|all| all.iter().map(Value::as_i64).collect());
        let is_shape = |sizes: &Vec<i64>| {
            let open = sizes.iter().filter(|&&size| size == -1).count();
            open <= 1 && sizes.iter().all(|&size| size >= -1)
        };
        let sizes = sizes.filter(is_shape);
        let sizes = sizes.ok_or_else(|| settings.wrong(KEY, "a list of sizes"))?;
        Ok(Box::new(Self { sizes }))
    }

    fn shape(&self, input: &[usize]) -> Result<Shape, String> {
        let (batch, rest) = input.split_at(input.len().min(1));
        Ok([batch, &reshaped(rest, &self.sizes)?].concat())
    }
}

impl Weightless for Reshape {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        Ok(vec![self.shape(one(inputs)?)?])
    }
}

impl Layer for Reshape {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let x = one(inputs)?.x.clone();
        let shape = self.shape(&x.shape())?;
        Ok(vec![Masked::unmasked(x.reshape(&shape)?)])
    }
}

/// `Permute`.
#[derive(Clone)]
struct Permute {
    /// The order of all axes, the batch first.
    axes: Vec<usize>,
}

impl Permute {
    fn read(settings: &Settings<'_>) -> Parsed {
        let axes = settings.get("dims").and_then(Value::as_array);
        let axes: Option<Vec<usize>> =
            axes.and_then(|all| all.iter().map(|a| Some(a.as_u64()? as usize)).collect());
        let axes = axes.ok_or_else(|| settings.wrong("dims", "a list of axes"))?;
        Ok(Box::new(Self {
            axes: [&[0], &axes[..]].concat(),
        }))
    }
}

impl Weightless for Permute {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        let input = one(inputs)?;
        if !is_permutation(input.len(), &self.axes) {
            return Err(format!(
                "{:?} is not a permutation of {} axes",
                self.axes,
                input.len()
            ));
        }
        Ok(vec![self.axes.iter().map(|&axis| input[axis]).collect()])
    }
}

impl Layer for Permute {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let y = one(inputs)?.x.clone().permute(&self.axes)?;
        Ok(vec![Masked::unmasked(y)])
    }
}

/// `RepeatVector`: a vector as a sequence of the same vector.
#[derive(Clone)]
struct RepeatVector {
    count: usize,
}

impl Weightless for RepeatVector {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        match one(inputs)?[..] {
            [batch, features] => Ok(vec![vec![batch, self.count, features]]),
            ref shape => Err(wrong_input(shape, "[batch, features]")),
        }
    }
}

impl Layer for RepeatVector {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        match &one(inputs)?.x {
            DynTensor::R2(t) => {
                let repeated = t.clone().unsqueeze_dim::<3>(1).repeat_dim(1, self.count);
                Ok(vec![Masked::unmasked(DynTensor::R3(repeated))])
            }
            other => Err(wrong_input(&other.shape(), "[batch, features]")),
        }
    }
}
