//! Pooling over windows, and over everything.

use ::burn::tensor::module;
use ::burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use super::conv::{Padding, channels_last, channels_second};
use super::{Config, Extra, Layer, one};
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

impl Layer for Pool {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = &one(inputs)?.x;
        if x.rank() != self.rank {
            return Err(format!("its input has the shape {:?}", x.shape()));
        }
        let (t, is_sequence) = channels_second(x)?;
        let [_, _, height, width] = t.dims();
        let mut padding = [(0, 0); 2];
        for (i, n) in [height, width].into_iter().enumerate() {
            padding[i] = self.padding.around(n.max(1), self.size[i], self.stride[i]);
            if n == 0 || n + padding[i].0 + padding[i].1 < self.size[i] {
                return Err(format!(
                    "its window spans {} cells, and its input has {n}",
                    self.size[i]
                ));
            }
        }
        let y = if self.is_max {
            let options = MaxPoolOptions {
                kernel_size: self.size,
                stride: self.stride,
                padding,
                dilation: [1, 1],
                ceil_mode: false,
            };
            module::max_pool2d(t, options)
        } else {
            // Only real cells count.
            let options = AvgPoolOptions {
                kernel_size: self.size,
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

impl Layer for Global {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let input = one(inputs)?;
        let shape = input.x.shape();
        if shape.len() != self.rank {
            return Err(format!("its input has the shape {shape:?}"));
        }
        let (batch, channels) = (shape[0], shape[self.rank - 1]);
        let cells: usize = shape[1..self.rank - 1].iter().product();
        let Value::R3(t) = input.x.clone().reshape(&[batch, cells, channels])? else {
            return Err("its input is no image".into());
        };
        let y = match &input.mask {
            // Only an average over steps heeds the mask.
            Some(mask) if !self.is_max && self.rank == 3 => {
                let counts = mask.clone().float().unsqueeze_dim::<3>(2);
                let steps = counts.clone().sum_dim(1);
                (t * counts).sum_dim(1) / steps
            }
            _ if self.is_max => t.max_dim(1),
            _ => t.mean_dim(1),
        };
        let ones = vec![1; self.rank - 2];
        let shape = match self.keeps_axes {
            true => [&[batch], &ones[..], &[channels]].concat(),
            false => vec![batch, channels],
        };
        Ok(vec![Flow::of(Value::R3(y).reshape(&shape)?)])
    }
}
