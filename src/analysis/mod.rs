//! What happens outside the measured process: from the journal to the finished report.
//!
//! The steps, in the order in which data flows:
//! 1. `journal` reads what the recorder wrote.
//! 2. `symbols` turns addresses into frames, and `fold` folds stacks into call sites.
//! 3. `verdict` decides what the series of each call site proves, `process` what grows besides.
//!    `judging` applies both to a run.
//! 4. `holder_search` reads what a holder search found, `holders` assigns it to call sites.
//! 5. `report` puts everything together, with `call_sites`, `profile`, `totals`, `summary` and
//!    `warnings`.
//!
//! `config` and `allow` are the leaks that a project knows about, `limits` what a check allows,
//! `witness` the comparison with dhat, and `jemalloc_change` that of jemalloc's own statistics.

pub(crate) mod allow;
mod balance;
mod call_sites;
pub(crate) mod config;
mod crates;
mod fold;
mod holder_names;
pub(crate) mod holder_search;
mod holders;
pub(crate) mod jemalloc_change;
pub(crate) mod journal;
mod judging;
pub(crate) mod limits;
mod live;
mod objects;
mod peak;
mod pools;
pub(crate) mod process;
mod profile;
mod report;
pub(crate) mod sampling;
mod summary;
mod symbols;
mod toml_table;
mod totals;
pub(crate) mod verdict;
mod warnings;
pub(crate) mod witness;

pub(crate) use fold::Folding;
pub(crate) use judging::{call_lost, criteria, judge};
pub(crate) use report::{RunContext, report};
#[cfg(feature = "live")]
pub(crate) use symbols::Identity;
