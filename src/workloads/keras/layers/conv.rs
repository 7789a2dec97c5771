//! Convolutions. Keras keeps channels last, Burn wants them second: the axes are permuted before
//! and after, which moves no data; the convolution itself reads through the strides or copies once.

use ::burn::tensor::ops::{ConvOptions, ConvTransposeOptions, PadMode};
use ::burn::tensor::{Tensor, module};
use serde_json::Value as Json;

use super::activation::Activation;
use super::{Config, Extra, Layer, one};
use crate::base::error::Error;
use crate::workloads::keras::value::{Flow, Value};
use crate::workloads::keras::weights::Vars;

/// What is added around an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    Valid,
    /// Zeros, so that the output has as many steps as the input, by the stride.
    Same,
    /// Zeros before the first step only.
    Causal,
}

impl Padding {
    pub(super) fn of(config: &Config<'_>) -> Result<Self, String> {
        match config.text("padding", "valid").to_lowercase().as_str() {
            "valid" => Ok(Self::Valid),
            "same" => Ok(Self::Same),
            "causal" => Ok(Self::Causal),
            other => Err(format!(
                "its `padding` of `{}` is not supported",
                other.escape_debug()
            )),
        }
    }

    /// Cells before and after an axis of `n`, for a kernel that spans `span`.
    fn around(self, n: usize, span: usize, stride: usize) -> (usize, usize) {
        match self {
            Self::Valid => (0, 0),
            Self::Causal => (span - 1, 0),
            Self::Same => {
                let out = n.div_ceil(stride);
                let total = ((out - 1) * stride + span).saturating_sub(n);
                (total / 2, total - total / 2)
            }
        }
    }
}

impl Padding {
    /// Cells before and after an axis of an image, 0 for the height and 1 for the width, where the
    /// steps of a sequence are.
    ///
    /// # Errors
    /// If the axis has no cells, or what spans so many does not fit on it.
    pub(super) fn fitted(
        self,
        axis: usize,
        n: usize,
        span: usize,
        stride: usize,
    ) -> Result<(usize, usize), String> {
        let wrong = || format!("its window spans {span} cells, and its input has {n}");
        if n == 0 {
            return Err(wrong());
        }
        // Only the steps of a sequence have a before.
        let padding = match self {
            Self::Causal if axis == 0 => Self::Valid,
            padding => padding,
        };
        let (before, after) = padding.around(n, span, stride);
        match n + before + after < span {
            true => Err(wrong()),
            false => Ok((before, after)),
        }
    }
}

/// An image or a sequence as `[batch, channels, height, width]`; a sequence has the height 1.
pub(super) fn channels_second(x: &Value) -> Result<(Tensor<4>, bool), String> {
    match x {
        Value::R4(t) => Ok((t.clone().permute([0, 3, 1, 2]), false)),
        Value::R3(t) => Ok((t.clone().unsqueeze_dim::<4>(1).permute([0, 3, 1, 2]), true)),
        other => Err(format!("its input has the shape {:?}", other.shape())),
    }
}

/// The other way round.
pub(super) fn channels_last(t: Tensor<4>, is_sequence: bool) -> Value {
    let t = t.permute([0, 2, 3, 1]);
    if is_sequence {
        Value::R3(t.squeeze_dim::<3>(1))
    } else {
        Value::R4(t)
    }
}

