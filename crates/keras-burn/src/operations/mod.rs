//! The operations on tensors in a Functional model that are not layers, such as `a + b`, `x * 0.5`
//! or `x[:, 0]`, and those with which Keras computes masks. A logical result is 1 or 0.
//!
//! An operation is an entry in the table of `registry.rs`, by the names that Keras 3 (a class) and
//! Keras 2 (a function of TensorFlow) have for it.

mod index;
mod matmul;
mod operation;
mod rearrange;
mod reduce;
mod registry;
mod request;
mod unary;

pub(crate) use registry::{PlannedOperation, is_supported, read};
pub(crate) use request::is_operand;
