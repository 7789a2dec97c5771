//! The report as a single HTML file, which needs no network, and no script to be read.
//!
//! Charts are SVG that is drawn here, and call sites are `details`. The script filters and sorts call
//! sites, and draws those beyond the first few hundred, which are in the page as data.

mod call_sites;
mod charts;
mod peak;
mod run;
mod shell;
mod strategies;

pub(super) use run::render;
#[cfg(feature = "live")]
pub(crate) use shell::note_page;
pub(super) use shell::page;
pub use strategies::strategies;
