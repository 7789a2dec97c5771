//! Reads Keras models and runs them on [Burn](https://burn.dev), without Python.
//!
//! Both formats are read, in pure Rust: legacy HDF5 (`.h5`, written by Keras 2 and 3) and the
//! `.keras` archive. Sequential and Functional models run as Keras runs them: shared layers, nested
//! models, several inputs and outputs, masks, and the operations that Keras writes into a model.
//!
//! # What you provide
//! 1. A file that `model.save` has written.
//! 2. A Burn [`Device`](burn::tensor::Device): enable a backend of Burn in your own `Cargo.toml`.
//! 3. For a prediction one [`Array`] for each input. [`read_arrays`] reads those that NumPy has saved.
//!
//! # What you get
//! A [`Model`], whose [`predict`](Model::predict) gives what Keras's gives, up to rounding. All is
//! computed in `f32`. A [`Plan`] is the same without the weights: it says within milliseconds whether
//! a file can be run, what it takes, and what a prediction costs.
//!
//! ```
//! use burn::tensor::Device;
//! use keras_burn::{Model, read_arrays};
//!
//! # let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/keras/mlp");
//! # let file = |name: &str| folder.join(name);
//! # #[allow(deprecated)]
//! let device = Device::ndarray();
//! let model = Model::read(file("model.keras"), &device)?;
//! let (_, input) = read_arrays(file("input.npy"))?.remove(0);
//! let (_, expected) = read_arrays(file("expected.npy"))?.remove(0);
//! let output = model.predict(&[input])?.remove(0);
//! for (o, e) in output.values().iter().zip(expected.values()) {
//!     assert!((o - e).abs() < 1e-5);
//! }
//! # Ok::<(), keras_burn::Error>(())
//! ```
//!
//! # What it is not for
//! - Training, and models with Python code of their own: custom layers, Lambda, subclassed models. A
//!   layer, option or argument that is not supported is refused by name; nothing is ignored that
//!   would change a prediction.
//! - Files that are compressed by hand: weights are read in place.
//! - Systems other than Unix.
//!
//! # How it flows
//! ```text
//!  file ─► config ─► plan ─► model ─► predict
//!  bytes   what is   what    weights
//!          written   runs
//! ```
//! | folder | what is in it |
//! | --- | --- |
//! | `file` | the two formats, HDF5, JSON of bounded size, NumPy's arrays |
//! | `config` | layers with their settings, and the calls between them, as Keras writes them |
//! | `plan` | settings read, calls in order, shapes, types and costs; no weights |
//! | `model` | where the weights of a layer are, and the layers built from them |
//! | `layers`, `operations` | what layers and operations do: a file a family, one table each |
//! | `tensor` | tensors of any rank, their shapes, types and bounds |
//!
//! Files are treated as untrusted input: none makes the crate panic, hang, or exceed its memory bounds.

#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![forbid(unsafe_code)]

pub use array::Array;
pub use error::{Error, Result};
pub use file::read_arrays;
pub use plan::{Input, Plan};
pub use predict::Model;

mod array;
mod config;
mod error;
mod file;
mod layers;
mod model;
mod operations;
mod plan;
mod predict;
mod tensor;
