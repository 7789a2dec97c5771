//! Whole files: those that Keras wrote predict what Keras predicted, and those that are damaged,
//! hostile or unsupported are an error with the place, never a panic.

mod common;
mod configurations;
mod damage;
mod hostile;
mod meaning;
mod predictions;
