//! The Burn workloads: three small models, loaded from a file in each cycle, run on a fixed batch,
//! and compared with the output that is stored beside the weights. A cycle cannot pass without the
//! model having really run.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::burn::module::Module;
use ::burn::tensor::{Device, Tensor};

use super::{Entry, Facts, Settings};
use crate::base::error::Error;
use crate::recorder::cycle::{Failure, Model, Prediction, Workload};

mod cnn;
mod mlp;
#[cfg(feature = "train")]
pub(crate) mod train;
mod transformer;
mod variant;

pub(super) use self::cnn::Cnn;
pub(super) use self::mlp::Mlp;
pub(super) use self::transformer::Transformer;
#[cfg(test)]
use self::variant::Precision;
use self::variant::Variant;

/// Items in the fixed batch. The fixtures' sizes say it to everyone else.
#[cfg(any(test, feature = "train"))]
pub(crate) const BATCH: usize = 8;
/// Classes that every model tells apart.
pub(crate) const CLASSES: usize = 10;

/// How far an output may be from the stored one: devices sum in different orders.
const TOLERANCE: f32 = 1e-3;

/// A model that comes with fixtures.
pub(crate) trait Shipped: Module + std::fmt::Debug + 'static {
    /// The name behind `burn:`.
    const NAME: &'static str;
    /// What it is, in a line.
    const ABOUT: &'static str;
    /// Values of one item of input.
    const INPUT: usize;

    /// A model with fresh weights, so many times as wide as the shipped one.
    fn init(device: &Device, width: usize) -> Self;

    /// Logits `[batch, classes]` of a flat batch, [`Shipped::INPUT`] values an item.
    fn logits(&self, input: &[f32], device: &Device) -> Tensor<2>;
}

/// The files that were made together by the generator: see `fixtures/burn/README.md`.
struct Fixture {
    burnpack: &'static [u8],
    safetensors: &'static [u8],
    input: &'static [u8],
    expected: &'static [u8],
}

macro_rules! fixture {
    ($name:literal) => {
        Fixture {
            burnpack: include_bytes!(concat!("../../../fixtures/burn/", $name, ".bpk")),
            safetensors: include_bytes!(concat!("../../../fixtures/burn/", $name, ".safetensors")),
            input: include_bytes!(concat!("../../../fixtures/burn/", $name, ".input.f32")),
            expected: include_bytes!(concat!("../../../fixtures/burn/", $name, ".expected.f32")),
        }
    };
}

static MLP: Fixture = fixture!("mlp");
static CNN: Fixture = fixture!("cnn");
static TRANSFORMER: Fixture = fixture!("transformer");

pub(super) fn entries() -> Vec<Entry> {
    vec![
        entry::<Mlp>(&MLP),
        entry::<Cnn>(&CNN),
        entry::<Transformer>(&TRANSFORMER),
    ]
}

fn entry<M: Shipped>(fixture: &'static Fixture) -> Entry {
    let mut entry = Entry::new(format!("burn:{}", M::NAME), M::ABOUT, move |settings| {
        Ok(Box::new(Loading::<M>::new(settings, fixture)?))
    });
    entry.check = Box::new(check::<M>);
    entry.facts = Some(Box::new(move |settings| facts::<M>(settings, fixture)));
    entry
}

/// Where the tensors live, by the name on the command line.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    name: &'static str,
    device: fn() -> Device,
}

impl Place {
    #[cfg(feature = "keras")]
    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    #[cfg(feature = "keras")]
    pub(crate) fn device(self) -> Device {
        (self.device)()
    }
}

/// The plain device.
#[expect(
    deprecated,
    reason = "ndarray is what people serve with today; Burn announces its end in favour of flex"
)]
pub(crate) fn ndarray() -> Device {
    Device::ndarray()
}

const PLACES: &[Place] = &[
    Place {
        name: "ndarray",
        device: ndarray,
    },
    #[cfg(feature = "flex")]
    Place {
        name: "flex",
        device: Device::flex,
    },
    Place {
        name: "autodiff",
        device: || ndarray().autodiff(),
    },
];

