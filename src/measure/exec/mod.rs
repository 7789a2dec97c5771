//! One measurement of a program as it is: starts it with the library that records, follows the journals
//! of its processes, and makes the report of the one that ran the cycles.

mod executable;
mod processes;
mod program;
mod suggestions;

use std::path::Path;

pub(crate) use program::{Program, Stop};

use super::measured::Measured;
use super::observer::read_found;
use super::progress::ShowProgress;
use crate::analysis::config::Config;
use crate::analysis::{self, RunContext};
use crate::base::error::Error;
use crate::base::text::count;
use crate::model::end::Ended;
use crate::model::exec::{ExecPlan, Marks};
use crate::model::holders;
use crate::model::journal::{self, PROCESSES};
use processes::{Process, Processes};

/// A measurement to make.
pub(crate) struct ExecRequest {
    pub(crate) program: Program,
    pub(crate) plan: ExecPlan,
    /// The process to report, by its number or by a part of its command line; `None` for the one that
    /// ran the most cycles.
    pub(crate) wanted: Option<String>,
    pub(crate) options: Vec<String>,
    pub(crate) config: Config,
}

/// Runs the program until it ends, or until its cycles are recorded. What was recorded is reported,
/// however it ended.
///
/// # Errors
/// If the program cannot be started or recorded, or no process has reached a boundary.
pub(crate) fn exec(
    mut request: ExecRequest,
    stop: Stop<'_>,
    progress: impl ShowProgress,
) -> Result<Measured, Error> {
    executable::check(request.program.name())?;
    let folder = request.plan.out.clone();
    let mut processes = Processes::create(&folder)?;
    let library = program::write_library(&folder)?;
    let ended = request
        .program
        .run(&request.plan, &library, stop, &mut processes, progress);
    library.remove();
    let (ended, was_asked) = ended?;
    let (mut all, unrecorded) = processes.finish(&request.plan)?;
    let chosen = choose(&all, &unrecorded, &request, &ended)?;
    let folding = std::mem::take(&mut all[chosen].folding);
    let process = &all[chosen];
    let journal = &process.journal;
    request.config.warnings.extend(others(process, &all));
    // The end of the program tells that of the reported process, unless it has completed.
    let is_new = |p: &Process| ended.is_complete() || p.folder != process.folder;
    let killed = all
        .iter()
        .filter(|p| !was_asked && p.cycles() > 0 && is_new(p) && p.was_killed())
        .take(NAMED)
        .map(|p| killed_warning(p, process));
    let killed: Vec<String> = killed.collect();
    request.config.warnings.extend(killed);
    request
        .config
        .warnings
        .extend(unrecorded.into_iter().take(NAMED));
    let with = RunContext {
        ended,
        horizon: request.plan.horizon,
        options: request.options,
        witness: None,
        holder_search: read_found(journal, &process.folder),
        all_holders: false,
        config: request.config,
    };
    let report = analysis::report(journal, folding, with).without_home();
    let kept = keep(process, &folder);
    let mut measured = Measured::new(report, folder);
    if let Err(error) = kept {
        measured.warn_of(&error);
    }
    Ok(measured)
}

