//! Any bytes as a Keras file: the plan read, the model built, and run if that is cheap.
//!
//! ```console
//! $ fuzz/run keras          # seeds from the fixtures, then cargo +nightly fuzz
//! ```
#![no_main]

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use keras_burn::{Array, Error, Input, Model, Plan};
use libfuzzer_sys::{Corpus, fuzz_target};

/// Largest file: larger ones only make each round slow.
const MAX_BYTES: usize = 1 << 20;
/// Largest cost of a model that is run.
const MAX_COST: usize = 1 << 18;
/// Size of a generated axis that the configuration leaves open.
const OPEN_AXIS: usize = 16;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if bytes.len() > MAX_BYTES {
        return Corpus::Reject;
    }
    let name = format!("keras-burn-fuzz-{}", std::process::id());
    // A file system in memory, where the machine has one, spares the disk.
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a temporary file");
    let _ = run(&path);
    let _ = std::fs::remove_file(&path);
    Corpus::Keep
});

/// Reads a file, and runs its model on zeros, which are also tokens.
fn run(path: &Path) -> Result<(), Error> {
    let plan = Plan::read(path)?;
    let shape = |input: &Input| {
        let sizes = input.shape().unwrap_or_default();
        let sizes = sizes.iter().map(|size| size.unwrap_or(OPEN_AXIS));
        [1].into_iter().chain(sizes).collect()
    };
    let shapes: Vec<Vec<usize>> = plan.inputs().iter().map(shape).collect();
    let cost = plan.cost(&shapes)?;
    let model = Model::read(path, &device())?;
    if cost < MAX_COST {
        let inputs = shapes.into_iter().map(|shape| {
            let count = shape.iter().product();
            Array::new(shape, vec![0.0; count])
        });
        model.predict(&inputs.collect::<Result<Vec<Array>, Error>>()?)?;
    }
    Ok(())
}

#[expect(
    deprecated,
    reason = "ndarray is the smallest backend that runs everywhere"
)]
fn device() -> Device {
    Device::ndarray()
}