/// One convolution, its kernel as Burn has it.
struct Step {
    /// `[out, in / groups, height, width]`.
    kernel: Tensor<4>,
    bias: Option<Tensor<1>>,
    groups: usize,
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

impl Step {
    fn run(&self, x: Tensor<4>) -> Result<Tensor<4>, String> {
        let [_, channels, height, width] = x.dims();
        let [_, of_group, kernel_height, kernel_width] = self.kernel.dims();
        if channels != of_group * self.groups {
            return Err(format!(
                "its kernel takes {} channels, and its input has {channels}",
                of_group * self.groups
            ));
        }
        let axis = |n: usize, kernel: usize, i: usize| {
            let span = (kernel - 1) * self.dilation[i] + 1;
            self.padding.fitted(i, n, span, self.stride[i])
        };
        let padding = [
            axis(height, kernel_height, 0)?,
            axis(width, kernel_width, 1)?,
        ];
        let options = ConvOptions {
            stride: self.stride,
            padding,
            dilation: self.dilation,
            groups: self.groups,
        };
        let (kernel, bias) = (self.kernel.clone(), self.bias.clone());
        Ok(module::conv2d(x, kernel, bias, options))
    }
}

/// `Conv1D`, `DepthwiseConv1D`, `SeparableConv1D`, and those of images.
pub(super) struct Conv {
    steps: Vec<Step>,
    activation: Activation,
    rank: usize,
}

impl Conv {
    pub(super) fn build(
        class: &str,
        config: &Config<'_>,
        vars: &mut Vars<'_>,
    ) -> Result<Self, Error> {
        vars.checked(config.channels_last())?;
        let padding = vars.checked(Padding::of(config))?;
        let activation = vars.checked(Activation::of(config, "activation", "linear"))?;
        let groups = vars.checked(config.size_or("groups", 1))?;
        let is_1d = class.ends_with("1D");
        let pair = |key: &str, default: Option<usize>| config.image_sizes(is_1d, key, default);
        let [height, width] = vars.checked(pair("kernel_size", None))?;
        let stride = vars.checked(pair("strides", Some(1)))?;
        let dilation = vars.checked(pair("dilation_rate", Some(1)))?;
        let use_bias = config.flag("use_bias", true);
        let step = |kernel: Tensor<4>, bias, groups| Step {
            kernel,
            bias,
            groups,
            stride,
            dilation,
            padding,
        };
        let steps = match class {
            "Conv1D" | "Conv2D" => {
                let filters = vars.checked(config.size("filters"))?;
                // `[height, width, in / groups, out]`, without the height for sequences.
                let shape = [Some(height), Some(width), None, Some(filters)];
                let kernel = vars.next("kernel", &shape[usize::from(is_1d)..])?;
                let kernel = vars.checked(image_kernel(kernel))?.permute([3, 2, 0, 1]);
                if !filters.is_multiple_of(groups) {
                    let what =
                        format!("{filters} filters are not {groups} groups of the same size");
                    return Err(vars.wrong(what));
                }
                let bias = vars.vector_if(use_bias, "bias", Some(filters))?;
                vec![step(kernel, bias, groups)]
            }
            _ => {
                let times = vars.checked(config.size_or("depth_multiplier", 1))?;
                let shape = [Some(height), Some(width), None, Some(times)];
                let kernel = vars.next("depthwise_kernel", &shape[usize::from(is_1d)..])?;
                let kernel = vars.checked(image_kernel(kernel))?;
                let [_, _, channels, _] = kernel.dims();
                let outer = channels * times;
                let kernel = kernel.permute([2, 3, 0, 1]);
                // Only where it must be is it copied.
                let kernel = match times {
                    1 => kernel,
                    _ => kernel.reshape([outer, 1, height, width]),
                };
                if class.starts_with("Depthwise") {
                    let bias = vars.vector_if(use_bias, "bias", Some(outer))?;
                    vec![step(kernel, bias, channels)]
                } else {
                    let filters = vars.checked(config.size("filters"))?;
                    let shape = [Some(1), Some(1), Some(outer), Some(filters)];
                    let points = vars.next("pointwise_kernel", &shape[usize::from(is_1d)..])?;
                    let points = vars.checked(image_kernel(points))?.permute([3, 2, 0, 1]);
                    let bias = vars.vector_if(use_bias, "bias", Some(filters))?;
                    let first = step(kernel, None, channels);
                    let second = Step {
                        stride: [1, 1],
                        dilation: [1, 1],
                        padding: Padding::Valid,
                        ..step(points, bias, 1)
                    };
                    vec![first, second]
                }
            }
        };
        Ok(Self {
            steps,
            activation,
            rank: if is_1d { 3 } else { 4 },
        })
    }
}

/// A kernel of four axes, the height 1 for sequences.
fn image_kernel(kernel: Value) -> Result<Tensor<4>, String> {
    match kernel {
        Value::R4(t) => Ok(t),
        Value::R3(t) => Ok(t.unsqueeze_dim::<4>(0)),
        other => Err(format!("its kernel has the shape {:?}", other.shape())),
    }
}

impl Layer for Conv {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = &one(inputs)?.x;
        if x.rank() != self.rank {
            return Err(format!("its input has the shape {:?}", x.shape()));
        }
        let (mut t, is_sequence) = channels_second(x)?;
        for step in &self.steps {
            t = step.run(t)?;
        }
        let y = self.activation.apply(channels_last(t, is_sequence))?;
        Ok(vec![Flow::of(y)])
    }
}

/// How the cells of a transposed convolution reach the cells of what it makes.
pub(super) struct Reach {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
    /// Cells more than those that each output certainly has; `None` if Keras chooses.
    more: [Option<usize>; 2],
}

