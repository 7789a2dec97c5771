//! Files on disk: the two formats in which Keras stores a model, and NumPy's arrays.

mod archive;
mod container;
mod h5;
mod json;
mod npy;

pub(crate) use container::{Container, Format};
pub(crate) use h5::names;
pub use npy::read_arrays;
