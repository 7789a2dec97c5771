//! Layers that move values and compute none.

use ::burn::tensor::Tensor;
use ::burn::tensor::ops::PadMode;
use serde_json::Value as Json;

use super::{Config, Extra, Layer, one};
use crate::workloads::keras::value::{Flow, Value};

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, String> {
    Ok(match class {
        "Flatten" => {
            config.channels_last()?;
            Box::new(Flatten)
        }
        "Reshape" => Box::new(Reshape::build(config)?),
        "Permute" => Box::new(Permute::build(config)?),
        "RepeatVector" => Box::new(RepeatVector(config.size("n")?)),
        "ZeroPadding2D" => {
            config.channels_last()?;
            Box::new(ZeroPadding(edges(config, "padding", 1)?))
        }
        "Cropping2D" => {
            config.channels_last()?;
            Box::new(Cropping(edges(config, "cropping", 0)?))
        }
        "UpSampling2D" => Box::new(UpSampling::build(config)?),
        other => {
            return Err(format!(
                "the class `{}` is not supported",
                other.escape_debug()
            ));
        }
    })
}

struct Flatten;

impl Layer for Flatten {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = one(inputs)?.x.clone();
        let shape = x.shape();
        let rest = shape[1..].iter().product();
        Ok(vec![Flow::of(x.reshape(&[shape[0], rest])?)])
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

impl Layer for Reshape {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let x = one(inputs)?.x.clone();
        let shape = x.shape();
        let whole: usize = shape[1..].iter().product();
        let mut known = self.0.iter().filter(|&&s| s >= 0);
        let known = known.try_fold(1_usize, |n, &s| n.checked_mul(s as usize));
        let known = known.ok_or("its `target_shape` is too large")?;
        let size = |&s: &i64| match s {
            -1 => whole.checked_div(known).unwrap_or(0),
            s => s as usize,
        };
        let sizes: Vec<usize> = self.0.iter().map(size).collect();
        Ok(vec![Flow::of(
            x.reshape(&[&shape[..1], &sizes[..]].concat())?,
        )])
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

impl Layer for Permute {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let axes = [&[0], &self.0[..]].concat();
        Ok(vec![Flow::of(one(inputs)?.x.clone().permute(&axes)?)])
    }
}

struct RepeatVector(usize);

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

/// Cells above, below, left and right: from a number, two, or two pairs.
fn edges(config: &Config<'_>, key: &str, default: usize) -> Result<[(usize, usize); 2], String> {
    let size = |v: &Json| v.as_u64().filter(|&v| v < 1 << 20).map(|v| v as usize);
    let pair = |v: &Json| match v {
        Json::Array(ends) => match &ends[..] {
            [before, after] => Some((size(before)?, size(after)?)),
            _ => None,
        },
        one => size(one).map(|s| (s, s)),
    };
    let edges = match config.get(key) {
        None => Some([(default, default); 2]),
        Some(Json::Array(axes)) => match &axes[..] {
            [height, width] => pair(height).zip(pair(width)).map(|(h, w)| [h, w]),
            _ => None,
        },
        Some(one) => pair(one).map(|p| [p, p]),
    };
    edges.ok_or_else(|| format!("its `{key}` is no number of cells"))
}

fn image(flow: &Flow) -> Result<Tensor<4>, String> {
    match &flow.x {
        Value::R4(t) => Ok(t.clone()),
        other => Err(format!("its input has the shape {:?}", other.shape())),
    }
}

struct ZeroPadding([(usize, usize); 2]);

impl Layer for ZeroPadding {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let t = image(one(inputs)?)?;
        let [height, width] = self.0;
        let padded = t.pad([(0, 0), height, width, (0, 0)], PadMode::Constant(0.0));
        Ok(vec![Flow::of(Value::R4(padded))])
    }
}

struct Cropping([(usize, usize); 2]);

impl Layer for Cropping {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let mut t = image(one(inputs)?)?;
        for (i, (before, after)) in self.0.into_iter().enumerate() {
            let n = t.dims()[1 + i];
            let left = n.checked_sub(before + after).filter(|&left| left > 0);
            let left = left.ok_or_else(|| format!("it crops {} of {n} cells", before + after))?;
            t = t.narrow(1 + i, before, left);
        }
        Ok(vec![Flow::of(Value::R4(t))])
    }
}

/// Each cell repeated, or what lies between cells interpolated.
struct UpSampling {
    times: [usize; 2],
    is_linear: bool,
}

impl UpSampling {
    fn build(config: &Config<'_>) -> Result<Self, String> {
        config.channels_last()?;
        let how = config.text("interpolation", "nearest");
        if !matches!(how.as_str(), "nearest" | "bilinear") {
            let how = how.escape_debug();
            return Err(format!("its `interpolation` of `{how}` is not supported"));
        }
        Ok(Self {
            times: config.sizes("size", Some(2))?,
            is_linear: how == "bilinear",
        })
    }
}

impl Layer for UpSampling {
    fn call(&self, inputs: &[Flow], _: &Extra) -> Result<Vec<Flow>, String> {
        let mut t = image(one(inputs)?)?;
        for (i, times) in self.times.into_iter().enumerate() {
            t = if self.is_linear {
                between(t, 1 + i, times)
            } else {
                let [batch, height, width, channels] = t.dims();
                // A new axis behind the cells, as long as each is repeated.
                let spread = t.unsqueeze_dim::<5>(2 + i).repeat_dim(2 + i, times);
                let mut shape = [batch, height, width, channels];
                shape[1 + i] *= times;
                spread.reshape(shape)
            };
        }
        Ok(vec![Flow::of(Value::R4(t))])
    }
}

/// Linear interpolation along an axis, the centres of cells being half a cell from their edges.
fn between(t: Tensor<4>, axis: usize, times: usize) -> Tensor<4> {
    let n = t.dims()[axis];
    let at = |i: usize| (i as f32 + 0.5) / times as f32 - 0.5;
    let mut parts = Vec::with_capacity(n * times);
    for i in 0..n * times {
        let position = at(i).clamp(0.0, (n - 1) as f32);
        let low = position.floor() as usize;
        let high = (low + 1).min(n - 1);
        let share = position - low as f32;
        let (a, b) = (
            t.clone().narrow(axis, low, 1),
            t.clone().narrow(axis, high, 1),
        );
        parts.push(a * (1.0 - share) + b * share);
    }
    Tensor::cat(parts, axis)
}
