//! The cycle loop of the measured process: load, infer and drop again and again, with a census at
//! the boundary after each cycle.

mod allocator_stats;
#[cfg(feature = "cli")]
mod closure;
mod cycle_body;
mod heap_check;
mod idle;
mod panics;
mod phase_tracker;
mod plan;
mod prediction_files;
mod reply_pipe;
pub(crate) mod runner;
mod stack_writer;
mod workload;
mod workload_body;

#[cfg(feature = "live")]
pub(crate) use allocator_stats::jemalloc_bytes;
#[cfg(feature = "cli")]
pub(crate) use closure::Closure;
pub(crate) use cycle_body::{CycleBody, CycleError};
pub(crate) use heap_check::{check_heap, no_heap_error};
pub(crate) use phase_tracker::PhaseTracker;
pub(crate) use plan::received_plan;
pub(crate) use runner::run;
pub use workload::{Failure, Model, Prediction, Workload};
pub(crate) use workload_body::WorkloadBody;
