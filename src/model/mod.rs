//! Data that the recorder, the analysis and `report.json` share.

pub(crate) mod block;
pub(crate) mod boundary;
pub(crate) mod end;
#[cfg(any(feature = "exec", feature = "preload"))]
pub(crate) mod exec;
pub(crate) mod frame;
pub(crate) mod holder;
pub(crate) mod holders;
pub(crate) mod journal;
pub(crate) mod layout;
#[cfg(any(feature = "cli", feature = "formats"))]
pub(crate) mod model_file;
pub(crate) mod objects;
pub(crate) mod peak;
pub(crate) mod plan;
pub(crate) mod process;
pub(crate) mod profile;
pub(crate) mod python;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod sampling;
#[cfg_attr(
    not(feature = "cli"),
    expect(
        unreachable_pub,
        reason = "public with the workloads, which the command runs"
    )
)]
pub(crate) mod settings;
pub(crate) mod verdict;
