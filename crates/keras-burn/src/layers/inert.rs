//! Layers that hand their input on: inputs, and those that only act in training.

use super::class::{Class, Kwargs, Layer, Parsed, Weightless, one};
use crate::config::settings::Settings;
use crate::tensor::Masked;
use crate::tensor::dtype::ResultType;

const fn inert(name: &'static str) -> Class {
    Class::new(name, read).inert()
}

const fn dropout(name: &'static str) -> Class {
    inert(name).gives(ResultType::Same)
}

pub(super) const CLASSES: &[Class] = &[
    Class::new("InputLayer", read),
    inert("ActivityRegularization"),
    dropout("AlphaDropout"),
    dropout("Dropout"),
    dropout("GaussianDropout"),
    inert("GaussianNoise"),
    inert("Identity"),
    inert("RandomBrightness"),
    inert("RandomContrast"),
    inert("RandomFlip"),
    inert("RandomRotation"),
    inert("RandomTranslation"),
    inert("RandomZoom"),
    dropout("SpatialDropout1D"),
    dropout("SpatialDropout2D"),
    dropout("SpatialDropout3D"),
];

fn read(_: &Settings<'_>) -> Parsed {
    Ok(Box::new(Inert))
}

/// The identity.
#[derive(Clone)]
struct Inert;

impl Weightless for Inert {}

impl Layer for Inert {
    fn forward(&self, inputs: &[Masked], _: &Kwargs<'_>) -> Result<Vec<Masked>, String> {
        Ok(vec![one(inputs)?.clone()])
    }
}
