//! The measured child of the command.

use super::{Outcome, find};
use crate::base::error::Error;
use crate::model::plan::{Plan, Subject};
use crate::recorder::cycle;
use crate::workloads::Entry;

/// Runs the cycles of a plan. Writes nothing but the journal and the heap's own files.
pub(super) fn run(plan: &Plan, workloads: &[Entry]) -> Result<Outcome, Error> {
    let (name, settings, infer) = match &plan.subject {
        Subject::Workload {
            name,
            settings,
            infer,
        } => (name, settings, *infer),
        Subject::Check { key } => {
            return Err(Error::usage(format!(
                "the check `{key}` was to run here, but this program calls `afterdrop::main`"
            )));
        }
    };
    cycle::check_heap(plan.heap)?;
    let workload = find(workloads, name)?.make(settings)?;
    let unwritable = |e| Error::io("write the journal in", &plan.out, e);
    let mut body = cycle::WorkloadBody::new(workload, plan, infer).map_err(unwritable)?;
    let is_complete = cycle::run(plan, &mut body).map_err(unwritable)?;
    Ok(if is_complete {
        Outcome::Clean
    } else {
        Outcome::RunFailed
    })
}
