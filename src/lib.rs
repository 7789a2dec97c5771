//! draft
#![deny(missing_docs, missing_debug_implementations)]

pub use cycle::{Failure, HeapKind, Model, Phase, Prediction, Strategy, Workload};
pub use error::Error;
pub use heap::Heap;
pub use report::Report;
pub use verdict::Verdict;

#[cfg(feature = "cli")]
pub use cli::main;

mod analysis;
mod census;
mod child;
#[cfg(feature = "cli")]
mod cli;
mod cycle;
mod error;
mod heap;
mod jemalloc_change;
mod journal;
mod names;
mod proc;
pub mod report;
mod statistics;
mod symbols;
mod verdict;
mod witness;
pub mod workloads;
