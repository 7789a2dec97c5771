//! The command in the measured process: runs the cycles.

use super::input::find_workload;
use super::outcome::Outcome;
use crate::base::error::Error;
use crate::model::plan::{Plan, Subject, WorkloadPlan};
use crate::recorder::cycle::{self, Failure, WorkloadBody};
use crate::workloads::Entry;

/// Runs the cycles of a plan. Writes the journal, and the files of jemalloc or dhat.
///
/// # Errors
/// If the workload cannot be created, or the journal cannot be written.
pub(super) fn run(plan: &Plan, workloads: &[Entry]) -> Result<Outcome, Error> {
    let WorkloadPlan {
        name,
        settings,
        infer,
    } = match &plan.subject {
        Subject::Workload(workload) => workload,
        Subject::Check(key) => {
            return Err(Error::usage(format!(
                "cannot run the check `{key}`: this program calls `afterdrop::main` before it"
            )));
        }
        Subject::Program(command) => {
            return Err(Error::usage(format!(
                "cannot run the program `{command}` as a workload"
            )));
        }
    };
    cycle::check_heap(plan.heap)?;
    let workload = find_workload(workloads, name)?;
    let workload = workload.make(settings).map_err(|e| not_created(name, e))?;
    let unwritable = |e| Error::io("write the journal in", &plan.out, e);
    let mut body = WorkloadBody::new(workload, plan, *infer).map_err(unwritable)?;
    let is_complete = cycle::run(plan, &mut body).map_err(unwritable)?;
    Ok(match is_complete {
        true => Outcome::Clean,
        false => Outcome::RunFailed,
    })
}

/// The error for a workload that could not be created.
fn not_created(name: &str, failure: Failure) -> Error {
    match failure.downcast::<Error>() {
        Ok(error) => *error,
        Err(failure) => Error::usage(format!("cannot create the workload `{name}`: {failure}")),
    }
}
