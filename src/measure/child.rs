//! The measured child: the same executable started again, watched until it ends.

use std::ffi::{CStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::end;
use super::memory_limit::MemoryLimit;
use crate::base::error::Error;
use crate::model::end::{Ended, How};
use crate::model::plan::{ENV_PARENT, ENV_PLAN, Plan};
use crate::recorder::heap;

/// The file with the output of the child, in the folder of a run.
pub(crate) const OUTPUT: &str = "output.txt";

/// How often the parent reads the journal.
const POLL: Duration = Duration::from_millis(2);

/// How to start the child.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) plan: Plan,
    pub(crate) timeout: Duration,
    /// Bytes of memory that it may have at most.
    pub(crate) memory_limit: Option<u64>,
    /// Records one block in this many bytes; `None` to record all.
    pub(crate) sample_every: Option<u64>,
}

/// Starts the child and waits for its end, calling `watch` every few milliseconds. A signal
/// handler may set `interrupted` to end it early.
///
/// # Errors
/// If the child cannot be started or watched.
pub(crate) fn measure(
    start: &Start,
    interrupted: &AtomicBool,
    mut watch: impl FnMut() -> Result<(), Error>,
) -> Result<Ended, Error> {
    let output = start.plan.out.join(OUTPUT);
    let limit = start.memory_limit.map(MemoryLimit::new);
    let data_limit = limit.as_ref().and_then(MemoryLimit::rlimit_data);
    let mut process = command(start, &output, data_limit)?.spawn().map_err(|e| {
        Error::child(format!(
            "cannot start the measured child {}: {e}",
            start.program.display()
        ))
    })?;
    if let Some(error) = limit.as_ref().and_then(|l| l.apply(process.id()).err()) {
        kill(&mut process);
        return Err(Error::child(format!(
            "cannot limit the memory of the measured child: {error}"
        )));
    }
    let begun = Instant::now();
    loop {
        if let Err(error) = watch() {
            kill(&mut process);
            return Err(error);
        }
        let status = process
            .try_wait()
            .map_err(|e| Error::child(format!("cannot wait for the measured child: {e}")))?;
        if let Some(status) = status {
            return Ok(end::of(status, interrupted.load(Relaxed), &output));
        }
        if interrupted.load(Relaxed) {
            kill(&mut process);
            return Ok(Ended::new(How::Interrupted, None));
        }
        if begun.elapsed() > start.timeout {
            kill(&mut process);
            let detail = format!("took longer than {} s", start.timeout.as_secs_f32());
            return Ok(Ended::new(How::TimedOut, detail));
        }
        std::thread::sleep(POLL);
    }
}

/// The command that starts the child. `data_limit` is for its `RLIMIT_DATA`, in bytes.
fn command(start: &Start, output: &Path, data_limit: Option<u64>) -> Result<Command, Error> {
    let plan = &start.plan;
    let unwritable = |e| Error::io("write", output, e);
    let file = File::create(output).map_err(unwritable)?;
    let errors = file.try_clone().map_err(unwritable)?;
    let mut command = Command::new(&start.program);
    command
        .args(&start.args)
        .env(variable(heap::ENV_HEAP), plan.heap.name())
        .env(ENV_PLAN, serialized(plan)?)
        .env(ENV_PARENT, std::process::id().to_string())
        // `start` decides, not the environment of this process.
        .env_remove(variable(heap::ENV_SAMPLE))
        // A process group of its own, so that what it starts can be killed with it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors);
    if let Some(every) = start.sample_every {
        command.env(variable(heap::ENV_SAMPLE), every.to_string());
    }
    let replies = plan.replies;
    // SAFETY: between fork and exec only `prctl`, `fcntl` and `setrlimit` run, which are bare
    // system calls (tests/run.rs: `the_child_does_not_outlive_its_parent`).
    unsafe {
        command.pre_exec(move || {
            // A killed parent leaves no child behind.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if let Some(descriptor) = replies {
                // The child inherits this one: it is not closed on exec.
                libc::fcntl(descriptor, libc::F_SETFD, 0);
            }
            if let Some(bytes) = data_limit {
                let limit = libc::rlimit {
                    rlim_cur: bytes,
                    rlim_max: bytes,
                };
                if libc::setrlimit(libc::RLIMIT_DATA, &limit) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Ok(command)
}

fn serialized(plan: &Plan) -> Result<String, Error> {
    serde_json::to_string(plan)
        .map_err(|e| Error::child(format!("cannot write the plan of the measured child: {e}")))
}

/// The name of a variable, which is a literal of this crate.
fn variable(name: &'static CStr) -> &'static str {
    name.to_str().unwrap_or_default()
}

/// Ends the child and what it has started.
fn kill(process: &mut Process) {
    // SAFETY: the child leads a group of its own and has not been waited for, so that the number
    // is still its (tests/check.rs: `a_check_that_hangs_is_ended_with_what_it_started`).
    unsafe { libc::kill(-(process.id() as i32), libc::SIGKILL) };
    // It may have ended by itself meanwhile; either way it is gone after the wait.
    let _ = process.kill();
    let _ = process.wait();
}

/// The executable of this process, to be started again.
///
/// # Errors
/// If the system does not tell, or it is gone (deleted while running).
pub(crate) fn this_program() -> Result<PathBuf, Error> {
    let program = std::env::current_exe().map_err(|e: io::Error| {
        Error::child(format!(
            "cannot find this program's file to start it again: {e}"
        ))
    })?;
    if !program.exists() {
        return Err(Error::child(format!(
            "cannot start {} again: it was deleted or replaced while running",
            program.display()
        ))
        .hint("run it again"));
    }
    Ok(program)
}
