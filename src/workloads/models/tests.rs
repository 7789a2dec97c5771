//! Tests of all shipped models, in all sizes, precisions, formats and on all devices.

use std::path::PathBuf;

use rstest::rstest;

use super::device::DEVICES;
use super::entries;
use super::format::Format;
use super::shipped::{BATCH, CLASSES};
use super::variant::Precision;
use crate::model::model_file::ModelFile;
use crate::model::settings::Settings;
use crate::workloads::entry::Entry;

const MODELS: [&str; 3] = ["mlp", "cnn", "transformer"];

fn entry(model: &str) -> Entry {
    let name = format!("burn:{model}");
    let mut entries = entries().into_iter();
    entries.find(|entry| entry.name() == name).unwrap()
}

/// A folder that no other test uses. The workloads create and remove it.
fn scratch(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("afterdrop-{test}-{}", std::process::id()))
}

/// Loads the model once and infers.
fn infers(entry: &Entry, settings: &Settings) {
    let mut workload = entry.make(settings).unwrap();
    let output = workload.load().unwrap().infer().unwrap();
    assert_eq!(output.len(), BATCH * CLASSES);
}

#[test]
fn all_models_are_tested() {
    let entries = entries();
    let names: Vec<&str> = entries.iter().map(Entry::name).collect();
    assert_eq!(names, MODELS.map(|model| format!("burn:{model}")));
}

#[rstest]
fn other_sizes_and_precisions_run(#[values("mlp", "cnn", "transformer")] model: &str) {
    let entry = entry(model);
    let scratch = scratch(&format!("variants-{model}"));
    let file = |size: u32, precision: Precision| -> ModelFile {
        let settings = Settings {
            size: Some(size),
            precision: Some(precision.name().into()),
            scratch: scratch.clone(),
            ..Settings::default()
        };
        infers(&entry, &settings);
        entry.model_file(&settings).unwrap().unwrap()
    };
    let [f32, f16, bf16, int8] = Precision::ALL.map(|p| file(1, p));
    assert_eq!(f32.error, 0.0);
    assert!(f16.file_bytes < f32.file_bytes * 6 / 10, "{f16:?}");
    assert!(f16.error > 0.0 && f16.error < 0.05, "{f16:?}");
    assert_eq!(bf16.file_bytes, f16.file_bytes);
    assert!(bf16.error < 0.5, "{bf16:?}");
    assert!(int8.file_bytes < f32.file_bytes, "{int8:?}");
    assert!(int8.error > 0.0, "{int8:?}");
    assert!(file(2, Precision::F32).file_bytes > f32.file_bytes * 14 / 10);
    assert!(!scratch.exists());
}

#[rstest]
fn the_stored_output_is_the_same_on_each_device_and_from_each_format(
    #[values("mlp", "cnn", "transformer")] model: &str,
    #[values(Format::Burnpack, Format::Safetensors)] format: Format,
) {
    for device in DEVICES {
        let scratch = scratch(&format!("devices-{model}-{}", format.name()));
        let settings = Settings {
            device: Some(device.name.into()),
            format: Some(format.name().into()),
            scratch: scratch.clone(),
            ..Settings::default()
        };
        infers(&entry(model), &settings);
        assert!(!scratch.exists(), "{}", device.name);
    }
}
