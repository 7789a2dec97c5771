//! Transposed convolutions.

use burn::tensor::ops::{ConvTransposeOptions, PadMode};
use burn::tensor::{Tensor, module};
use serde_json::Value;

use super::activation::Activation;
use super::class::{Class, Kwargs, Layer, LayerPlan, Parsed, WeightCount, one};
use super::weights::LayerWeights;
use super::window::{Image, Padding};
use crate::config::call::Call;
use crate::config::settings::{Settings, size_below};
use crate::tensor::budget::Budget;
use crate::tensor::shape::{Shape, with_last};
use crate::tensor::{DynTensor, Masked};

pub(super) const CLASSES: &[Class] = &[Class::new("Conv2DTranspose", TransposePlan::read)];

struct TransposePlan {
    filters: usize,
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
    /// Cells beyond those that the output has in any case; `None` if Keras chooses.
    output_padding: [Option<usize>; 2],
}

impl Geometry {
    fn read(settings: &Settings<'_>) -> Result<Self, String> {
        let cells = |v: &Value| size_below(v, 0, 1 << 20);
        let output_padding = match settings.get("output_padding") {
            None => Some([None; 2]),
            Some(Value::Array(each)) => match &each[..] {
                [height, width] => cells(height)
                    .zip(cells(width))
                    .map(|(h, w)| [Some(h), Some(w)]),
                _ => None,
            },
            Some(both) => cells(both).map(|n| [Some(n); 2]),
        };
        let wrong = || settings.wrong("output_padding", "one or two integers from 0 to 2^20");
        Ok(Self {
            kernel: settings.image_sizes(false, "kernel_size", None)?,
            stride: settings.image_sizes(false, "strides", Some(1))?,
            dilation: settings.image_sizes(false, "dilation_rate", Some(1))?,
            padding: Padding::read(settings)?,
            output_padding: output_padding.ok_or_else(wrong)?,
        })
    }

    /// The cells that the transposed kernel covers of an axis of `n` cells, and the cells of the
    /// output, which may be fewer or more.
    ///
    /// # Errors
    /// If a convolution would not give `n` cells of that output, which TensorFlow refuses, too.
    fn cells(&self, i: usize, n: usize) -> Result<(usize, usize), String> {
        let stride = self.stride[i];
        let span = (self.kernel[i] - 1) * self.dilation[i] + 1;
        let between = n.saturating_sub(1) * stride;
        let output = match (self.padding, self.output_padding[i]) {
            (Padding::Same, None) => n * stride,
            (Padding::Same, Some(more)) => between + span % 2 + more,
            (_, None) => between + span.max(stride),
            (_, Some(more)) => between + span + more,
        };
        let back = match self.padding {
            Padding::Same => output.div_ceil(stride),
            _ => (output + 1).saturating_sub(span).div_ceil(stride),
        };
        match back == n {
            true => Ok((between + span, output)),
            false => Err(format!(
                "with its `output_padding` {n} cells would become {output}, which a stride of \
                 {stride} does not allow"
            )),
        }
    }
}

impl TransposePlan {
    fn read(settings: &Settings<'_>) -> Parsed {
        settings.require_channels_last()?;
        Ok(Box::new(Self {
            filters: settings.size("filters")?,
            use_bias: settings.flag("use_bias", true),
            activation: Activation::read(settings, "activation", "linear")?,
            geometry: Geometry::read(settings)?,
        }))
    }
}

impl LayerPlan for TransposePlan {
    fn outputs(
        &self,
        inputs: &[Shape],
        _: &Call,
        budget: &mut Budget,
    ) -> Result<Vec<Shape>, String> {
        let input = one(inputs)?;
        Image::Plane.check(input)?;
        let mut covered = with_last(input, self.filters);
        let mut output = covered.clone();
        for (axis, i) in Image::Plane.axes() {
            (covered[axis], output[axis]) = self.geometry.cells(i, input[axis])?;
        }
        budget.tensor(&covered)?;
        Ok(vec![self.activation.shape(&output)?])
    }

    fn weight_count(&self) -> WeightCount {
        WeightCount::trainable(1 + usize::from(self.use_bias))
    }

    fn build(&self, weights: &mut LayerWeights<'_>) -> Result<Box<dyn Layer>, String> {
        let [height, width] = self.geometry.kernel;
        let shape = [Some(height), Some(width), Some(self.filters), None];
        let DynTensor::R4(kernel) = weights.next("kernel", &shape)? else {
            return Err("its kernel does not have 4 axes".into());
        };
        Ok(Box::new(Transpose {
            kernel: kernel.permute([3, 2, 0, 1]),
            bias: weights.vector_if(self.use_bias, "bias", Some(self.filters))?,
            geometry: self.geometry,
            activation: self.activation,
        }))
    }
}

/// `Conv2DTranspose`.
struct Transpose {
    /// `[in, out, height, width]`.
    kernel: Tensor<4>,
    bias: Option<Tensor<1>>,
    geometry: Geometry,
    activation: Activation,
}

impl Layer for Transpose {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let t = Image::Plane.channels_second(&one(inputs)?.x)?;
        let [_, channels, height, width] = t.dims();
        let [takes, ..] = self.kernel.dims();
        if channels != takes {
            return Err(format!(
                "its kernel takes {takes} channels, and its input has {channels}"
            ));
        }
        let options = ConvTransposeOptions {
            stride: self.geometry.stride,
            padding: [0, 0],
            padding_out: [0, 0],
            dilation: self.geometry.dilation,
            groups: 1,
        };
        // All cells that the kernel covers. Of these Keras keeps a part, or adds cells that only
        // the bias reaches.
        let mut y = module::conv_transpose2d(t, self.kernel.clone(), None, options);
        for (i, n) in [height, width].into_iter().enumerate() {
            let (covered, output) = self.geometry.cells(i, n)?;
            if covered > output {
                y = y.narrow(2 + i, (covered - output) / 2, output);
            } else if covered < output {
                let mut pairs = [(0, 0); 4];
                pairs[2 + i] = (0, output - covered);
                y = y.pad(pairs, PadMode::Constant(0.0));
            }
        }
        if let Some(bias) = &self.bias {
            let size = bias.dims()[0];
            y = y + bias.clone().reshape([1, size, 1, 1]);
        }
        let y = self.activation.apply(Image::Plane.channels_last(y))?;
        Ok(vec![Masked::unmasked(y)])
    }
}
