//! Parts of a tensor as Python writes them: `x[:, 0]`, `x[..., 1:3]`, `x[:, None]`.

use serde_json::Value as Json;

use crate::workloads::keras::call::{Arg, Call};
use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::{Value, axis_of, each};

/// What stands between the brackets.
#[derive(Debug)]
pub(in crate::workloads::keras) struct Items(Vec<Item>);

#[derive(Debug)]
enum Item {
    /// One place of an axis, which goes.
    At(i64),
    /// A part of an axis; places are counted from the end if negative.
    Slice { start: i64, stop: Option<i64> },
    /// An axis of size 1 that was not there.
    New,
    /// All axes that no other item is for.
    Rest,
}

impl Item {
    fn of(value: &Json) -> Option<Self> {
        let class = value.get("class_name").and_then(Json::as_str);
        if class == Some("__ellipsis__") {
            return Some(Self::Rest);
        }
        if class != Some("__slice__") {
            return match value {
                Json::Null => Some(Self::New),
                other => other.as_i64().map(Self::At),
            };
        }
        let place = |key: &str| match value.get("config")?.get(key) {
            None | Some(Json::Null) => Some(None),
            Some(place) => place.as_i64().map(Some),
        };
        let (start, stop, step) = (place("start")?, place("stop")?, place("step")?);
        step.is_none_or(|step| step == 1).then_some(Self::Slice {
            start: start.unwrap_or(0),
            stop,
        })
    }
}

impl Items {
    /// Reads the second argument of a call.
    ///
    /// # Errors
    /// If there is more in it than places and slices of adjacent cells.
    pub(super) fn of(call: &Call) -> Result<Self, String> {
        let item = |arg: &Arg| match arg {
            Arg::Value(value) => Item::of(value),
            _ => None,
        };
        let items = match call.args.get(1) {
            Some(Arg::List(items)) => items.iter().map(item).collect(),
            Some(Arg::Value(Json::Array(items))) => items.iter().map(Item::of).collect(),
            Some(one) => item(one).map(|item| vec![item]),
            None => None,
        };
        let items: Option<Vec<Item>> = items;
        items.map(Self).ok_or_else(|| {
            "what it takes of its input is no place or slice; slices with a step and places that \
             are computed are not supported"
                .into()
        })
    }

    /// What is taken of each axis, a start and a size, and the shape of the result.
    ///
    /// # Errors
    /// If the input has no such axes or places.
    pub(super) fn parts(&self, input: &[usize]) -> Result<(Vec<(usize, usize)>, Shape), String> {
        let takes_axis = |item: &&Item| matches!(item, Item::At(_) | Item::Slice { .. });
        let taken = self.0.iter().filter(takes_axis).count();
        let rest = input.len().checked_sub(taken);
        let rest = rest.ok_or_else(|| format!("{input:?} has fewer axes than it takes"))?;
        let (mut parts, mut shape) = (Vec::new(), Vec::new());
        let mut is_open = true;
        for item in &self.0 {
            let size = input.get(parts.len()).copied().unwrap_or(0);
            match item {
                Item::At(place) => parts.push((
                    axis_of(size, *place)
                        .map_err(|_| format!("an axis of {size} cells has no place {place}"))?,
                    1,
                )),
                Item::Slice { start, stop } => {
                    let place = |at: i64| match usize::try_from(at) {
                        Ok(at) => at.min(size),
                        Err(_) => size.saturating_sub(at.unsigned_abs() as usize),
                    };
                    let start = place(*start);
                    let stop = stop.map_or(size, place);
                    parts.push((start, stop.saturating_sub(start)));
                    shape.push(stop.saturating_sub(start));
                }
                Item::New => shape.push(1),
                Item::Rest if is_open => {
                    is_open = false;
                    let whole = input.iter().skip(parts.len()).take(rest);
                    let whole: Vec<usize> = whole.copied().collect();
                    shape.extend(&whole);
                    parts.extend(whole.into_iter().map(|size| (0, size)));
                }
                Item::Rest => return Err("it has more than one `...`".into()),
            }
        }
        let behind = &input[parts.len()..];
        shape.extend(behind);
        parts.extend(behind.iter().map(|&size| (0, size)));
        Ok((parts, shape))
    }

    /// # Errors
    /// As [`Items::parts`].
    pub(super) fn run(&self, mut x: Value) -> Result<Value, String> {
        let (parts, _) = self.parts(&x.shape())?;
        for (axis, (start, size)) in parts.into_iter().enumerate() {
            x = each!(x, t => t.narrow(axis, start, size));
        }
        Ok(x)
    }
}
