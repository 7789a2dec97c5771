//! draft
#![deny(missing_docs)]
pub use heap::Heap;
mod heap;
