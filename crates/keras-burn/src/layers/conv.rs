//! Convolutions of images and sequences.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

use super::activation::Activation;
use super::class::{Class, Kwargs, Layer, LayerPlan, Parsed, WeightCount, one};
use super::weights::LayerWeights;
use super::window::{Image, Padding};
use crate::config::call::Call;
use crate::config::settings::Settings;
use crate::tensor::budget::Budget;
use crate::tensor::shape::{Shape, with_last};
use crate::tensor::{DynTensor, Masked};

pub(super) const CLASSES: &[Class] = &[
    Class::new("Conv1D", |s| ConvPlan::read(s, Image::Sequence, Kind::Full)),
    Class::new("Conv2D", |s| ConvPlan::read(s, Image::Plane, Kind::Full)),
    Class::new("DepthwiseConv1D", |s| {
        ConvPlan::read(s, Image::Sequence, Kind::Depthwise)
    }),
    Class::new("DepthwiseConv2D", |s| {
        ConvPlan::read(s, Image::Plane, Kind::Depthwise)
    }),
    Class::new("SeparableConv1D", |s| {
        ConvPlan::read(s, Image::Sequence, Kind::Separable)
    }),
    Class::new("SeparableConv2D", |s| {
        ConvPlan::read(s, Image::Plane, Kind::Separable)
    }),
];

/// Which channels of the input a channel of the output depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// All of its group.
    Full,
    /// One.
    Depthwise,
    /// One, and then all without their neighbours.
    Separable,
}

struct ConvPlan {
    image: Image,
    kind: Kind,
    /// The channels of the output, but for `Kind::Depthwise`.
    filters: usize,
    groups: usize,
    /// The channels that a depthwise convolution makes of each one.
    multiplier: usize,
    use_bias: bool,
    activation: Activation,
    geometry: Geometry,
}

/// The sizes for height and width.
#[derive(Clone, Copy)]
struct Geometry {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

impl ConvPlan {
    fn read(settings: &Settings<'_>, image: Image, kind: Kind) -> Parsed {
        settings.require_channels_last()?;
        let sizes = |key: &str, default: Option<usize>| {
            settings.image_sizes(image.is_sequence(), key, default)
        };
        let geometry = Geometry {
            kernel: sizes("kernel_size", None)?,
            stride: sizes("strides", Some(1))?,
            dilation: sizes("dilation_rate", Some(1))?,
            padding: Padding::read(settings)?,
        };
        let filters = match kind {
            Kind::Depthwise => 1,
            Kind::Full | Kind::Separable => settings.size("filters")?,
        };
        let groups = settings.size_or("groups", 1)?;
        if kind == Kind::Full && !filters.is_multiple_of(groups) {
            return Err(format!(
                "its {filters} filters cannot be divided into {groups} groups of the same size"
            ));
        }
        Ok(Box::new(Self {
            image,
            kind,
            filters,
            groups,
            multiplier: settings.size_or("depth_multiplier", 1)?,
            use_bias: settings.flag("use_bias", true),
            activation: Activation::read(settings, "activation", "linear")?,
            geometry,
        }))
    }

    /// A shape of a kernel, which for sequences lacks the height.
    fn kernel_shape(&self, shape: [Option<usize>; 4]) -> Vec<Option<usize>> {
        shape[usize::from(self.image.is_sequence())..].to_vec()
    }

    /// Reads a kernel as `[height, width, in, out]`.
    fn kernel(
        &self,
        weights: &mut LayerWeights<'_>,
        name: &str,
        shape: [Option<usize>; 4],
    ) -> Result<Tensor<4>, String> {
        match weights.next(name, &self.kernel_shape(shape))? {
            DynTensor::R4(t) => Ok(t),
            DynTensor::R3(t) => Ok(t.unsqueeze_dim::<4>(0)),
            other => Err(format!("its kernel has the shape {:?}", other.shape())),
        }
    }
}

impl LayerPlan for ConvPlan {
    fn outputs(
        &self,
        inputs: &[Shape],
        _: &Call,
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        let input = one(inputs)?;
        self.image.check(input)?;
        let Geometry {
            kernel,
            stride,
            dilation,
            padding,
        } = self.geometry;
        let (mut padded, mut output) = (input.clone(), input.clone());
        for (axis, i) in self.image.axes() {
            let span = (kernel[i] - 1) * dilation[i] + 1;
            let (before, after) = padding.around(i, input[axis], span, stride[i])?;
            padded[axis] += before + after;
            output[axis] = (padded[axis] - span) / stride[i] + 1;
        }
        budget.tensor(&padded)?;
        let depthwise = with_last(
            &output,
            input[input.len() - 1].saturating_mul(self.multiplier),
        );
        let output = match self.kind {
            Kind::Full => with_last(&output, self.filters),
            Kind::Depthwise => depthwise,
            Kind::Separable => {
                budget.tensor(&depthwise)?;
                with_last(&output, self.filters)
            }
        };
        Ok(vec![self.activation.shape(&output)?])
    }

