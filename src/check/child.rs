//! A check in the measured process: runs the cycles, and exits.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::sequence;
use crate::base::error::Error;
use crate::model::plan::{Plan, Subject};
use crate::model::report::{FILE, Report};
use crate::recorder::cycle::{self, CycleBody, Failure, Workload, WorkloadBody};

/// The body of the cycle loop, or why it could not be set up.
pub(super) type MadeBody<'a> = Result<Box<dyn CycleBody + 'a>, Error>;

/// Runs the cycles of the check that the plan names, and exits the process. Any other check of the test
/// comes before it, and was measured earlier: its report is read and returned.
///
/// # Errors
/// If the check is inside the cycle of another one, an earlier one has no report, or the cycles cannot
/// be run.
pub(super) fn run_in_child<'a>(
    key: &str,
    plan: Plan,
    body: impl FnOnce(&Plan) -> MadeBody<'a>,
) -> Result<(Report, PathBuf), Error> {
    static RUNNING: AtomicBool = AtomicBool::new(false);
    if RUNNING.load(Relaxed) {
        return Err(Error::usage(format!(
            "cannot run the check `{key}` inside another check's cycle"
        ))
        .hint("move it out of the closure"));
    }
    if !matches!(&plan.subject, Subject::Check(wanted) if wanted == key) {
        let folder = sequence::earlier_folder(&plan.out, key).ok_or_else(|| {
            Error::usage(format!(
                "cannot skip the check `{key}` in the child: the parent did not run it before"
            ))
            .hint("a test must run the same checks in the same order each time")
        })?;
        let report = Report::read(&folder.join(FILE))?;
        return Ok((report, folder));
    }
    RUNNING.store(true, Relaxed);
    cycle::check_heap(plan.heap)?;
    let is_complete = cycle::run(&plan, &mut *body(&plan)?)
        .map_err(|e| Error::io("write the journal in", &plan.out, e))?;
    // The rest of the test runs in the parent only.
    std::process::exit(i32::from(!is_complete))
}

/// The body of the cycle loop for a workload.
pub(super) fn workload_body(
    make: impl FnOnce() -> Result<Box<dyn Workload>, Failure>,
    plan: &Plan,
) -> MadeBody<'static> {
    let workload = make().map_err(|e| Error::usage(format!("cannot create the workload: {e}")))?;
    let body = WorkloadBody::new(workload, plan, true)
        .map_err(|e| Error::io("create a folder in", &plan.out, e))?;
    Ok(Box::new(body))
}
