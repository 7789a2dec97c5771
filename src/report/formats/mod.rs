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
pub(crate) mod gauges;
mod html;
pub(crate) mod interned;
mod jeprof;
mod junit;
mod markdown;
mod markup;
mod openmetrics;
mod pprof;
pub(crate) mod profile_message;
mod sarif;
mod schema;
mod speedscope;
#[cfg(test)]
mod tests;
mod write;

pub use flame::difference as flame_of_difference;
pub use format::Format;
#[cfg(feature = "live")]
pub(crate) use html::note_page;
pub use html::strategies as strategies_page;
pub use schema::schema;
pub use write::render;
