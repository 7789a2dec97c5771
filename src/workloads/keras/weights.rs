//! The weights of a file, layer by layer, each checked against what the configuration says.

use std::collections::HashMap;

use ::burn::tensor::{Device, Tensor};
use hdf5_pure::{DType, Datatype, Group};
use serde_json::{Map, Value as Json};

use super::config::ModelSpec;
use super::container::{Container, Format, names};
use super::value::Value;
use crate::base::error::Error;

/// Most values of one weight: 16 GiB of `f32`.
const MOST_VALUES: u64 = 1 << 32;

/// Most values of two bytes that are read at once, if a row has no more.
const MOST_AT_ONCE: u64 = 1 << 18;

/// Values that any chunk may have.
const SMALL_CHUNK: u64 = 1 << 18;

/// Most bytes that a weight in chunks becomes, and for each byte of its file.
const MOST_PACKED: u64 = 64 << 20;
const PACKED_TO: u64 = 64;

/// Where the next weights of a layer are, in the order in which Keras keeps them.
pub(super) struct Vars<'a> {
    container: &'a Container,
    /// For messages: the layer, with the models that it is in.
    pub(super) layer: String,
    device: &'a Device,
    /// Paths of its weights that were not taken yet, the next one last.
    left: Vec<String>,
    taken: usize,
}

