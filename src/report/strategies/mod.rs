//! The same workload run with each strategy, side by side, and how each figure grows with the size of
//! the model.

mod comparison;
mod text;

pub use comparison::{Comparison, Row, SCHEMA};
pub use text::render;
