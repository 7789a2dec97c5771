//! A shipped model in another size or precision: made at set-up, saved, and known by its output.

use std::fs;
use std::path::{Path, PathBuf};

use ::burn::module::{ModuleMapper, Param};
use ::burn::store::{BurnpackStore, FloatCastAdapter, ModuleSnapshot, SafetensorsStore};
use ::burn::tensor::quantization::{
    Calibration, QuantScheme, QuantStore, QuantValue, compute_q_params, compute_range,
};
use ::burn::tensor::{DType, Device, Tensor};

use super::{Fixture, Format, Shipped, floats, ndarray, output};
use crate::base::error::Error;
use crate::workloads::Settings;

/// Largest width, in multiples of the shipped one.
const WIDEST: u32 = 64;

/// In what the weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    F16,
    Bf16,
    /// Matrices as symmetric 8-bit integers with a scale each; the rest as `f32`.
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

    /// The type of stored floats, where it is not that of the model.
    fn stored(self) -> Option<DType> {
        match self {
            Self::F32 | Self::Int8 => None,
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
        }
    }
}

/// Which form of a shipped model is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// In multiples of the shipped width.
    pub(super) width: usize,
    pub(super) precision: Precision,
}

impl Variant {
    /// As it is shipped.
    pub(crate) const SHIPPED: Self = Self {
        width: 1,
        precision: Precision::F32,
    };

    /// What the settings ask for.
    ///
    /// # Errors
    /// If there is no such size or precision, or it cannot be had together with the rest.
    pub(super) fn of(settings: &Settings, format: Format) -> Result<Self, Error> {
        let width = settings.size.unwrap_or(1);
        if !(1..=WIDEST).contains(&width) {
            return Err(Error::usage(format!(
                "--size {width} is out of range: from 1 to {WIDEST} times the shipped width"
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
                "--size and --precision are of the shipped model: they do not go with --model",
            ));
        }
        if precision == Precision::Int8 && format == Format::Safetensors {
            return Err(Error::usage("safetensors holds no quantized weights")
                .hint("leave --format out, or take another precision"));
        }
        Ok(variant)
    }

    /// The settings that count, as `name=value`.
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

    /// A model of this form with weights that do not matter yet.
    pub(super) fn init<M: Shipped>(self, device: &Device) -> M {
        let model = M::init(device, self.width);
        match self.precision {
            Precision::Int8 => model.map(&mut Quantize),
            _ => model,
        }
    }

    /// Reads a model of this form.
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

    fn save<M: Shipped>(self, model: M, path: &Path, format: Format) -> Result<(), String> {
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

/// Quantizes the matrices of a model.
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

/// A variant's file, and what is known of it.
pub(super) struct Prepared {
    pub(super) path: PathBuf,
    /// The output that a model loaded from the file must give.
    pub(super) expected: Vec<f32>,
    /// Bytes of the file.
    pub(super) file_bytes: u64,
    /// Largest difference of an output to that of the same weights in `f32`.
    pub(super) error: f64,
}

/// Makes the model of a variant, and saves it in a folder, which is made.
///
/// Of the shipped size it has the shipped weights; of another, weights from a fixed seed.
pub(super) fn prepare<M: Shipped>(
    variant: Variant,
    fixture: &Fixture,
    format: Format,
    folder: &Path,
) -> Result<Prepared, Error> {
    let device = ndarray();
    let path = folder.join(format!("{}.{}", M::NAME, format.name()));
    let cannot = |what: String| Error::usage(format!("cannot make burn:{}: {what}", M::NAME));
    fs::create_dir_all(folder).map_err(|e| Error::io("make the folder", folder, e))?;
    let model = if variant.width == 1 {
        let shipped = folder.join(format!("{}.bpk.shipped", M::NAME));
        fs::write(&shipped, fixture.burnpack)
            .map_err(|e| Error::io("unpack the model to", &shipped, e))?;
        Variant::SHIPPED
            .load::<M>(&shipped, Format::Burnpack, &device)
            .map_err(cannot)?
    } else {
        device.seed(42);
        M::init(&device, variant.width)
    };
    let input = floats(fixture.input);
    let exact = output(&model, &input, &device).map_err(cannot)?;
    variant.save(model, &path, format).map_err(cannot)?;
    let metadata = fs::metadata(&path).map_err(|e| Error::io("read the model", &path, e))?;
    let loaded: M = variant.load(&path, format, &device).map_err(cannot)?;
    let expected = output(&loaded, &input, &device).map_err(cannot)?;
    let differences = exact.iter().zip(&expected);
    Ok(Prepared {
        error: differences
            .map(|(a, b)| f64::from((a - b).abs()))
            .fold(0.0, f64::max),
        path,
        expected,
        file_bytes: metadata.len(),
    })
}