impl Vars<'_> {
    /// How many there are in all.
    pub(super) fn count(&self) -> usize {
        self.taken + self.left.len()
    }

    /// An error about this layer.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Error {
        let layer = self.layer.escape_debug();
        self.container.wrong(format!("layer `{layer}`: {what}"))
    }

    /// A result about this layer, its error with the layer's name.
    pub(super) fn checked<T>(&self, result: Result<T, String>) -> Result<T, Error> {
        result.map_err(|what| self.wrong(what))
    }

    pub(super) fn device(&self) -> &Device {
        self.device
    }

    /// The rank of the next weight, as the file has it.
    pub(super) fn rank_of_next(&self) -> Option<usize> {
        let dataset = self.container.weights.dataset(self.left.last()?).ok()?;
        Some(dataset.shape().ok()?.len())
    }

    /// The next weight, a single number as a vector of one.
    ///
    /// # Errors
    /// As [`Vars::next`].
    pub(super) fn next_or_scalar(
        &mut self,
        name: &str,
        expected: &[Option<usize>],
    ) -> Result<Value, Error> {
        match self.rank_of_next() {
            Some(0) => self.read(name, &[], true),
            _ => self.next(name, expected),
        }
    }

    /// Reads the next weight. `expected` has `None` for what the configuration does not tell.
    ///
    /// # Errors
    /// If there is none, or it has another shape or a type that is no number.
    pub(super) fn next(&mut self, name: &str, expected: &[Option<usize>]) -> Result<Value, Error> {
        self.read(name, expected, false)
    }

    fn read(
        &mut self,
        name: &str,
        expected: &[Option<usize>],
        as_vector: bool,
    ) -> Result<Value, Error> {
        let shown = || {
            let dims = expected.iter();
            let dims: Vec<String> = dims
                .map(|d| d.map_or("any".into(), |d| d.to_string()))
                .collect();
            format!("[{}]", dims.join(", "))
        };
        let Some(path) = self.left.pop() else {
            return Err(self.wrong(format!(
                "the weight `{name}` of the shape {} is missing: the file has {} for this layer",
                shown(),
                self.taken
            )));
        };
        self.taken += 1;
        let dataset = self.container.weights.dataset(&path);
        let dataset = dataset.map_err(|e| {
            self.wrong(format!(
                "the weight `{path}` is missing, or a link, which is not followed: {e}"
            ))
        })?;
        let shape = dataset.shape();
        let shape = shape.map_err(|e| self.wrong(format!("the weight `{path}`: {e}")))?;
        let fits = shape.len() == expected.len()
            && shape
                .iter()
                .zip(expected)
                .all(|(&found, expected)| expected.is_none_or(|e| e as u64 == found));
        if !fits {
            return Err(self.wrong(format!(
                "the weight `{name}` has the shape {shape:?}, and the configuration says {}",
                shown()
            )));
        }
        let count = shape.iter().try_fold(1_u64, |n, &d| n.checked_mul(d));
        let count = count.filter(|&n| n <= MOST_VALUES);
        let count = count
            .ok_or_else(|| self.wrong(format!("the weight `{name}` is too large: {shape:?}")))?;
        let dtype = dataset.dtype();
        let dtype = dtype.map_err(|e| self.wrong(format!("the weight `{path}`: {e}")))?;
        let chunk = dataset.chunk_shape();
        let chunk = chunk.map_err(|e| self.wrong(format!("the weight `{path}`: {e}")))?;
        if let Some(chunk) = chunk {
            self.checked(refuse_swelling(
                name,
                count,
                &chunk,
                self.container.weights.file_size(),
            ))?;
        }
        let unreadable = |e: hdf5_pure::Error| self.wrong(format!("the weight `{path}`: {e}"));
        let values = match &dtype {
            DType::F32
            | DType::F64
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::U8
            | DType::U16
            | DType::U32
            | DType::U64 => dataset.read_f32().map_err(unreadable)?,
            DType::Other(other) if let Some(decode) = two_bytes(other) => {
                let mut values = Vec::with_capacity(count as usize);
                let mut decode_all = |raw: &[u8]| {
                    let all = raw.as_chunks::<2>().0.iter();
                    values.extend(all.map(|&b| decode(u16::from_le_bytes(b))));
                };
                // Some rows at a time, so that not all of it is there twice.
                match shape.first() {
                    Some(&rows) if rows > 0 && count > 0 => {
                        let at_once = (MOST_AT_ONCE / (count / rows)).clamp(1, rows);
                        for row in (0..rows).step_by(at_once as usize) {
                            let many = at_once.min(rows - row);
                            let raw = dataset.read_raw_rows(row, many).map_err(unreadable)?;
                            decode_all(&raw);
                        }
                    }
                    _ => decode_all(&dataset.read_raw().map_err(unreadable)?),
                }
                values
            }
            other => return Err(self.wrong(format!("the weight `{name}` has the type {other}"))),
        };
        if values.len() as u64 != count {
            return Err(self.wrong(format!(
                "the weight `{name}` has {} values of {count}",
                values.len()
            )));
        }
        let mut shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        if as_vector {
            shape.push(1);
        }
        Value::from_data(values, &shape, self.device)
            .map_err(|e| self.wrong(format!("`{name}`: {e}")))
    }

    pub(super) fn vector(&mut self, name: &str, size: Option<usize>) -> Result<Tensor<1>, Error> {
        match self.next(name, &[size])? {
            Value::R1(t) => Ok(t),
            _ => Err(self.wrong(format!("`{name}` is no vector"))),
        }
    }

    /// The next weight, if the layer has it.
    ///
    /// # Errors
    /// As [`Vars::next`].
    pub(super) fn vector_if(
        &mut self,
        has: bool,
        name: &str,
        size: Option<usize>,
    ) -> Result<Option<Tensor<1>>, Error> {
        has.then(|| self.vector(name, size)).transpose()
    }

    pub(super) fn matrix(
        &mut self,
        name: &str,
        shape: [Option<usize>; 2],
    ) -> Result<Tensor<2>, Error> {
        match self.next(name, &shape)? {
            Value::R2(t) => Ok(t),
            _ => Err(self.wrong(format!("`{name}` is no matrix"))),
        }
    }

    /// # Errors
    /// If the file has more for this layer than the configuration has use for.
    pub(super) fn finish(self) -> Result<(), Error> {
        if self.left.is_empty() {
            return Ok(());
        }
        Err(self.wrong(format!(
            "the file has {} weights for this layer, and the configuration says {}",
            self.count(),
            self.taken
        )))
    }
}

/// Refuses a weight that takes more memory to be read than a file of this size can need: the chunks
/// of a weight are read as a whole, and what is packed says itself how large it is.
fn refuse_swelling(name: &str, values: u64, chunk: &[u64], file: u64) -> Result<(), String> {
    let in_chunk = chunk.iter().try_fold(1_u64, |n, &d| n.checked_mul(d));
    let most = values.saturating_mul(2).max(SMALL_CHUNK);
    if in_chunk.is_none_or(|n| n > most) {
        return Err(format!(
            "the weight `{name}` of {values} values is stored in chunks of {chunk:?}, which are far \
             larger"
        ));
    }
    let most = MOST_PACKED.saturating_add(file.saturating_mul(PACKED_TO)) / 4;
    if values > most {
        return Err(format!(
            "the weight `{name}` would have {values} values, in a file of {file} bytes"
        ));
    }
    Ok(())
}

