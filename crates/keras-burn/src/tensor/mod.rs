//! Tensors whose rank is known only when a file is read, their shapes, and bounds on their size.

pub(crate) mod budget;
pub(crate) mod dtype;
pub(crate) mod dynamic;
mod elementwise;
mod masked;
pub(crate) mod shape;

pub(crate) use dynamic::{DynTensor, map};
pub(crate) use elementwise::Binary;
pub(crate) use masked::{Mask, Masked};
