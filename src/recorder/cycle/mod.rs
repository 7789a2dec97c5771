//! The measured process: load, infer and drop in cycles, with a boundary after each.

mod body;
mod dump;
mod installed;
mod marks;
mod panics;
mod plan;
mod quiet;
mod replies;
mod runner;
mod spill;
mod stacks;
mod strategies;
mod workload;

pub(crate) use body::{Body, Stopped};
pub(crate) use installed::{check_heap, no_heap};
pub(crate) use marks::Marks;
pub(crate) use plan::received;
pub(crate) use runner::run;
pub(crate) use strategies::Strategies;
pub use workload::{Failure, Model, Prediction, Workload};
