//! A shipped model in another size or precision, and how it is saved and loaded.

use std::path::Path;

use ::burn::module::{ModuleMapper, Param};
use ::burn::store::{BurnpackStore, FloatCastAdapter, ModuleSnapshot, SafetensorsStore};
use ::burn::tensor::quantization::{
    Calibration, QuantScheme, QuantStore, QuantValue, compute_q_params, compute_range,
};
use ::burn::tensor::{DType, Device, Tensor};

use super::format::Format;
use super::shipped::Shipped;
use crate::base::error::Error;
use crate::model::settings::Settings;

/// Largest width, as a multiple of the shipped one.
const MAX_WIDTH: u32 = 64;

/// The number format in which the weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    F16,
    Bf16,
    /// Matrices as symmetric 8-bit integers, with one scale per matrix; the rest as `f32`.
    Int8,
}

impl Precision {
    pub(crate) const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Int8];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// The type of the stored floats, if it differs from the type in the loaded model.
    fn stored(self) -> Option<DType> {
        match self {
            Self::F32 | Self::Int8 => None,
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
        }
    }
}

/// Size and precision of a shipped model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// As a multiple of the shipped width.
    pub(super) width: usize,
    pub(super) precision: Precision,
}

impl Variant {
    /// The model as it is shipped.
    pub(crate) const SHIPPED: Self = Self {
        width: 1,
        precision: Precision::F32,
    };

    /// The variant that the settings select.
    ///
    /// # Errors
    /// If there is no such size or precision, or if it cannot be combined with the other settings.
    pub(super) fn of(settings: &Settings, format: Format) -> Result<Self, Error> {
        let width = settings.size.unwrap_or(1);
        if !(1..=MAX_WIDTH).contains(&width) {
            return Err(Error::usage(format!(
                "--size {width} is out of range: it must be from 1 to {MAX_WIDTH}"
            )));
        }
        let precision = match &settings.precision {
            Some(name) => {
                crate::base::names::pick("precision", name, Precision::ALL, Precision::name)?
            }
            None => Precision::F32,
        };
        let variant = Self {
            width: width as usize,
            precision,
        };
        if variant != Self::SHIPPED && settings.model.is_some() {
            return Err(Error::usage(
                "--size and --precision apply to the shipped model and cannot be combined with \
                 --model",
            ));
        }
        if precision == Precision::Int8 && format == Format::Safetensors {
            return Err(
                Error::usage("the safetensors format cannot store quantized weights")
                    .hint("use --format bpk, or another --precision"),
            );
        }
        Ok(variant)
    }

    /// The settings that differ from the shipped model, as `name=value`.
    pub(super) fn options(self) -> Vec<String> {
        let mut options = Vec::new();
        if self.width != 1 {
            options.push(format!("size={}", self.width));
        }
        if self.precision != Precision::F32 {
            options.push(format!("precision={}", self.precision.name()));
        }
        options
    }

    /// Creates a model of this variant, into which weights are then loaded.
    pub(super) fn init<M: Shipped>(self, device: &Device) -> M {
        let model = M::init(device, self.width);
        match self.precision {
            Precision::Int8 => model.map(&mut Quantize),
            _ => model,
        }
    }

    /// Loads a model of this variant.
    pub(super) fn load<M: Shipped>(
        self,
        path: &Path,
        format: Format,
        device: &Device,
    ) -> Result<M, String> {
        let mut model: M = self.init(device);
        let to_model = self
            .precision
            .stored()
            .map(|_| FloatCastAdapter::to(DType::F32));
        match format {
            Format::Burnpack => {
                let mut store = BurnpackStore::from_file(path).auto_extension(false);
                if let Some(adapter) = to_model {
                    store = store.with_from_adapter(adapter);
                }
                model.load_from(&mut store).map_err(|e| e.to_string())?;
            }
            Format::Safetensors => {
                let mut store = SafetensorsStore::from_file(path);
                if let Some(adapter) = to_model {
                    store = store.with_from_adapter(adapter);
                }
                model.load_from(&mut store).map_err(|e| e.to_string())?;
            }
        }
        Ok(model)
    }

    /// Saves a model with `f32` weights as this variant.
    pub(super) fn save<M: Shipped>(
        self,
        model: M,
        path: &Path,
        format: Format,
    ) -> Result<(), String> {
        let model = match self.precision {
            Precision::Int8 => model.map(&mut Quantize),
            _ => model,
        };
        let to_file = self.precision.stored().map(FloatCastAdapter::to);
        match format {
            Format::Burnpack => {
                let mut store = BurnpackStore::from_file(path).auto_extension(false);
                if let Some(adapter) = to_file {
                    store = store.with_to_adapter(adapter);
                }
                model.save_into(&mut store).map_err(|e| e.to_string())
            }
            Format::Safetensors => {
                let mut store = SafetensorsStore::from_file(path);
                if let Some(adapter) = to_file {
                    store = store.with_to_adapter(adapter);
                }
                model.save_into(&mut store).map_err(|e| e.to_string())
            }
        }
    }
}

/// Quantizes the matrices of a model, and leaves its other parameters.
struct Quantize;

impl ModuleMapper for Quantize {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D != 2 {
            return param;
        }
        param.map(|tensor| {
            let scheme = QuantScheme::default()
                .with_value(QuantValue::Q8S)
                .with_store(QuantStore::Native);
            let range = compute_range(&scheme, &tensor, &Calibration::MinMax);
            tensor.quantize(&scheme, compute_q_params(&scheme, range))
        })
    }
}
