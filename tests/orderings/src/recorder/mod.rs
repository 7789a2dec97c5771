//! The recorder's shared data, compiled from its own sources. What stands in for the rest is here.

pub mod heap;
pub mod primitive;
