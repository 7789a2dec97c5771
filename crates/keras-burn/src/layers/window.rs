//! Windows that move over the height and the width of an image, as convolutions and pooling have
//! them. A sequence is an image of height 1.
//!
//! Keras keeps channels last, and Burn wants them second: the axes are permuted before and after,
//! which moves no data; the convolution itself reads through the strides or copies once.

use burn::tensor::Tensor;

use crate::config::settings::Settings;
use crate::tensor::DynTensor;
use crate::tensor::shape::wrong_input;

/// The axis of the height, where settings have one for each of height and width.
pub(super) const HEIGHT: usize = 0;

/// The cells that are added around an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    Valid,
    /// As many that the output has the size of the input, divided by the stride.
    Same,
    /// Before the first step of a sequence only.
    Causal,
}

impl Padding {
    pub(super) fn read(settings: &Settings<'_>) -> Result<Self, String> {
        match settings.text("padding", "valid").to_lowercase().as_str() {
            "valid" => Ok(Self::Valid),
            "same" => Ok(Self::Same),
            "causal" => Ok(Self::Causal),
            _ => Err(settings.unsupported("padding")),
        }
    }

    /// The cells before and after an axis of `n` cells (the height or the width), for a window that
    /// spans `span` cells.
    ///
    /// # Errors
    /// If the axis has no cells, or the window does not fit.
    pub(super) fn around(
        self,
        axis: usize,
        n: usize,
        span: usize,
        stride: usize,
    ) -> Result<(usize, usize), String> {
        let (before, after) = match self {
            _ if n == 0 => (0, 0),
            Self::Valid => (0, 0),
            Self::Causal if axis == HEIGHT => (0, 0),
            Self::Causal => (span - 1, 0),
            Self::Same => {
                let out = n.div_ceil(stride);
                let total = ((out - 1) * stride + span).saturating_sub(n);
                (total / 2, total - total / 2)
            }
        };
        match n == 0 || n + before + after < span {
            true => Err(format!(
                "its window spans {span} cells, and its input has {n}"
            )),
            false => Ok((before, after)),
        }
    }
}

/// An image, or a sequence, which is one of height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Image {
    /// `[batch, steps, channels]`.
    Sequence,
    /// `[batch, height, width, channels]`.
    Plane,
}

impl Image {
    pub(super) fn is_sequence(self) -> bool {
        self == Self::Sequence
    }

    pub(super) fn rank(self) -> usize {
        match self {
            Self::Sequence => 3,
            Self::Plane => 4,
        }
    }

    /// The axes of a tensor between the batch and the channels, each with its index in settings for
    /// the height and the width.
    pub(super) fn axes(self) -> impl Iterator<Item = (usize, usize)> {
        (1..).zip(4 - self.rank()..2)
    }

    /// # Errors
    /// If an input of this shape has another rank.
    pub(super) fn check(self, shape: &[usize]) -> Result<(), String> {
        match shape.len() == self.rank() {
            true => Ok(()),
            false => Err(wrong_input(
                shape,
                match self {
                    Self::Sequence => "[batch, steps, channels]",
                    Self::Plane => "[batch, height, width, channels]",
                },
            )),
        }
    }

    /// `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// As [`Image::check`].
    pub(super) fn channels_second(self, x: &DynTensor) -> Result<Tensor<4>, String> {
        self.check(&x.shape())?;
        match x {
            DynTensor::R4(t) => Ok(t.clone().permute([0, 3, 1, 2])),
            DynTensor::R3(t) => Ok(t.clone().unsqueeze_dim::<4>(1).permute([0, 3, 1, 2])),
            other => Err(format!("its input has the shape {:?}", other.shape())),
        }
    }

    /// The reverse of [`Image::channels_second`].
    pub(super) fn channels_last(self, t: Tensor<4>) -> DynTensor {
        let t = t.permute([0, 2, 3, 1]);
        match self {
            Self::Sequence => DynTensor::R3(t.squeeze_dim::<3>(1)),
            Self::Plane => DynTensor::R4(t),
        }
    }
}
