//! Layers that move values and compute none.

use ::burn::tensor::ops::PadMode;
use ::burn::tensor::{Int, Tensor, TensorData};
use serde_json::Value as Json;

use super::{Config, Extra, Layer, one};
use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::{Flow, Value};

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Moves>, String> {
    Ok(match class {
        "Flatten" => {
            config.channels_last()?;
            Box::new(Flatten)
        }
        "Reshape" => Box::new(Reshape::build(config)?),
        "Permute" => Box::new(Permute::build(config)?),
        "RepeatVector" => Box::new(RepeatVector(config.size("n")?)),
        _ => Box::new(Cells::build(class, config)?),
    })
}

/// A layer whose weights are none: its configuration tells all.
pub(super) trait Moves: Layer {
    /// The shape that it makes of one.
    ///
    /// # Errors
    /// If it cannot: in words, without the layer's name.
    fn planned(&self, input: &[usize]) -> Result<Shape, String>;
}

struct Flatten;

impl Moves for Flatten {
    fn planned(&self, input: &[usize]) -> Result<Shape, String> {
        let rest = input.iter().skip(1).product();
        Ok(vec![input.first().copied().unwrap_or(1), rest])
    }
}

impl Layer for Flatten {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = one(inputs)?.x.clone();
        let shape = self.planned(&x.shape())?;
        Ok(vec![Flow::of(x.reshape(&shape)?)])
    }
}

/// To a shape without the batch; one size may be -1, which is what is left.
struct Reshape(Vec<i64>);

impl Reshape {
    fn build(config: &Config<'_>) -> Result<Self, String> {
        let sizes = config.get("target_shape").and_then(Json::as_array);
        let sizes = sizes.map(|all| all.iter().map(Json::as_i64).collect());
        let sizes: Option<Option<Vec<i64>>> = sizes;
        let sizes = sizes.flatten().ok_or("its `target_shape` is no shape")?;
        let free = sizes.iter().filter(|&&s| s == -1).count();
        if free > 1 || sizes.iter().any(|&s| s < -1) {
            return Err("its `target_shape` is no shape".into());
        }
        Ok(Self(sizes))
    }
}

impl Moves for Reshape {
    fn planned(&self, input: &[usize]) -> Result<Shape, String> {
        let whole: usize = input.iter().skip(1).product();
        let mut known = self.0.iter().filter(|&&s| s >= 0);
        let known = known.try_fold(1_usize, |n, &s| n.checked_mul(s as usize));
        let known = known.ok_or("its `target_shape` is too large")?;
        let size = |&s: &i64| match s {
            -1 => whole.checked_div(known).unwrap_or(0),
            s => s as usize,
        };
        let sizes: Vec<usize> = self.0.iter().map(size).collect();
        let made = sizes.iter().try_fold(1_usize, |n, &s| n.checked_mul(s));
        if made != Some(whole) {
            return Err(format!("{input:?} cannot be reshaped to {:?}", self.0));
        }
        Ok([&input[..1], &sizes[..]].concat())
    }
}

impl Layer for Reshape {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = one(inputs)?.x.clone();
        let shape = self.planned(&x.shape())?;
        Ok(vec![Flow::of(x.reshape(&shape)?)])
    }
}

/// The axes after the batch in another order, from 1.
struct Permute(Vec<usize>);

impl Permute {
    fn build(config: &Config<'_>) -> Result<Self, String> {
        let axes = config.get("dims").and_then(Json::as_array);
        let axes: Option<Vec<usize>> =
            axes.and_then(|all| all.iter().map(|a| Some(a.as_u64()? as usize)).collect());
        axes.map(Self)
            .ok_or_else(|| "its `dims` are no axes".into())
    }
}

impl Moves for Permute {
    fn planned(&self, input: &[usize]) -> Result<Shape, String> {
        let axes = [&[0], &self.0[..]].concat();
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..input.len()) {
            return Err(format!("{axes:?} is no order of {} axes", input.len()));
        }
        Ok(axes.into_iter().map(|axis| input[axis]).collect())
    }
}

impl Layer for Permute {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let axes = [&[0], &self.0[..]].concat();
        Ok(vec![Flow::of(one(inputs)?.x.clone().permute(&axes)?)])
    }
}

struct RepeatVector(usize);

impl Moves for RepeatVector {
    fn planned(&self, input: &[usize]) -> Result<Shape, String> {
        match input {
            &[batch, features] => Ok(vec![batch, self.0, features]),
            _ => Err(format!("its input has the shape {input:?}")),
        }
    }
}

