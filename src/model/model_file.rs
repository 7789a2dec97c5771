//! Facts about the file that a model is loaded from.

use crate::base::json::fields;

/// Size and accuracy of the file that a model is loaded from.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct ModelFile {
    /// Size in bytes.
    pub file_bytes: u64,
    /// Largest absolute difference between an output of this model and the same output with the
    /// weights in `f32`.
    pub error: f64,
}

fields! { ModelFile { file_bytes, error } }