/// The index of the process that is reported.
fn choose(
    all: &[Process],
    unrecorded: &[String],
    request: &ExecRequest,
    ended: &Ended,
) -> Result<usize, Error> {
    let name = request.program.name().to_string_lossy().into_owned();
    if all.is_empty() {
        return Err(Error::usage(format!(
            "cannot record {name}: no process of it has loaded the library that records"
        ))
        .hint(
            "it may remove LD_PRELOAD from the environment of the program, or that program may be \
             statically linked, have more rights than its user, or be of another C library than glibc",
        ));
    }
    let is_wanted = |p: &Process| request.wanted.as_ref().is_none_or(|w| p.is_called(w));
    let wanted = all.iter().enumerate().filter(|(_, p)| is_wanted(p));
    let Some((index, process)) = processes::busiest(wanted, &request.plan.marks) else {
        let wanted = request.wanted.as_deref().unwrap_or_default();
        let names: Vec<String> = all.iter().map(Process::name).collect();
        return Err(Error::usage(format!(
            "no process is `{wanted}` by its number or a part of its command line; there were: {}",
            names.join(", ")
        )));
    };
    // One that only waits for another has no work of its own: where time marks the cycles it has some, too.
    let has_no_work = process.cycles() == 0
        || matches!(request.plan.marks, Marks::Every(_)) && process.allocated() == 0;
    let foreign = match request.wanted {
        None if has_no_work => all.iter().find(|p| p.record.foreign_malloc.is_some()),
        _ => Some(process),
    };
    if let Some((process, file)) =
        foreign.and_then(|p| Some((p, p.record.foreign_malloc.as_ref()?)))
    {
        return Err(Error::usage(format!(
            "cannot record {}: it has a `malloc` of its own, in {file}, in whose place that of the \
             library cannot be",
            process.name()
        ))
        .hint("start it without that allocator, if it is one that was preloaded"));
    }
    if let Some(obstacle) = unrecorded.first()
        && request.wanted.is_none()
        && has_no_work
    {
        return Err(Error::usage(obstacle));
    }
    if process.cycles() == 0 {
        let marks = &request.plan.marks;
        return Err(without_boundary(&name, process, all, marks, ended));
    }
    Ok(index)
}

/// The error for a program that has reached no boundary.
fn without_boundary(
    program: &str,
    process: &Process,
    all: &[Process],
    marks: &Marks,
    ended: &Ended,
) -> Error {
    // Of several that have no cycle none is the one that was meant.
    let name = match all {
        [_] => process.name(),
        _ => program.to_owned(),
    };
    let wrong = match marks {
        Marks::None => format!("{name} was recorded, but nothing says where its cycles begin"),
        Marks::Open(pattern) => {
            format!("{name} has not opened a file `{pattern}` twice, so that there is no cycle")
        }
        Marks::Call => {
            format!("{name} has not called `afterdrop_cycle` twice, so that there is no cycle")
        }
        Marks::Function(function) => {
            format!("{name} has not called `{function}` twice, so that there is no cycle")
        }
        Marks::Every(_) => format!("{name} has ended before the first cycle was over"),
    };
    let wrong = match ended.is_complete() {
        true => wrong,
        false => format!("{wrong}; the program {ended}"),
    };
    Error::usage(wrong).hint(suggestions::of(all, marks))
}

/// Processes and programs that are named at most.
const NAMED: usize = 5;

/// The warning on a process that was killed.
fn killed_warning(process: &Process, reported: &Process) -> String {
    let after = count(process.cycles() as u64, "cycle");
    let what = match process.folder == reported.folder {
        true => "the report is of what it had recorded",
        false => "it is not the one that is reported",
    };
    format!("{} was killed after {after}: {what}", process.name())
}

/// Which process is reported, if there were several.
fn others(process: &Process, all: &[Process]) -> Option<String> {
    let others = all
        .iter()
        .filter(|p| p.cycles() > 0 && p.folder != process.folder);
    let mut named: Vec<String> = others
        .clone()
        .take(NAMED)
        .map(|p| format!("{} ran {}", p.name(), count(p.cycles() as u64, "cycle")))
        .collect();
    let more = others.count().saturating_sub(NAMED);
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    (!named.is_empty()).then(|| {
        format!(
            "this is the report of {}; {}: their journals are in the folder `{PROCESSES}`, and \
             `afterdrop report FOLDER --process NUMBER` reads them",
            process.name(),
            named.join(", ")
        )
    })
}

/// Moves the journal of the reported process to the folder of the run, and removes those of processes
/// that ran no cycle.
fn keep(process: &Process, folder: &Path) -> Result<(), Error> {
    let from = process.folder.join(journal::FILE);
    let to = folder.join(journal::FILE);
    std::fs::rename(&from, &to).map_err(|e| Error::io("move the journal to", &to, e))?;
    // The report has all of its content.
    let _ = std::fs::remove_file(process.folder.join(holders::FILE));
    processes::remove_empty(folder);
    Ok(())
}