impl Layer for RepeatVector {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        match &one(inputs)?.x {
            Value::R2(t) => {
                let repeated = t.clone().unsqueeze_dim::<3>(1).repeat_dim(1, self.0);
                Ok(vec![Flow::of(Value::R3(repeated))])
            }
            other => Err(format!("its input has the shape {:?}", other.shape())),
        }
    }
}

/// Cells before and after each axis: from a number, or for each axis a number or a pair; for
/// sequences from a number or a pair.
fn edges(
    config: &Config<'_>,
    is_sequence: bool,
    key: &str,
    default: usize,
) -> Result<[(usize, usize); 2], String> {
    let size = |v: &Json| v.as_u64().filter(|&v| v < 1 << 20).map(|v| v as usize);
    let pair = |v: &Json| match v {
        Json::Array(ends) => match &ends[..] {
            [before, after] => Some((size(before)?, size(after)?)),
            _ => None,
        },
        one => size(one).map(|s| (s, s)),
    };
    let edges = match config.get(key) {
        None if is_sequence => Some([(0, 0), (default, default)]),
        None => Some([(default, default); 2]),
        Some(steps) if is_sequence => pair(steps).map(|p| [(0, 0), p]),
        Some(Json::Array(axes)) => match &axes[..] {
            [height, width] => pair(height).zip(pair(width)).map(|(h, w)| [h, w]),
            _ => None,
        },
        Some(one) => pair(one).map(|p| [p, p]),
    };
    edges.ok_or_else(|| format!("its `{key}` is no number of cells"))
}

/// `ZeroPadding`, `Cropping` and `UpSampling`, `1D` and `2D`.
struct Cells {
    is_sequence: bool,
    change: Change,
}

/// What happens to the height and the width of an image; a sequence has the height 1.
enum Change {
    Pad([(usize, usize); 2]),
    Crop([(usize, usize); 2]),
    Repeat([usize; 2]),
    /// What lies between cells is interpolated.
    Interpolate([usize; 2]),
}

impl Cells {
    fn build(class: &str, config: &Config<'_>) -> Result<Self, String> {
        config.channels_last()?;
        let is_sequence = class.ends_with("1D");
        let change = match class {
            "ZeroPadding1D" | "ZeroPadding2D" => {
                Change::Pad(edges(config, is_sequence, "padding", 1)?)
            }
            "Cropping1D" => Change::Crop(edges(config, true, "cropping", 1)?),
            "Cropping2D" => Change::Crop(edges(config, false, "cropping", 0)?),
            "UpSampling1D" | "UpSampling2D" => {
                let times = config.image_sizes(is_sequence, "size", Some(2))?;
                match config.text("interpolation", "nearest").as_str() {
                    "nearest" => Change::Repeat(times),
                    "bilinear" => Change::Interpolate(times),
                    other => {
                        let how = other.escape_debug();
                        return Err(format!("its `interpolation` of `{how}` is not supported"));
                    }
                }
            }
            other => {
                return Err(format!(
                    "the class `{}` is not supported",
                    other.escape_debug()
                ));
            }
        };
        Ok(Self {
            is_sequence,
            change,
        })
    }
}

impl Moves for Cells {
    fn planned(&self, input: &[usize]) -> Result<Shape, String> {
        let rank = if self.is_sequence { 3 } else { 4 };
        if input.len() != rank {
            return Err(format!("its input has the shape {input:?}"));
        }
        let mut shape = input.to_vec();
        for (axis, i) in (1..).zip(4 - rank..2) {
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

impl Layer for Cells {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = &one(inputs)?.x;
        let planned = self.planned(&x.shape())?;
        let mut t = match x {
            Value::R4(t) => t.clone(),
            Value::R3(t) => t.clone().unsqueeze_dim::<4>(1),
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
                    // A new axis behind the cells, as long as each is repeated.
                    let spread = t.unsqueeze_dim::<5>(2 + i).repeat_dim(2 + i, times);
                    t = spread.reshape(shape);
                }
                t
            }
            Change::Interpolate(times) => {
                for (i, &times) in times.iter().enumerate() {
                    t = between(t, 1 + i, times);
                }
                t
            }
        };
        Ok(vec![Flow::of(Value::R4(t).reshape(&planned)?)])
    }
}

/// Linear interpolation along an axis, the centres of cells being half a cell from their edges.
fn between(t: Tensor<4>, axis: usize, times: usize) -> Tensor<4> {
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
        let places = Tensor::<1, Int>::from_data(TensorData::new(all, [count]), &device);
        t.clone().select(axis, places)
    };
    let mut shape = [1; 4];
    shape[axis] = count;
    let share = Tensor::<1>::from_data(TensorData::new(shares, [count]), &device).reshape(shape);
    cells(low) * (share.clone().neg() + 1.0) + cells(high) * share
}