/// How values of two bytes are read, of a type that the reader has no name for.
fn two_bytes(datatype: &Datatype) -> Option<fn(u16) -> f32> {
    match datatype {
        Datatype::FloatingPoint { size: 2, .. } => Some(half),
        // HDF5 has no name for it either: Keras writes what NumPy calls `|V2`.
        Datatype::Opaque { size: 2, .. } => Some(bfloat),
        _ => None,
    }
}

/// bfloat16 to single: the upper half of its bits.
fn bfloat(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// IEEE 754 half precision to single.
pub(super) fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = ((bits >> 10) & 0x1f, f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction / 1024.0) * 2.0_f32.powi(i32::from(e) - 15),
    }
}

/// Finds the weights of each layer.
pub(super) struct Finder<'a> {
    container: &'a Container,
    device: &'a Device,
}

/// How the weights of a layer of a legacy file are split: those that are trained first, of all
/// layers of a nested model, then the others.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) trained: usize,
    pub(super) fixed: usize,
}

impl<'a> Finder<'a> {
    pub(super) fn new(container: &'a Container, device: &'a Device) -> Self {
        Self { container, device }
    }

    fn vars(&self, layer: String, mut paths: Vec<String>) -> Vars<'a> {
        paths.reverse();
        Vars {
            container: self.container,
            layer,
            device: self.device,
            left: paths,
            taken: 0,
        }
    }

    /// The weights of each layer of a model, in the order of its layers, those of nested models
    /// in their place.
    pub(super) fn of_model(&self, model: &ModelSpec) -> Result<Vec<Vars<'a>>, Error> {
        match self.container.format {
            Format::Archive => {
                let mut places = Vec::new();
                self.in_archive(model, "", "", &mut places)?;
                let stored = stored_once(&places);
                let all = places.into_iter().map(|place| {
                    let paths = place.parts.into_iter().flat_map(|part| {
                        let elsewhere = (part.is_shared && part.paths.is_empty())
                            .then(|| stored.get(&part.owner).cloned());
                        elsewhere.flatten().unwrap_or(part.paths)
                    });
                    self.vars(place.layer, paths.collect())
                });
                Ok(all.collect())
            }
            Format::Legacy => self.in_legacy(model),
        }
    }

    /// `layers/<class>_<n>/…` below `folder`, the classes counted in the order of the layers.
    fn in_archive(
        &self,
        model: &ModelSpec,
        folder: &str,
        place: &str,
        found: &mut Vec<Place>,
    ) -> Result<(), Error> {
        let mut counts = HashMap::<String, usize>::new();
        for layer in &model.layers {
            let class = snake_case(&layer.class);
            let n = counts.entry(class.clone()).or_default();
            let path = match *n {
                0 => format!("{folder}layers/{class}"),
                n => format!("{folder}layers/{class}_{n}"),
            };
            *n += 1;
            let name = format!("{place}{}", layer.name);
            match &layer.model {
                Some(model) => {
                    let part = if layer.is_each_step() { "/layer" } else { "" };
                    let folder = format!("{path}{part}/");
                    self.in_archive(model, &folder, &format!("{name}/"), found)?;
                }
                None => {
                    let owner = Owner {
                        class: &layer.class,
                        name: &layer.name,
                        is_shared: layer.is_shared,
                    };
                    let mut own = Vec::new();
                    for (folder, owner, is_shared) in parts(owner, &layer.config) {
                        let mut paths = Vec::new();
                        self.collect(&format!("{path}{folder}/vars"), &mut paths)?;
                        own.push(Part {
                            owner,
                            is_shared,
                            paths,
                        });
                    }
                    found.push(Place {
                        layer: name,
                        parts: own,
                    });
                }
            }
        }
        Ok(())
    }

    /// The datasets `0`, `1`, … of a folder of variables; none if it is not there.
    fn collect(&self, folder: &str, paths: &mut Vec<String>) -> Result<(), Error> {
        // Keras 2 keeps the parts of an attention layer under private names.
        let private = folder
            .replace("/query_", "/_query_")
            .replace("/key_", "/_key_");
        let private = private
            .replace("/value_", "/_value_")
            .replace("/output_", "/_output_");
        let group = [folder, &private]
            .into_iter()
            .find_map(|f| Some((f, self.container.weights.group(f).ok()?)));
        let Some((folder, group)) = group else {
            return Ok(());
        };
        let names = group.datasets();
        let names = names.map_err(|e| self.container.wrong(format!("`{folder}`: {e}")))?;
        for n in 0..names.len() {
            if !names.contains(&n.to_string()) {
                return Err(self
                    .container
                    .wrong(format!("`{folder}` lacks the variable {n}")));
            }
            paths.push(format!("{folder}/{n}"));
        }
        Ok(())
    }

    fn in_legacy(&self, model: &ModelSpec) -> Result<Vec<Vars<'a>>, Error> {
        let group = self.container.weights.group("model_weights");
        let group = group.map_err(|_| {
            self.container
                .wrong("has no group `model_weights`: the weights are missing")
        })?;
        let mut found = Vec::new();
        for layer in &model.layers {
            let paths = self.of_legacy_layer(&group, &layer.name)?;
            match &layer.model {
                None => found.push(self.vars(layer.name.clone(), paths)),
                Some(model) => self.split(model, &layer.name, paths, &mut found)?,
            }
        }
        Ok(found)
    }

    /// Paths of a layer's weights, in their order.
    fn of_legacy_layer(&self, weights: &Group, layer: &str) -> Result<Vec<String>, Error> {
        let Ok(group) = weights.group(layer) else {
            return Ok(Vec::new());
        };
        let place = format!("model_weights/{layer}");
        let attributes = group.attrs();
        let attributes = attributes.map_err(|e| self.container.wrong(format!("`{place}`: {e}")))?;
        let all = names(&attributes, "weight_names").ok_or_else(|| {
            self.container
                .wrong(format!("`{place}` has no list of `weight_names`"))
        })?;
        Ok(all
            .into_iter()
            .map(|name| format!("{place}/{name}"))
            .collect())
    }

    /// Hands the weights of a nested model out: first what is trained of each layer, then the rest.
    fn split(
        &self,
        model: &ModelSpec,
        place: &str,
        paths: Vec<String>,
        found: &mut Vec<Vars<'a>>,
    ) -> Result<(), Error> {
        let layers = model.all_layers();
        let counts: Vec<Counts> = layers.iter().map(|l| super::layers::counts(l)).collect();
        let trained: usize = counts.iter().map(|c| c.trained).sum();
        let fixed: usize = counts.iter().map(|c| c.fixed).sum();
        if trained + fixed != paths.len() {
            return Err(self.container.wrong(format!(
                "layer `{place}`: the file has {} weights for this model, and the configuration \
                 says {}",
                paths.len(),
                trained + fixed
            )));
        }
        let (mut next_trained, mut next_fixed) = (0, trained);
        for (layer, count) in layers.iter().zip(counts) {
            let mut own = paths[next_trained..next_trained + count.trained].to_vec();
            own.extend_from_slice(&paths[next_fixed..next_fixed + count.fixed]);
            next_trained += count.trained;
            next_fixed += count.fixed;
            found.push(self.vars(format!("{place}/{}", layer.name), own));
        }
        Ok(())
    }
}

