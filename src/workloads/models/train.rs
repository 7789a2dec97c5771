//! The generator of `fixtures/burn`: trains each model for some steps on seeded data, and saves its
//! weights in both formats, a batch of input, and the output for it.

use std::fs;
use std::path::Path;

use ::burn::nn::loss::CrossEntropyLossConfig;
use ::burn::optim::{AdamConfig, GradientsParams};
use ::burn::store::{BurnpackStore, ModuleSnapshot, SafetensorsStore};
use ::burn::tensor::{Int, Tensor, TensorData};

use super::cnn::Cnn;
use super::device::ndarray;
use super::format::Format;
use super::mlp::Mlp;
use super::shipped::{BATCH, CLASSES, Shipped};
use super::transformer::{Transformer, VOCABULARY};
use super::variant::Variant;
use crate::base::error::Error;
use crate::base::random::Random;

const STEPS: usize = 150;
const TRAINING_BATCH: usize = 32;

/// Creates all fixtures in `folder`; returns one line about each model.
pub(crate) fn make_all(folder: &Path) -> Result<Vec<String>, Error> {
    Ok(vec![
        make::<Mlp>(folder, image)?,
        make::<Cnn>(folder, image)?,
        make::<Transformer>(folder, sequence)?,
    ])
}

/// A bright square on noise. Its position is given by the class.
fn image(class: usize, random: &mut Random) -> Vec<f32> {
    let (row, column) = (2 + 14 * (class / 5), 1 + 5 * (class % 5));
    let inside =
        |i: usize| (row..row + 10).contains(&(i / 28)) && (column..column + 6).contains(&(i % 28));
    (0..28 * 28)
        .map(|i| random.fraction() * 0.4 + if inside(i) { 0.6 } else { 0.0 })
        .collect()
}

/// Random tokens; on average one in three is the token of the class.
fn sequence(class: usize, random: &mut Random) -> Vec<f32> {
    (0..32)
        .map(|_| match random.index(3) {
            0 => class as f32,
            _ => random.index(VOCABULARY) as f32,
        })
        .collect()
}

/// Draws an item of a class.
type Draw = fn(usize, &mut Random) -> Vec<f32>;

/// Draws a batch of random classes: the flattened items, and their classes.
fn batch(size: usize, draw: Draw, random: &mut Random) -> (Vec<f32>, Vec<i64>) {
    let mut input = Vec::new();
    let mut classes = Vec::new();
    for _ in 0..size {
        let class = random.index(CLASSES);
        input.extend(draw(class, random));
        classes.push(class as i64);
    }
    (input, classes)
}

/// Trains a model and saves its fixtures.
fn make<M: Shipped>(folder: &Path, draw: Draw) -> Result<String, Error> {
    let device = ndarray().autodiff();
    device.seed(42);
    let mut random = Random::new(42);
    let mut model = M::init(&device, 1);
    let mut optimizer = AdamConfig::new().init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut last = 0.0;
    for _ in 0..STEPS {
        let (input, classes) = batch(TRAINING_BATCH, draw, &mut random);
        let targets = TensorData::new(classes, [TRAINING_BATCH]);
        let targets: Tensor<1, Int> = Tensor::from_data(targets, &device);
        let value = loss.forward(model.logits(&input, &device), targets);
        last = value.clone().into_scalar::<f32>();
        let gradients = GradientsParams::from_grads(value.backward(), &model);
        model = optimizer.step(1e-3, model, gradients);
    }
    let (input, classes) = batch(BATCH, draw, &mut random);
    let plain = ndarray();
    let path = |ending: &str| folder.join(format!("{}.{ending}", M::NAME));
    let wrong = |what: String| Error::usage(format!("cannot save burn:{}: {what}", M::NAME));
    model
        .save_into(&mut BurnpackStore::from_file(path("bpk")).overwrite(true))
        .map_err(|e| wrong(e.to_string()))?;
    model
        .save_into(&mut SafetensorsStore::from_file(path("safetensors")).overwrite(true))
        .map_err(|e| wrong(e.to_string()))?;
    // Infer with the saved file, so that the expected output is that of the file.
    let saved: M = Variant::SHIPPED
        .load(&path("bpk"), Format::Burnpack, &plain)
        .map_err(wrong)?;
    let output: Vec<f32> = saved
        .logits(&input, &plain)
        .into_data()
        .try_to_vec::<f32>()
        .map_err(|e| wrong(format!("{e:?}")))?;
    let correct = output
        .chunks(CLASSES)
        .zip(&classes)
        .filter(|(logits, class)| {
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.map(|(i, _)| i as i64) == Some(**class)
        })
        .count();
    save(&path("input.f32"), &input)?;
    save(&path("expected.f32"), &output)?;
    Ok(format!(
        "burn:{}: loss {last:.3} after {STEPS} steps, {correct} of {BATCH} correct",
        M::NAME
    ))
}

fn save(path: &Path, values: &[f32]) -> Result<(), Error> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    fs::write(path, bytes).map_err(|e| Error::io("write", path, e))
}
