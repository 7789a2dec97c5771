//! Leak assertions for tests: the test fails, with the report as its message, if memory grows.

#[cfg(feature = "tokio")]
mod asynchronous;
mod builder;
mod child;
mod cycle;
mod failure;
mod folder;
mod run;
mod sequence;
mod test_name;

pub use self::builder::Check;
pub use self::cycle::{Cycle, CycleResult};

#[cfg(feature = "cli")]
pub(crate) use self::folder::output_folder;