/// A layer of an archive, with where its weights are.
struct Place {
    /// Its name, with the models that it is in.
    layer: String,
    parts: Vec<Part>,
}

/// A part of a layer that holds variables of its own.
struct Part {
    /// The class and the name of the layer that owns it, and which of its parts it is.
    owner: String,
    /// The configuration says that the owner is in the model more than once.
    is_shared: bool,
    paths: Vec<String>,
}

/// Where weights are that a layer shares with its other places: Keras writes those of a layer or a
/// model that is in several models where it finds it first, and nothing in the other places
/// (keras/src/saving/saving_lib.py, `visited_saveables`).
fn stored_once(places: &[Place]) -> HashMap<String, Vec<String>> {
    let parts = places.iter().flat_map(|place| &place.parts);
    let stored = parts.filter(|part| !part.paths.is_empty());
    let stored = stored.map(|part| (part.owner.clone(), part.paths.clone()));
    stored.collect()
}

/// Whose variables they are.
#[derive(Clone, Copy)]
struct Owner<'a> {
    class: &'a str,
    name: &'a str,
    is_shared: bool,
}

/// The folders of a layer's parts that hold variables of their own, in the order of its weights,
/// those of what it wraps in their place; each with its owner's part, and whether that is shared.
fn parts(layer: Owner<'_>, config: &Map<String, Json>) -> Vec<(String, String, bool)> {
    let own = |folder: &str| {
        let part = format!("{} {}{folder}", layer.class, layer.name);
        (folder.to_owned(), part, layer.is_shared)
    };
    let inner = |folder: &'static str, key: &str| {
        let wrapped = config.get(key).unwrap_or(&Json::Null);
        let parts = wrapped
            .get("config")
            .and_then(Json::as_object)
            .map(|config| {
                let text =
                    |value: Option<&'_ Json>| value.and_then(Json::as_str).unwrap_or("").to_owned();
                let (class, name) = (text(wrapped.get("class_name")), text(config.get("name")));
                let owner = Owner {
                    class: &class,
                    name: &name,
                    is_shared: wrapped.get("shared_object_id").is_some(),
                };
                parts(owner, config)
            });
        let parts = parts.unwrap_or_else(|| vec![own("")]);
        let below = parts.into_iter();
        below.map(move |(inner, owner, is_shared)| (format!("/{folder}{inner}"), owner, is_shared))
    };
    match layer.class {
        "LSTM" | "GRU" | "SimpleRNN" => vec![own("/cell")],
        // The two directions are copies of the layer.
        "Bidirectional" => {
            let there = inner("forward_layer", "layer");
            let both = there.chain(inner("backward_layer", "layer"));
            both.map(|(folder, ..)| own(&folder)).collect()
        }
        "TimeDistributed" => inner("layer", "layer").collect(),
        "MultiHeadAttention" => ["query", "key", "value", "output"]
            .map(|part| own(&format!("/{part}_dense")))
            .to_vec(),
        _ => vec![own("")],
    }
}

