//! Pooling over windows, and over all cells.

use burn::tensor::module;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use super::class::{Class, Kwargs, Layer, Parsed, Weightless, one};
use super::window::{Image, Padding};
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::config::signature::Signature;
use crate::tensor::budget::Budget;
use crate::tensor::dtype::ResultType;
use crate::tensor::shape::Shape;
use crate::tensor::{DynTensor, Masked};

pub(super) const CLASSES: &[Class] = &[
    Class::new("AveragePooling1D", |s| {
        Pool::read(s, Image::Sequence, Value::Mean)
    }),
    Class::new("AveragePooling2D", |s| {
        Pool::read(s, Image::Plane, Value::Mean)
    }),
    Class::new("GlobalAveragePooling1D", |s| {
        Global::read(s, Image::Sequence, Value::Mean)
    })
    .called(
        Signature {
            inputs: &["inputs"],
            others: &["mask"],
        },
        &["mask"],
    ),
    Class::new("GlobalAveragePooling2D", |s| {
        Global::read(s, Image::Plane, Value::Mean)
    }),
    Class::new("GlobalMaxPooling1D", |s| {
        Global::read(s, Image::Sequence, Value::Max)
    })
    .gives(ResultType::Same),
    Class::new("GlobalMaxPooling2D", |s| {
        Global::read(s, Image::Plane, Value::Max)
    })
    .gives(ResultType::Same),
    Class::new("MaxPooling1D", |s| {
        Pool::read(s, Image::Sequence, Value::Max)
    })
    .gives(ResultType::Same),
    Class::new("MaxPooling2D", |s| Pool::read(s, Image::Plane, Value::Max)).gives(ResultType::Same),
];

/// What is computed of the cells of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Max,
    Mean,
}

/// `MaxPooling` and `AveragePooling`.
#[derive(Clone)]
struct Pool {
    value: Value,
    image: Image,
    size: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
}

/// The windows along an axis.
struct Windows {
    padding: (usize, usize),
    size: usize,
    count: usize,
}

impl Pool {
    fn read(settings: &Settings<'_>, image: Image, value: Value) -> Parsed {
        settings.require_channels_last()?;
        let sizes = |key: &str, default: Option<usize>| {
            settings.image_sizes(image.is_sequence(), key, default)
        };
        let size = sizes("pool_size", Some(2))?;
        let stride = match settings.get("strides") {
            Some(_) => sizes("strides", None)?,
            None => size,
        };
        Ok(Box::new(Self {
            value,
            image,
            size,
            stride,
            padding: Padding::read(settings)?,
        }))
    }

    /// # Errors
    /// If a window is larger than the axis with its padding.
    fn windows(&self, i: usize, n: usize) -> Result<Windows, String> {
        let (size, stride) = (self.size[i], self.stride[i]);
        let (before, after) = self.padding.around(i, n, size, stride)?;
        let count = (n + before + after - size) / stride + 1;
        // Cells that are padding in every window have no effect: a window of a million cells over
        // ten of the input is one of nineteen.
        let last = (count - 1) * stride;
        let left = before.saturating_sub(last);
        let right = (size - before).saturating_sub(n);
        let right = right.min(after);
        Ok(Windows {
            padding: (before - left, after - right),
            size: size - left - right,
            count,
        })
    }
}

impl Weightless for Pool {
    fn outputs(
        &self,
        inputs: &[Shape],
        _: &Call,
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        let input = one(inputs)?;
        self.image.check(input)?;
        let (mut padded, mut output) = (input.clone(), input.clone());
        let mut cells = 1;
        for (axis, i) in self.image.axes() {
            let windows = self.windows(i, input[axis])?;
            padded[axis] += windows.padding.0 + windows.padding.1;
            output[axis] = windows.count;
            cells *= windows.size;
        }
        budget.tensor(&padded)?;
        budget.windows(&output, cells)?;
        Ok(vec![output])
    }
}

impl Layer for Pool {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let t = self.image.channels_second(&one(inputs)?.x)?;
        let [_, _, height, width] = t.dims();
        let [rows, columns] = [self.windows(0, height)?, self.windows(1, width)?];
        let padding = [rows.padding, columns.padding];
        let kernel_size = [rows.size, columns.size];
        let y = match self.value {
            Value::Max => module::max_pool2d(
                t,
                MaxPoolOptions {
                    kernel_size,
                    stride: self.stride,
                    padding,
                    dilation: [1, 1],
                    ceil_mode: false,
                },
            ),
            Value::Mean => module::avg_pool2d(
                t,
                AvgPoolOptions {
                    kernel_size,
                    stride: self.stride,
                    padding,
                    count_include_pad: false,
                    ceil_mode: false,
                },
            ),
        };
        Ok(vec![Masked::unmasked(self.image.channels_last(y))])
    }
}

/// `GlobalMaxPooling` and `GlobalAveragePooling`.
#[derive(Clone)]
struct Global {
    value: Value,
    image: Image,
    keeps_axes: bool,
}

impl Global {
    fn read(settings: &Settings<'_>, image: Image, value: Value) -> Parsed {
        settings.require_channels_last()?;
        Ok(Box::new(Self {
            value,
            image,
            keeps_axes: settings.flag("keepdims", false),
        }))
    }

    fn shape(&self, input: &[usize]) -> Result<Shape, String> {
        self.image.check(input)?;
        let rank = self.image.rank();
        let ones = vec![1; if self.keeps_axes { rank - 2 } else { 0 }];
        Ok([&input[..1], &ones[..], &input[rank - 1..]].concat())
    }
}

impl Weightless for Global {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        Ok(vec![self.shape(one(inputs)?)?])
    }
}

impl Layer for Global {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        let output = self.shape(&shape)?;
        let rank = self.image.rank();
        let (batch, channels) = (shape[0], shape[rank - 1]);
        let cells: usize = shape[1..rank - 1].iter().product();
        let DynTensor::R3(t) = input.x.clone().reshape(&[batch, cells, channels])? else {
            return Err("its input is not an image".into());
        };
        let y = match (self.value, input.mask()) {
            // Of Keras's layers only the average over steps uses the mask.
            (Value::Mean, Some(mask)) if self.image.is_sequence() => {
                let is_valid = mask.float().unsqueeze_dim::<3>(2);
                let steps = is_valid.clone().sum_dim(1);
                (t * is_valid).sum_dim(1) / steps
            }
            (Value::Max, _) => t.max_dim(1),
            (Value::Mean, _) => t.mean_dim(1),
        };
        let y = DynTensor::R3(y).reshape(&output)?;
        Ok(vec![Masked::unmasked(y)])
    }
}
