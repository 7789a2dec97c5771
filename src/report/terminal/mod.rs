//! The report as one screen of text.
//!
//! From the top: the verdict, the call sites with the worst first, memory over the run as small
//! charts, what adds up, and the notes.

mod call_sites;
mod label;
mod page;
mod peak;
mod totals;

pub use super::screen::Screen;
pub use page::render;
pub use peak::render_by_crate;
