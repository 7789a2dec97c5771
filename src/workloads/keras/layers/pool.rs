//! Pooling over windows, and over everything.

use ::burn::tensor::module;
use ::burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use super::conv::{Padding, channels_last, channels_second};
use super::{Config, Extra, Layer, one};
use crate::workloads::keras::plan::{Budget, Shape};
use crate::workloads::keras::value::{Flow, Value};

/// `MaxPooling1D`, `MaxPooling2D`, `AveragePooling1D` and `AveragePooling2D`.
pub(super) struct Pool {
    is_max: bool,
    rank: usize,
    size: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
}

impl Pool {
    pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Self, String> {
        config.channels_last()?;
        let is_1d = class.ends_with("1D");
        let pair = |key: &str, default: Option<usize>| config.image_sizes(is_1d, key, default);
        let size = pair("pool_size", Some(2))?;
        let stride = match config.get("strides") {
            Some(_) => pair("strides", None)?,
            None => size,
        };
        Ok(Self {
            is_max: class.starts_with("Max"),
            rank: if is_1d { 3 } else { 4 },
            size,
            stride,
            padding: Padding::of(config)?,
        })
    }
}

/// Windows along an axis.
struct Windows {
    padding: (usize, usize),
    size: usize,
    count: usize,
}

impl Pool {
    /// # Errors
    /// If a window is larger than what it moves over.
    fn windows(&self, axis: usize, n: usize) -> Result<Windows, String> {
        let (size, stride) = (self.size[axis], self.stride[axis]);
        let (before, after) = self.padding.fitted(axis, n, size, stride)?;
        let count = (n + before + after - size) / stride + 1;
        // Cells that lie outside for every window count for nothing: a window of a million cells
        // over ten is one of nineteen.
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

    /// The shape that it makes of one.
    ///
    /// # Errors
    /// If its windows do not fit, or look at too many cells.
    pub(super) fn planned(&self, input: &[usize], budget: &mut Budget) -> Result<Shape, String> {
        if input.len() != self.rank {
            return Err(format!("its input has the shape {input:?}"));
        }
        let (mut padded, mut output) = (input.to_vec(), input.to_vec());
        let mut cells = 1;
        for (axis, i) in (1..).zip(4 - self.rank..2) {
            let windows = self.windows(i, input[axis])?;
            padded[axis] += windows.padding.0 + windows.padding.1;
            output[axis] = windows.count;
            cells *= windows.size;
        }
        budget.tensor(&padded)?;
        budget.windows(&output, cells)?;
        Ok(output)
    }
}

impl Layer for Pool {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = &one(inputs)?.x;
        if x.rank() != self.rank {
            return Err(format!("its input has the shape {:?}", x.shape()));
        }
        let (t, is_sequence) = channels_second(x)?;
        let [_, _, height, width] = t.dims();
        let [rows, columns] = [self.windows(0, height)?, self.windows(1, width)?];
        let padding = [rows.padding, columns.padding];
        let kernel_size = [rows.size, columns.size];
        let y = if self.is_max {
            let options = MaxPoolOptions {
                kernel_size,
                stride: self.stride,
                padding,
                dilation: [1, 1],
                ceil_mode: false,
            };
            module::max_pool2d(t, options)
        } else {
            // Only real cells count.
            let options = AvgPoolOptions {
                kernel_size,
                stride: self.stride,
                padding,
                count_include_pad: false,
                ceil_mode: false,
            };
            module::avg_pool2d(t, options)
        };
        Ok(vec![Flow::of(channels_last(y, is_sequence))])
    }
}

/// `GlobalMaxPooling` and `GlobalAveragePooling`, `1D` and `2D`.
pub(super) struct Global {
    is_max: bool,
    rank: usize,
    keeps_axes: bool,
}

impl Global {
    pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Self, String> {
        config.channels_last()?;
        Ok(Self {
            is_max: class.starts_with("GlobalMax"),
            rank: if class.ends_with("1D") { 3 } else { 4 },
            keeps_axes: config.flag("keepdims", false),
        })
    }
}

impl Global {
    /// The shape that it makes of one.
    ///
    /// # Errors
    /// If its input is of another rank.
    pub(super) fn planned(&self, input: &[usize]) -> Result<Shape, String> {
        if input.len() != self.rank {
            return Err(format!("its input has the shape {input:?}"));
        }
        let ones = vec![1; if self.keeps_axes { self.rank - 2 } else { 0 }];
        Ok([&input[..1], &ones[..], &input[self.rank - 1..]].concat())
    }
}

impl Layer for Global {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        let planned = self.planned(&shape)?;
        let (batch, channels) = (shape[0], shape[self.rank - 1]);
        let cells: usize = shape[1..self.rank - 1].iter().product();
        let Value::R3(t) = input.x.clone().reshape(&[batch, cells, channels])? else {
            return Err("its input is no image".into());
        };
        let y = match input.mask() {
            // Only an average over steps heeds the mask.
            Some(mask) if !self.is_max && self.rank == 3 => {
                let counts = mask.float().unsqueeze_dim::<3>(2);
                let steps = counts.clone().sum_dim(1);
                (t * counts).sum_dim(1) / steps
            }
            _ if self.is_max => t.max_dim(1),
            _ => t.mean_dim(1),
        };
        Ok(vec![Flow::of(Value::R3(y).reshape(&planned)?)])
    }
}
