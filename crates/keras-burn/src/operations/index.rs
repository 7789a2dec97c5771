//! Basic indexing, as Python writes it: `x[:, 0]`, `x[..., 1:3]`, `x[:, None]`.

use serde_json::Value;

use crate::config::call::{Arg, Call};
use crate::tensor::shape::{Shape, axis_index};
use crate::tensor::{DynTensor, map};

/// The items of an index expression.
#[derive(Debug)]
pub(crate) struct Index(Vec<Item>);

#[derive(Debug)]
enum Item {
    /// One position along an axis, which is removed.
    At(i64),
    /// A range of an axis; positions are counted from the end if negative.
    Slice { start: i64, stop: Option<i64> },
    /// A new axis of size 1.
    NewAxis,
    /// All axes that no other item is for.
    Ellipsis,
}

impl Item {
    fn read(value: &Value) -> Option<Self> {
        let class = value.get("class_name").and_then(Value::as_str);
        if class == Some("__ellipsis__") {
            return Some(Self::Ellipsis);
        }
        if class != Some("__slice__") {
            return match value {
                Value::Null => Some(Self::NewAxis),
                other => other.as_i64().map(Self::At),
            };
        }
        let position = |key: &str| match value.get("config")?.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(position) => position.as_i64().map(Some),
        };
        let (start, stop, step) = (position("start")?, position("stop")?, position("step")?);
        step.is_none_or(|step| step == 1).then_some(Self::Slice {
            start: start.unwrap_or(0),
            stop,
        })
    }
}

impl Index {
    /// Reads the second argument of a call.
    ///
    /// # Errors
    /// If it has more than positions and ranges that are written out.
    pub(super) fn read(call: &Call) -> Result<Self, String> {
        let item = |arg: &Arg| match arg {
            Arg::Value(value) => Item::read(value),
            _ => None,
        };
        let items: Option<Vec<Item>> = match call.args.get(1) {
            Some(Arg::List(items)) => items.iter().map(item).collect(),
            Some(Arg::Value(Value::Array(items))) => items.iter().map(Item::read).collect(),
            Some(one) => item(one).map(|item| vec![item]),
            None => None,
        };
        items.map(Self).ok_or_else(|| {
            "an index that is not made of integers, slices, `None` and `...` is not supported, nor \
             is a slice with a step"
                .into()
        })
    }

    /// The range of each axis that is taken, a start and a size, and the shape of the result.
    ///
    /// # Errors
    /// If the input lacks an axis or a position.
    pub(super) fn ranges(&self, input: &[usize]) -> Result<(Vec<(usize, usize)>, Shape), String> {
        let takes_axis = |item: &&Item| matches!(item, Item::At(_) | Item::Slice { .. });
        let taken = self.0.iter().filter(takes_axis).count();
        let rest = input.len().checked_sub(taken);
        let rest = rest.ok_or_else(|| {
            format!("its index has {taken} axes, and its input has the shape {input:?}")
        })?;
        let (mut ranges, mut shape) = (Vec::new(), Vec::new());
        let mut had_ellipsis = false;
        for item in &self.0 {
            let size = input.get(ranges.len()).copied().unwrap_or(0);
            match item {
                Item::At(position) => {
                    let start = axis_index(size, *position);
                    let start = start.map_err(|_| {
                        format!("the position {position} is out of range of an axis of size {size}")
                    })?;
                    ranges.push((start, 1));
                }
                Item::Slice { start, stop } => {
                    let clamped = |at: i64| match usize::try_from(at) {
                        Ok(at) => at.min(size),
                        Err(_) => size.saturating_sub(at.unsigned_abs() as usize),
                    };
                    let start = clamped(*start);
                    let stop = stop.map_or(size, clamped);
                    ranges.push((start, stop.saturating_sub(start)));
                    shape.push(stop.saturating_sub(start));
                }
                Item::NewAxis => shape.push(1),
                Item::Ellipsis if had_ellipsis => {
                    return Err("its index has more than one `...`".into());
                }
                Item::Ellipsis => {
                    had_ellipsis = true;
                    let whole = input.iter().skip(ranges.len()).take(rest);
                    let whole: Vec<usize> = whole.copied().collect();
                    shape.extend(&whole);
                    ranges.extend(whole.into_iter().map(|size| (0, size)));
                }
            }
        }
        let others = &input[ranges.len()..];
        shape.extend(others);
        ranges.extend(others.iter().map(|&size| (0, size)));
        Ok((ranges, shape))
    }

    /// The ranges, before axes are removed and added.
    ///
    /// # Errors
    /// As [`Index::ranges`].
    pub(super) fn apply(&self, mut x: DynTensor) -> Result<DynTensor, String> {
        let (ranges, _) = self.ranges(&x.shape())?;
        for (axis, (start, size)) in ranges.into_iter().enumerate() {
            x = map!(x, t => t.narrow(axis, start, size));
        }
        Ok(x)
    }
}
