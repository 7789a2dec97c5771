//! The stored weights, inputs and outputs of the shipped models.

/// The files of one model in `fixtures/burn`, all from one run of `make-fixtures`.
pub(super) struct Fixture {
    pub(super) burnpack: &'static [u8],
    pub(super) safetensors: &'static [u8],
    pub(super) input: &'static [u8],
    pub(super) expected: &'static [u8],
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

pub(super) static MLP: Fixture = fixture!("mlp");
pub(super) static CNN: Fixture = fixture!("cnn");
pub(super) static TRANSFORMER: Fixture = fixture!("transformer");

/// Decodes little-endian `f32` values.
pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}
