//! The recorder's shared data, compiled from its own sources. What stands in for the rest is here.

#[allow(dead_code, reason = "only the words of stacks are read here")]
#[path = "../../../../src/recorder/foreign_memory.rs"]
pub mod foreign_memory;
pub mod heap;
pub mod primitive;