/// The device that the settings ask for.
pub(crate) fn place(settings: &Settings) -> Result<Place, Error> {
    let name = settings.device.as_deref().unwrap_or("ndarray");
    if name == "flex" && !cfg!(feature = "flex") {
        return Err(
            Error::usage("this build has no device `flex`").hint("build it with `--features flex`")
        );
    }
    crate::base::names::pick("device", name, PLACES.iter().copied(), |p| p.name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Burnpack,
    Safetensors,
}

impl Format {
    const ALL: [Self; 2] = [Self::Burnpack, Self::Safetensors];

    fn name(self) -> &'static str {
        match self {
            Self::Burnpack => "bpk",
            Self::Safetensors => "safetensors",
        }
    }

    fn of(settings: &Settings) -> Result<Self, Error> {
        let ending = settings.model.as_deref().and_then(Path::extension);
        let by_file = ending.and_then(|e| Self::ALL.into_iter().find(|f| e == f.name()));
        match &settings.format {
            Some(name) => crate::base::names::pick("format", name, Self::ALL, Self::name),
            None => Ok(by_file.unwrap_or(Self::Burnpack)),
        }
    }
}

fn check<M: Shipped>(settings: &Settings) -> Result<Vec<String>, Error> {
    settings.refuse_data()?;
    let (place, format) = (place(settings)?, Format::of(settings)?);
    let variant = Variant::of(settings, format)?;
    if let Some(path) = &settings.model {
        let metadata = fs::metadata(path).map_err(|e| Error::io("read the model", path, e))?;
        if !metadata.is_file() {
            // A pipe would be waited for, and a device read for ever.
            let what = format!("{} is not a regular file", path.display());
            return Err(Error::usage(what).hint("name a model's file with --model"));
        }
        // A file that does not load is said before anything is measured.
        let load = || load::<M>(path, variant, format, &(place.device)());
        match std::panic::catch_unwind(load) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Error::usage(error)),
            Err(_) => {
                return Err(Error::usage(refused::<M>(
                    path,
                    format,
                    "the reader panicked",
                )));
            }
        }
    }
    let mut options = vec![
        format!("device={}", place.name),
        format!("format={}", format.name()),
    ];
    options.extend(variant.options());
    Ok(options)
}

/// What is known of the model's file.
fn facts<M: Shipped>(settings: &Settings, fixture: &Fixture) -> Result<Facts, Error> {
    let format = Format::of(settings)?;
    let variant = Variant::of(settings, format)?;
    let folder = Unpacked(settings.scratch.clone());
    let prepared = variant::prepare::<M>(variant, fixture, format, &folder.0)?;
    Ok(Facts {
        file_bytes: prepared.file_bytes,
        error: prepared.error,
    })
}

/// Loads the model from its file in each cycle.
struct Loading<M> {
    path: PathBuf,
    /// Unpacked weights go when the workload does.
    _unpacked: Option<Unpacked>,
    variant: Variant,
    format: Format,
    device: Device,
    input: &'static [u8],
    expected: Arc<[f32]>,
    model: PhantomData<M>,
}

impl<M: Shipped> Loading<M> {
    fn new(settings: &Settings, fixture: &'static Fixture) -> Result<Self, Error> {
        let format = Format::of(settings)?;
        let variant = Variant::of(settings, format)?;
        let scratch = &settings.scratch;
        let mut expected = floats(fixture.expected);
        let (path, unpacked) = match &settings.model {
            Some(path) => (path.clone(), None),
            None if variant == Variant::SHIPPED => {
                let bytes = match format {
                    Format::Burnpack => fixture.burnpack,
                    Format::Safetensors => fixture.safetensors,
                };
                let path = scratch.join(format!("{}.{}", M::NAME, format.name()));
                fs::create_dir_all(scratch)
                    .and_then(|()| fs::write(&path, bytes))
                    .map_err(|e| Error::io("unpack the model to", &path, e))?;
                (path, Some(Unpacked(scratch.clone())))
            }
            None => {
                let prepared = variant::prepare::<M>(variant, fixture, format, scratch)?;
                expected = prepared.expected;
                (prepared.path, Some(Unpacked(scratch.clone())))
            }
        };
        Ok(Self {
            path,
            _unpacked: unpacked,
            variant,
            format,
            device: (place(settings)?.device)(),
            input: fixture.input,
            expected: expected.into(),
            model: PhantomData,
        })
    }
}

/// A folder that goes with its owner.
struct Unpacked(PathBuf);

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl<M: Shipped> Workload for Loading<M> {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        Ok(Box::new(Loaded {
            model: load::<M>(&self.path, self.variant, self.format, &self.device)?,
            device: self.device.clone(),
            input: self.input,
            expected: Arc::clone(&self.expected),
        }))
    }

    fn sync(&mut self) -> Result<(), Failure> {
        Ok(self.device.sync().map_err(|e| format!("device: {e:?}"))?)
    }

    fn cleanup(&mut self) {
        self.device.memory_cleanup();
    }
}

