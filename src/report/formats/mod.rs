//! The report for other readers: browsers, profilers, CI systems, spreadsheets. One file a format.
//!
//! Names, paths and messages in a report are untrusted. [`render`] removes control characters from
//! all of them, and each format escapes its own syntax.

mod collapsed;
pub mod compare;
mod csv;
mod dhat;
mod flame;
mod format;
mod html;
mod interned;
mod jeprof;
mod junit;
mod markdown;
mod markup;
mod openmetrics;
mod pprof;
mod sarif;
mod schema;
mod speedscope;
#[cfg(test)]
mod tests;
mod write;

pub use flame::difference as flame_of_difference;
pub use format::Format;
pub use html::strategies as strategies_page;
pub use schema::schema;
pub use write::render;
