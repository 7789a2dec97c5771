//! Measures a workload in a child process: starts the child, follows its journal, replies at interim
//! analyses, and writes the report after its end. The command and the checks share it.

pub(crate) mod child;
mod end;
#[cfg(feature = "exec")]
mod exec;
mod measured;
pub(crate) mod memory_limit;
mod observer;
mod progress;
mod request;
mod run;
mod run_folder;
#[cfg(any(test, feature = "cli"))]
mod unreported;

#[cfg(feature = "exec")]
pub(crate) use exec::{ExecRequest, Program, Stop, exec};
pub(crate) use request::{Lengths, Request, auto};
pub(crate) use run::measure;
pub(crate) use run_folder::OUTPUT;
#[cfg(all(feature = "exec", feature = "formats"))]
pub(crate) use unreported::folder_of_process;

#[cfg(feature = "cli")]
pub(crate) use {
    measured::Measured,
    progress::ShowProgress,
    run_folder::SCRATCH,
    unreported::{folder_with_journal, report_of},
};