    fn weight_count(&self) -> WeightCount {
        let kernels = match self.kind {
            Kind::Full | Kind::Depthwise => 1,
            Kind::Separable => 2,
        };
        WeightCount::trainable(kernels + usize::from(self.use_bias))
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        let [height, width] = self.geometry.kernel;
        let step = |kernel: Tensor<4>, bias, groups| Step {
            kernel,
            bias,
            groups,
            geometry: self.geometry,
        };
        let size = [Some(height), Some(width)];
        let steps = match self.kind {
            Kind::Full => {
                let shape = [size[0], size[1], None, Some(self.filters)];
                let kernel = self.kernel(weights, "kernel", shape)?.permute([3, 2, 0, 1]);
                let bias = weights.vector_if(self.use_bias, "bias", Some(self.filters))?;
                vec![step(kernel, bias, self.groups)]
            }
            Kind::Depthwise | Kind::Separable => {
                let shape = [size[0], size[1], None, Some(self.multiplier)];
                let kernel = self.kernel(weights, "depthwise_kernel", shape)?;
                let channels = kernel.dims()[2];
                let outer = channels * self.multiplier;
                let kernel = kernel.permute([2, 3, 0, 1]);
                // With a multiplier of 1 the reshape would copy and change nothing.
                let kernel = match self.multiplier {
                    1 => kernel,
                    _ => kernel.reshape([outer, 1, height, width]),
                };
                if self.kind == Kind::Depthwise {
                    let bias = weights.vector_if(self.use_bias, "bias", Some(outer))?;
                    vec![step(kernel, bias, channels)]
                } else {
                    let shape = [Some(1), Some(1), Some(outer), Some(self.filters)];
                    let points = self.kernel(weights, "pointwise_kernel", shape)?;
                    let points = points.permute([3, 2, 0, 1]);
                    let bias = weights.vector_if(self.use_bias, "bias", Some(self.filters))?;
                    let pointwise = Step {
                        geometry: Geometry {
                            kernel: [1, 1],
                            stride: [1, 1],
                            dilation: [1, 1],
                            padding: Padding::Valid,
                        },
                        ..step(points, bias, 1)
                    };
                    vec![step(kernel, None, channels), pointwise]
                }
            }
        };
        Ok(Box::new(Conv {
            steps,
            image: self.image,
            activation: self.activation,
        }))
    }
}

/// One convolution, its kernel in Burn's order of axes.
struct Step {
    /// `[out, in / groups, height, width]`.
    kernel: Tensor<4>,
    bias: Option<Tensor<1>>,
    groups: usize,
    geometry: Geometry,
}

impl Step {
    fn apply(&self, x: Tensor<4>) -> Result<Tensor<4>, String> {
        let [_, channels, height, width] = x.dims();
        let [_, in_group, kernel_height, kernel_width] = self.kernel.dims();
        if channels != in_group * self.groups {
            return Err(format!(
                "its kernel takes {} channels, and its input has {channels}",
                in_group * self.groups
            ));
        }
        let Geometry {
            stride,
            dilation,
            padding,
            ..
        } = self.geometry;
        let around = |i: usize, n: usize, kernel: usize| {
            padding.around(i, n, (kernel - 1) * dilation[i] + 1, stride[i])
        };
        let options = ConvOptions {
            stride,
            padding: [
                around(0, height, kernel_height)?,
                around(1, width, kernel_width)?,
            ],
            dilation,
            groups: self.groups,
        };
        let (kernel, bias) = (self.kernel.clone(), self.bias.clone());
        Ok(module::conv2d(x, kernel, bias, options))
    }
}

struct Conv {
    steps: Vec<Step>,
    image: Image,
    activation: Activation,
}

impl Layer for Conv {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let mut t = self.image.channels_second(&one(inputs)?.x)?;
        for step in &self.steps {
            t = step.apply(t)?;
        }
        let y = self.activation.apply(self.image.channels_last(t))?;
        Ok(vec![Masked::unmasked(y)])
    }
}
