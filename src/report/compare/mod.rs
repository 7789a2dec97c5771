//! Two runs compared: which call sites are new, fixed or changed, and how memory and time changed.
//!
//! Call sites are matched by their fingerprint, which is made of functions and files without lines,
//! and where that changed by the function and file of the blame frame. So a call site may move to
//! another line.

mod comparison;
mod figures;
mod matching;
#[cfg(test)]
mod tests;
mod text;

pub use comparison::{Became, Change, Comparison, Figure, SCHEMA};
pub use matching::compare;
pub use text::render;
