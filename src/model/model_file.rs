//! What is known of a model's file before a run.

use serde::{Deserialize, Serialize};

/// What is known of a model's file before a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Facts {
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Largest absolute difference of a prediction from that of the same weights in `f32`.
    pub error: f64,
}