/// `MultiHeadAttention` as `multi_head_attention` (keras/src/utils/naming.py, `to_snake_case`).
fn snake_case(class: &str) -> String {
    let chars: Vec<char> = class
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let mut snake = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(i + 1);
        let starts_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase() || after.is_some_and(|a| a.is_ascii_lowercase()) && b != '_'
            });
        if starts_word {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_as_keras_names_them() {
        for (class, snake) in [
            ("Dense", "dense"),
            ("Conv2D", "conv2d"),
            ("LSTM", "lstm"),
            ("GRU", "gru"),
            ("SimpleRNN", "simple_rnn"),
            ("PReLU", "p_re_lu"),
            ("ReLU", "re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("MultiHeadAttention", "multi_head_attention"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("TimeDistributed", "time_distributed"),
            ("BatchNormalization", "batch_normalization"),
        ] {
            assert_eq!(snake_case(class), snake);
        }
    }

    #[test]
    fn a_chunk_or_a_weight_that_swells_is_refused() {
        let takes = |values, chunk: &[u64], file| refuse_swelling("kernel", values, chunk, file);
        assert_eq!(takes(10_240, &[64, 160], 1 << 20), Ok(()));
        assert_eq!(takes(10, &[512, 512], 1 << 20), Ok(()), "small enough");
        let error = takes(10_240, &[32_000, 32_000], 1 << 24).unwrap_err();
        assert!(error.contains("chunks of [32000, 32000]"), "{error}");
        assert!(takes(4, &[u64::MAX, u64::MAX], 1 << 20).is_err());
        let error = takes(1 << 32, &[1 << 12, 64], 1 << 20).unwrap_err();
        assert!(error.contains("in a file of 1048576 bytes"), "{error}");
    }

    #[test]
    fn half_precision_is_read_by_hand() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x7c00, f32::INFINITY),
            (0x0000, 0.0),
        ] {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan());
    }
}
