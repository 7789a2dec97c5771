//! Files made from the fixtures of the repository, and models run on generated inputs.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use burn::tensor::Device;
use keras_burn::{Array, Input, Model, Plan};
use serde_json::{Value, json};

/// The members of a `.keras` archive.
pub(crate) const MEMBERS: [&str; 3] = ["config.json", "metadata.json", "model.weights.h5"];

/// Size of a generated axis that the configuration leaves open.
const OPEN_AXIS: usize = 16;

#[expect(
    deprecated,
    reason = "ndarray is the smallest backend that runs everywhere"
)]
pub(crate) fn device() -> Device {
    Device::ndarray()
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/keras")
        .join(name)
}

/// Seeded numbers: SplitMix64 (G. L. Steele, D. Lea, C. H. Flood (2014), "Fast splittable
/// pseudorandom number generators", OOPSLA).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `n - 1`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.any() % n as u64) as usize
    }
}

/// A file that is removed when it is dropped.
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Temporary {
    pub(crate) fn new(extension: &str, bytes: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keras-burn-{}-{n}.{extension}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The shapes of generated inputs.
pub(crate) fn shapes(plan: &Plan, batch: usize) -> Vec<Vec<usize>> {
    let shape = |input: &Input| {
        let sizes = input.shape().unwrap_or_default();
        let sizes = sizes.iter().map(|size| size.unwrap_or(OPEN_AXIS));
        [batch].into_iter().chain(sizes).collect()
    };
    plan.inputs().iter().map(shape).collect()
}

/// Generated inputs. Tokens stay below their number.
pub(crate) fn inputs(plan: &Plan, batch: usize) -> Vec<Array> {
    let mut random = Random(42);
    let inputs = plan.inputs().iter().zip(shapes(plan, batch));
    let inputs = inputs.map(|(input, shape)| {
        let value = |_| match input.tokens() {
            Some(tokens) => random.below(tokens.max(1)) as f32,
            None => random.below(1 << 24) as f32 / (1 << 24) as f32,
        };
        let values = (0..shape.iter().product()).map(value).collect();
        Array::new(shape, values).unwrap()
    });
    inputs.collect()
}

/// Reads the plan and the weights of a file, and runs the model if asked to.
pub(crate) fn read(path: &Path, runs: bool) -> Result<Vec<Array>, String> {
    let plan = Plan::read(path).map_err(|e| e.to_string())?;
    plan.cost(&shapes(&plan, 8)).map_err(|e| e.to_string())?;
    let model = Model::read(path, &device()).map_err(|e| e.to_string())?;
    match runs {
        true => model.predict(&inputs(&plan, 8)).map_err(|e| e.to_string()),
        false => Ok(Vec::new()),
    }
}

/// The configuration of a `.keras` archive.
pub(crate) fn config_of(file: &str) -> Value {
    let archive = std::fs::File::open(fixture(file)).unwrap();
    let mut archive = zip::ZipArchive::new(archive).unwrap();
    let mut text = String::new();
    let mut member = archive.by_name("config.json").unwrap();
    member.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A `.keras` archive with another configuration, its other members as they were.
pub(crate) fn with_config(file: &str, config: &str) -> Temporary {
    with_members(file, config, &MEMBERS)
}

/// The same with these members only.
pub(crate) fn with_members(file: &str, config: &str, members: &[&str]) -> Temporary {
    let archive = std::fs::File::open(fixture(file)).unwrap();
    let mut archive = zip::ZipArchive::new(archive).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    let mut made = zip::ZipWriter::new(&mut bytes);
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for &name in members {
        let mut member = Vec::new();
        archive
            .by_name(name)
            .unwrap()
            .read_to_end(&mut member)
            .unwrap();
        made.start_file(name, stored).unwrap();
        let member = match name {
            "config.json" => config.as_bytes(),
            _ => &member,
        };
        made.write_all(member).unwrap();
    }
    made.finish().unwrap();
    Temporary::new("keras", bytes.get_ref())
}

/// Checks that an archive with this configuration is refused with this message.
#[track_caller]
pub(crate) fn refused(file: &str, config: &str, says: &str) {
    let changed = with_config(file, config);
    let error = read(&changed.0, true).unwrap_err();
    assert!(error.contains(says), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

/// The first output of a layer, as an argument of a call.
pub(crate) fn tensor(layer: &str) -> Value {
    json!({"class_name": "__keras_tensor__",
           "config": {"shape": [null, 4], "keras_history": [layer, 0, 0]}})
}
