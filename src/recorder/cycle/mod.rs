//! The measured process: load, infer and drop in cycles, with a boundary after each.

#[cfg(feature = "cli")]
mod closure;
mod control;
mod dump;
mod marks;
mod quiet;
mod runner;
mod spill;
mod strategies;
mod workload;

#[cfg(feature = "cli")]
pub(crate) use closure::Closure;
pub(crate) use control::{ENV_CONTROL, GO_ON, SEARCH, STOP};
pub(crate) use marks::Marks;
pub(crate) use runner::{
    Auto, Body, DHAT_FILE, JOURNAL, Plan, SPILL, Stopped, check_heap, no_heap, run,
};
pub(crate) use strategies::Strategies;
pub use workload::{Failure, Model, Prediction, Workload};
