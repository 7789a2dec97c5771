//! The measured process: load, infer and drop in cycles, with a boundary after each.

mod control;
mod dump;
mod marks;
mod quiet;
mod runner;
mod spill;
mod strategies;
mod workload;

pub(crate) use control::{ENV_CONTROL, GO_ON, SEARCH, STOP};
pub(crate) use marks::Marks;
pub(crate) use runner::{
    Auto, Body, DHAT_FILE, JOURNAL, Plan, SPILL, Stopped, check_heap, no_heap, run,
};
pub(crate) use strategies::Strategies;
pub use workload::{Failure, Model, Prediction, Workload};
