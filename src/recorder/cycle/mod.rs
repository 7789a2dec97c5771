//! The measured process: load, infer and drop in cycles, with a boundary after each.

mod body;
mod dump;
mod marks;
mod plan;
mod quiet;
mod replies;
mod runner;
mod spill;
mod strategies;
mod workload;

pub(crate) use body::{Body, Stopped};
pub(crate) use marks::Marks;
pub(crate) use plan::received;
pub(crate) use runner::{check_heap, no_heap, run};
pub(crate) use strategies::Strategies;
pub use workload::{Failure, Model, Prediction, Workload};
