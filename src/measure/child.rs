//! Starts the executable of this process again as the measured process, and waits for its end.

use std::ffi::{CStr, OsString, c_int};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::end;
use super::memory_limit::MemoryLimit;
use super::run_folder::OUTPUT;
use crate::base::error::Error;
use crate::model::end::{Ended, How};
use crate::model::plan::{ENV_PARENT, ENV_PLAN, Plan};
use crate::recorder::heap;

/// Time between two polls of the child and its journal.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Sets the signal that is sent when an open file is ready, in place of `SIGIO` (fcntl(2)).
const F_SETSIG: c_int = 10;

/// How to start the measured process.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) plan: Plan,
    /// Time after which the child is killed.
    pub(crate) timeout: Duration,
    /// Limit on the memory of the child, in bytes.
    pub(crate) memory_limit: Option<u64>,
    /// Mean number of allocated bytes between two sampled blocks; `None` to record all blocks.
    pub(crate) sample_every: Option<u64>,
}

/// Starts the child and waits for its end, and calls `poll` every few milliseconds. The child is
/// killed once `interrupted` is set, for example by a signal handler.
///
/// # Errors
/// If the child cannot be started or waited for, or `poll` fails.
pub(super) fn run(
    start: &Start,
    interrupted: &AtomicBool,
    mut poll: impl FnMut() -> Result<(), Error>,
) -> Result<Ended, Error> {
    let output = start.plan.out.join(OUTPUT);
    let limit = start.memory_limit.map(MemoryLimit::new);
    let data_limit = limit.as_ref().and_then(MemoryLimit::rlimit_data);
    let unstarted = |e| {
        let program = start.program.display();
        Error::unstarted(&format!("start {program} as the measured process"), &e)
    };
    // The write end is closed when this process ends, however it ends.
    let (parent_ends, _alive) = io::pipe().map_err(unstarted)?;
    let mut command = command(start, &output, data_limit, parent_ends.as_raw_fd())?;
    let mut process = command.spawn().map_err(unstarted)?;
    if let Some(error) = limit.as_ref().and_then(|l| l.apply(process.id()).err()) {
        kill(&mut process, &start.plan);
        return Err(Error::child(format!(
            "cannot limit the memory of the measured process: {error}"
        )));
    }
    let started = Instant::now();
    loop {
        if let Err(error) = poll() {
            kill(&mut process, &start.plan);
            return Err(error);
        }
        let status = process
            .try_wait()
            .map_err(|e| Error::child(format!("cannot wait for the measured process: {e}")))?;
        if let Some(status) = status {
            return Ok(end::of(status, interrupted.load(Relaxed), &output));
        }
        if interrupted.load(Relaxed) {
            kill(&mut process, &start.plan);
            return Ok(Ended::new(How::Interrupted, None));
        }
        if started.elapsed() > start.timeout {
            kill(&mut process, &start.plan);
            let detail = format!("exceeded the limit of {} s", start.timeout.as_secs_f32());
            return Ok(Ended::new(How::TimedOut, detail));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// The command that starts the child. `data_limit` is its `RLIMIT_DATA` in bytes, and `parent_ends` the
/// read end of a pipe whose write end only this process has.
fn command(
    start: &Start,
    output: &Path,
    data_limit: Option<u64>,
    parent_ends: RawFd,
) -> Result<Command, Error> {
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
        // Only `start` decides whether to sample.
        .env_remove(variable(heap::ENV_SAMPLE))
        // A new process group, so that processes that the child starts can be killed with it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors);
    if let Some(every) = start.sample_every {
        command.env(variable(heap::ENV_SAMPLE), every.to_string());
    }
    let replies = plan.replies;
    // SAFETY: between fork and exec only async-signal-safe functions may be called. The closure calls
    // `prctl`, `getpid`, `fcntl` and `setrlimit`, which are plain system calls, and allocates nothing
    // (tests/hostile.rs: `the_child_does_not_outlive_its_parent`).
    unsafe {
        command.pre_exec(move || {
            // The child is killed when its parent dies, even by SIGKILL: by the first signal, which the
            // kernel forgets when the child changes its user, or by the second one, which is sent when
            // the pipe is closed, unless the child has closed its end.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::fcntl(parent_ends, libc::F_SETOWN, libc::getpid());
            libc::fcntl(parent_ends, F_SETSIG, libc::SIGKILL);
            libc::fcntl(parent_ends, libc::F_SETFL, libc::O_ASYNC);
            libc::fcntl(parent_ends, libc::F_SETFD, 0);
            if let Some(descriptor) = replies {
                // Without the close-on-exec flag the child inherits it.
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
        .map_err(|e| Error::child(format!("cannot serialize the plan of the run: {e}")))
}

/// The name of an environment variable as text. All names are literals in ASCII.
fn variable(name: &'static CStr) -> &'static str {
    name.to_str().unwrap_or_default()
}

/// Kills the child and the processes that it has started: those in its group, and those that have left
/// it, as daemons do, but have its plan in their environment.
fn kill(process: &mut Process, plan: &Plan) {
    // SAFETY: `kill` accesses no memory. The child leads its process group and has not been waited
    // for, so that the system cannot have given its ID to another process
    // (tests/check.rs: `the_processes_that_a_check_has_started_are_ended_with_it`).
    unsafe { libc::kill(-(process.id() as i32), libc::SIGKILL) };
    // Both may fail if the child has exited by itself.
    let _ = process.kill();
    let _ = process.wait();
    let with_plan = serialized(plan).map(|plan| format!("{ENV_PLAN}={plan}"));
    for id in with_plan
        .iter()
        .flat_map(|variable| processes_with(variable))
    {
        // SAFETY: `kill` accesses no memory. The process had the plan of this run a moment ago
        // (tests/hostile.rs: `a_daemon_is_ended_with_the_run`).
        unsafe { libc::kill(id, libc::SIGKILL) };
    }
}

/// The processes that have a variable in the environment with which their program was started, as far as
/// that can be read.
pub(super) fn processes_with(variable: &str) -> Vec<i32> {
    let id = |process: fs::DirEntry| {
        let id = process.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(process.path().join("environ")).ok()?;
        let mut variables = environment.split(|&byte| byte == 0);
        let has_it = variables.any(|v| v == variable.as_bytes());
        has_it.then_some(id)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(id).collect()
}

/// The path of this executable, to start it again.
///
/// # Errors
/// If the path is unknown, or the file was deleted or replaced.
pub(crate) fn this_program() -> Result<PathBuf, Error> {
    let program = std::env::current_exe().map_err(|e: io::Error| {
        Error::child(format!("cannot find the executable of this process: {e}"))
    })?;
    if !program.exists() {
        return Err(Error::child(format!(
            "cannot start {} as the measured process: the file was deleted or replaced while it ran",
            program.display()
        ))
        .hint("run it again"));
    }
    Ok(program)
}
