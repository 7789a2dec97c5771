//! draft
#![deny(missing_docs)]
pub use cycle::{Failure, HeapKind, Model, Phase, Prediction, Strategy, Workload};
pub use error::Error;
pub use heap::Heap;
pub use report::Report;
pub use verdict::Verdict;
mod analysis;
mod census;
mod cycle;
mod child;
mod error;
mod heap;
mod journal;
mod names;
mod proc;
pub mod report;
mod statistics;
mod symbols;
mod verdict;
mod witness;