struct Loaded<M> {
    model: M,
    device: Device,
    input: &'static [u8],
    expected: Arc<[f32]>,
}

impl<M: Shipped> Model for Loaded<M> {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        let output = output(&self.model, &floats(self.input), &self.device)?;
        compare(&output, &self.expected)?;
        Ok(output)
    }
}

/// What a model makes of an input.
fn output<M: Shipped>(model: &M, input: &[f32], device: &Device) -> Result<Vec<f32>, String> {
    let logits = model.logits(input, device).into_data();
    let output = logits.try_to_vec::<f32>();
    output.map_err(|e| format!("the output is not f32: {e:?}"))
}

fn load<M: Shipped>(
    path: &Path,
    variant: Variant,
    format: Format,
    device: &Device,
) -> Result<M, String> {
    let loaded = variant.load(path, format, device);
    loaded.map_err(|error| refused::<M>(path, format, &error))
}

/// Why a file is not this model's, in one line.
fn refused<M: Shipped>(path: &Path, format: Format, error: &str) -> String {
    const MOST: usize = 300;
    let line: String = error
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(MOST)
        .collect();
    format!(
        "{} is no {} file of burn:{}: {line}",
        path.display(),
        format.name(),
        M::NAME
    )
}

/// Little-endian `f32`s.
fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

fn compare(output: &[f32], expected: &[f32]) -> Result<(), String> {
    if output.len() != expected.len() {
        return Err(format!(
            "the output has {} values, {} were expected",
            output.len(),
            expected.len()
        ));
    }
    let differs = |(o, e): &(&f32, &f32)| {
        (*o - *e)
            .abs()
            .partial_cmp(&TOLERANCE)
            .is_none_or(|o| o.is_gt())
    };
    match output.iter().zip(expected).find(differs) {
        Some((o, e)) => Err(format!("the output is wrong: {o} where {e} was expected")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_output_is_found() {
        assert!(compare(&[1.0, 2.0], &[1.0, 2.0001]).is_ok());
        assert!(compare(&[1.0, 2.0], &[1.0, 2.1]).is_err());
        assert!(compare(&[1.0], &[1.0, 2.0]).is_err());
        assert!(compare(&[f32::NAN], &[1.0]).is_err());
    }

    #[test]
    fn every_model_comes_in_other_sizes_and_precisions() {
        let scratch =
            std::env::temp_dir().join(format!("afterdrop-variants-{}", std::process::id()));
        for entry in entries() {
            let facts = |size: u32, precision: Precision| {
                let settings = Settings {
                    size: Some(size),
                    precision: Some(precision.name().into()),
                    scratch: scratch.clone(),
                    ..Settings::default()
                };
                let mut workload = entry.make(&settings).unwrap();
                assert_eq!(
                    workload.load().unwrap().infer().unwrap().len(),
                    BATCH * CLASSES
                );
                drop(workload);
                entry.facts(&settings).unwrap().unwrap()
            };
            let [full, half, brief, small] = Precision::ALL.map(|p| facts(1, p));
            assert_eq!(full.error, 0.0);
            assert!(half.file_bytes < full.file_bytes * 6 / 10, "{half:?}");
            assert!(half.error > 0.0 && half.error < 0.05, "{half:?}");
            assert!(
                brief.file_bytes == half.file_bytes && brief.error < 0.5,
                "{brief:?}"
            );
            assert!(
                small.file_bytes < full.file_bytes && small.error > 0.0,
                "{small:?}"
            );
            assert!(facts(2, Precision::F32).file_bytes > full.file_bytes * 14 / 10);
        }
        assert!(!scratch.exists());
    }

    #[test]
    fn every_model_gives_its_stored_output_on_every_device_and_from_every_format() {
        let scratch = std::env::temp_dir().join(format!("afterdrop-models-{}", std::process::id()));
        for entry in entries() {
            for place in PLACES {
                for format in Format::ALL {
                    let settings = Settings {
                        device: Some(place.name.into()),
                        format: Some(format.name().into()),
                        scratch: scratch.clone(),
                        ..Settings::default()
                    };
                    let mut workload = entry.make(&settings).unwrap();
                    let output = workload.load().unwrap().infer().unwrap();
                    assert_eq!(output.len(), BATCH * CLASSES, "{}", entry.name());
                }
            }
        }
        assert!(!scratch.exists());
    }
}