impl Reach {
    pub(super) fn of(config: &Config<'_>) -> Result<Self, String> {
        let cells = |v: &Json| v.as_u64().filter(|&v| v < 1 << 20).map(|v| v as usize);
        let more = match config.get("output_padding") {
            None => Some([None; 2]),
            Some(Json::Array(each)) => match &each[..] {
                [height, width] => cells(height)
                    .zip(cells(width))
                    .map(|(h, w)| [Some(h), Some(w)]),
                _ => None,
            },
            Some(both) => cells(both).map(|n| [Some(n); 2]),
        };
        Ok(Self {
            kernel: config.sizes("kernel_size", None)?,
            stride: config.sizes("strides", Some(1))?,
            dilation: config.sizes("dilation_rate", Some(1))?,
            padding: Padding::of(config)?,
            more: more.ok_or("its `output_padding` is not 2 sizes")?,
        })
    }

    /// Cells that `n` cells of an axis of the input reach, and those of them, or more, that come out.
    ///
    /// # Errors
    /// If no input of `n` cells is made of what would come out, which TensorFlow refuses, too.
    pub(super) fn cells(&self, i: usize, n: usize) -> Result<(usize, usize), String> {
        let stride = self.stride[i];
        let span = (self.kernel[i] - 1) * self.dilation[i] + 1;
        let between = n.saturating_sub(1) * stride;
        let out = match (self.padding, self.more[i]) {
            (Padding::Same, None) => n * stride,
            (Padding::Same, Some(more)) => between + span % 2 + more,
            (_, None) => between + span.max(stride),
            (_, Some(more)) => between + span + more,
        };
        let steps = match self.padding {
            Padding::Same => out.div_ceil(stride),
            _ => (out + 1).saturating_sub(span).div_ceil(stride),
        };
        match steps == n {
            true => Ok((between + span, out)),
            false => Err(format!(
                "with its `output_padding` {n} cells would become {out}, which its stride of \
                 {stride} does not allow"
            )),
        }
    }
}

/// `Conv2DTranspose`.
pub(super) struct Transposed {
    /// `[in, out, height, width]`.
    kernel: Tensor<4>,
    bias: Option<Tensor<1>>,
    reach: Reach,
    activation: Activation,
}

impl Transposed {
    pub(super) fn build(config: &Config<'_>, vars: &mut Vars<'_>) -> Result<Self, Error> {
        vars.checked(config.channels_last())?;
        let reach = vars.checked(Reach::of(config))?;
        let filters = vars.checked(config.size("filters"))?;
        let [height, width] = reach.kernel;
        let shape = [Some(height), Some(width), Some(filters), None];
        let kernel = vars.next("kernel", &shape)?;
        let kernel = vars.checked(image_kernel(kernel))?.permute([3, 2, 0, 1]);
        Ok(Self {
            kernel,
            bias: vars.vector_if(config.flag("use_bias", true), "bias", Some(filters))?,
            reach,
            activation: vars.checked(Activation::of(config, "activation", "linear"))?,
        })
    }
}

impl Layer for Transposed {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = &one(inputs)?.x;
        let (Value::R4(_), (t, _)) = (x, channels_second(x)?) else {
            return Err(format!("its input has the shape {:?}", x.shape()));
        };
        let [_, channels, height, width] = t.dims();
        let [takes, ..] = self.kernel.dims();
        if channels != takes {
            return Err(format!(
                "its kernel takes {takes} channels, and its input has {channels}"
            ));
        }
        let options = ConvTransposeOptions {
            stride: self.reach.stride,
            padding: [0, 0],
            padding_out: [0, 0],
            dilation: self.reach.dilation,
            groups: 1,
        };
        // The whole of it; Keras keeps a part, or adds cells that only the bias reaches.
        let mut y = module::conv_transpose2d(t, self.kernel.clone(), None, options);
        for (i, n) in [height, width].into_iter().enumerate() {
            let (has, wanted) = self.reach.cells(i, n)?;
            if has > wanted {
                y = y.narrow(2 + i, (has - wanted) / 2, wanted);
            } else if has < wanted {
                let mut pairs = [(0, 0); 4];
                pairs[2 + i] = (0, wanted - has);
                y = y.pad(pairs, PadMode::Constant(0.0));
            }
        }
        if let Some(bias) = &self.bias {
            let size = bias.dims()[0];
            y = y + bias.clone().reshape([1, size, 1, 1]);
        }
        let y = self.activation.apply(channels_last(y, false))?;
        Ok(vec![Flow::of(y)])
    }
}
