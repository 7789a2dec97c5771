//! Layers that change the height and the width of an image, or the length of a sequence.

use burn::tensor::ops::PadMode;
use burn::tensor::{Int, Tensor, TensorData};
use serde_json::Value;

use super::class::{Class, Kwargs, Layer, Parsed, Weightless, one};
use super::window::Image;
use crate::config::call::Call;
use crate::config::settings::{Settings, size_below};
use crate::tensor::budget::Budget;
use crate::tensor::dtype::ResultType;
use crate::tensor::shape::Shape;
use crate::tensor::{DynTensor, Masked};

pub(super) const CLASSES: &[Class] = &[
    Class::new("Cropping1D", |s| {
        let cut = edges(s, Image::Sequence, "cropping", 1)?;
        Resize::read(s, Image::Sequence, Change::Crop(cut))
    })
    .gives(ResultType::Same),
    Class::new("Cropping2D", |s| {
        let cut = edges(s, Image::Plane, "cropping", 0)?;
        Resize::read(s, Image::Plane, Change::Crop(cut))
    })
    .gives(ResultType::Same),
    Class::new("UpSampling1D", |s| up_sampling(s, Image::Sequence)).gives(ResultType::Same),
    Class::new("UpSampling2D", |s| up_sampling(s, Image::Plane)).gives(ResultType::Same),
    Class::new("ZeroPadding1D", |s| {
        let added = edges(s, Image::Sequence, "padding", 1)?;
        Resize::read(s, Image::Sequence, Change::Pad(added))
    })
    .gives(ResultType::Same),
    Class::new("ZeroPadding2D", |s| {
        let added = edges(s, Image::Plane, "padding", 1)?;
        Resize::read(s, Image::Plane, Change::Pad(added))
    })
    .gives(ResultType::Same),
];

/// Cells before and after the height and the width.
type Edges = [(usize, usize); 2];

/// Reads cells before and after each axis: a number for all, or a number or a pair for each axis; of
/// a sequence a number or a pair.
fn edges(
    settings: &Settings<'_>,
    image: Image,
    key: &str,
    default: usize,
) -> Result<Edges, String> {
    let size = |v: &Value| size_below(v, 0, 1 << 20);
    let pair = |v: &Value| match v {
        Value::Array(ends) => match &ends[..] {
            [before, after] => Some((size(before)?, size(after)?)),
            _ => None,
        },
        one => size(one).map(|s| (s, s)),
    };
    let edges = match (settings.get(key), image) {
        (None, Image::Sequence) => Some([(0, 0), (default, default)]),
        (None, Image::Plane) => Some([(default, default); 2]),
        (Some(steps), Image::Sequence) => pair(steps).map(|p| [(0, 0), p]),
        (Some(Value::Array(axes)), Image::Plane) => match &axes[..] {
            [height, width] => pair(height).zip(pair(width)).map(|(h, w)| [h, w]),
            _ => None,
        },
        (Some(one), Image::Plane) => pair(one).map(|p| [p, p]),
    };
    edges.ok_or_else(|| settings.wrong(key, "numbers of cells below 2^20"))
}

fn up_sampling(settings: &Settings<'_>, image: Image) -> Parsed {
    let times = settings.image_sizes(image.is_sequence(), "size", Some(2))?;
    let change = match settings.text("interpolation", "nearest") {
        "nearest" => Change::Repeat(times),
        "bilinear" => Change::Interpolate(times),
        _ => return Err(settings.unsupported("interpolation")),
    };
    Resize::read(settings, image, change)
}

/// `ZeroPadding`, `Cropping` and `UpSampling`.
#[derive(Clone)]
struct Resize {
    image: Image,
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    Pad(Edges),
    Crop(Edges),
    /// Each cell as often.
    Repeat([usize; 2]),
    /// As many cells for each, interpolated linearly.
    Interpolate([usize; 2]),
}

impl Resize {
    fn read(settings: &Settings<'_>, image: Image, change: Change) -> Parsed {
        settings.require_channels_last()?;
        Ok(Box::new(Self { image, change }))
    }

    fn shape(&self, input: &[usize]) -> Result<Shape, String> {
        self.image.check(input)?;
        let mut shape = input.to_vec();
        for (axis, i) in self.image.axes() {
            let n = input[axis];
            shape[axis] = match &self.change {
                Change::Pad(edges) => n + edges[i].0 + edges[i].1,
                Change::Crop(edges) => {
                    let cut = edges[i].0 + edges[i].1;
                    let left = n.checked_sub(cut).filter(|&left| left > 0);
                    left.ok_or_else(|| format!("it crops {cut} of {n} cells"))?
                }
                Change::Repeat(times) | Change::Interpolate(times) => n.saturating_mul(times[i]),
            };
        }
        Ok(shape)
    }
}

impl Weightless for Resize {
    fn outputs(&self, inputs: &[Shape], _: &Call, _: &mut Budget) -> Result<Vec<Shape>, String> {
        Ok(vec![self.shape(one(inputs)?)?])
    }
}

impl Layer for Resize {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        let x = &one(inputs)?.x;
        let shape = self.shape(&x.shape())?;
        let mut t = match x {
            DynTensor::R4(t) => t.clone(),
            DynTensor::R3(t) => t.clone().unsqueeze_dim::<4>(1),
            other => return Err(format!("its input has the shape {:?}", other.shape())),
        };
        t = match &self.change {
            &Change::Pad([height, width]) => {
                let padded = [(0, 0), height, width, (0, 0)];
                t.pad(padded, PadMode::Constant(0.0))
            }
            Change::Crop(edges) => {
                for (i, (before, after)) in edges.iter().enumerate() {
                    let left = t.dims()[1 + i] - before - after;
                    t = t.narrow(1 + i, *before, left);
                }
                t
            }
            Change::Repeat(times) => {
                for (i, &times) in times.iter().enumerate() {
                    let mut shape = t.dims();
                    shape[1 + i] *= times;
                    // A new axis after the cells, along which each is repeated.
                    let repeated = t.unsqueeze_dim::<5>(2 + i).repeat_dim(2 + i, times);
                    t = repeated.reshape(shape);
                }
                t
            }
            Change::Interpolate(times) => {
                for (i, &times) in times.iter().enumerate() {
                    t = interpolated(t, 1 + i, times);
                }
                t
            }
        };
        Ok(vec![Masked::unmasked(DynTensor::R4(t).reshape(&shape)?)])
    }
}

/// Linear interpolation along an axis. The value of a cell is that at its centre.
fn interpolated(t: Tensor<4>, axis: usize, times: usize) -> Tensor<4> {
    let n = t.dims()[axis];
    let count = n * times;
    let (mut low, mut high, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..count {
        let position = (i as f32 + 0.5) / times as f32 - 0.5;
        let position = position.clamp(0.0, (n - 1) as f32);
        low.push(position.floor() as i64);
        high.push((position.floor() as i64 + 1).min(n as i64 - 1));
        shares.push(position.fract());
    }
    let device = t.device();
    let cells = |all: Vec<i64>| {
        let indices = Tensor::<1, Int>::from_data(TensorData::new(all, [count]), &device);
        t.clone().select(axis, indices)
    };
    let mut shape = [1; 4];
    shape[axis] = count;
    let share = Tensor::<1>::from_data(TensorData::new(shares, [count]), &device).reshape(shape);
    cells(low) * (share.clone().neg() + 1.0) + cells(high) * share
}
