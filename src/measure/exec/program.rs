//! Starts the program, and waits for its end.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::processes::{Processes, State};
use crate::base::error::Error;
use crate::base::private_folder;
use crate::measure::child::processes_with;
use crate::measure::end;
use crate::measure::progress::ShowProgress;
use crate::model::end::{Ended, How};
use crate::model::exec::{ENV_EXEC, ExecPlan};
use crate::model::python::ENV_ALLOCATOR;

/// The name of the library in the folder of a run.
const LIBRARY: &str = "libafterdrop.so";

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Time between two looks at the journals.
const READ_INTERVAL: Duration = Duration::from_millis(200);

/// The part of the time that looks at the programs of all processes take, at most.
const LOOK_FRACTION: u32 = 100;

/// How long a program has to end by itself after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// The program to start.
pub(crate) struct Program {
    /// Its name and its arguments; not empty.
    pub(crate) command: Vec<OsString>,
    /// Time after which it is ended; `None` for none.
    pub(crate) timeout: Option<Duration>,
}

/// Flags that signals to the command set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop<'a> {
    /// By the terminal, which has sent the signal to the program, too.
    pub(crate) interrupted: &'a AtomicBool,
    /// By a signal that the program did not get.
    pub(crate) terminated: &'a AtomicBool,
}

/// Why the program was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// All cycles were recorded.
    Done,
    Interrupted,
    TimedOut,
}

impl Program {
    pub(crate) fn name(&self) -> &OsStr {
        self.command
            .first()
            .map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Runs the program until it ends. It is asked to end when all cycles are recorded, when the command is,
    /// and at the time-out, and is killed if it does not. Returns how it ended, and whether it was asked to.
    ///
    /// # Errors
    /// If it cannot be started or waited for, or a journal cannot be read.
    pub(super) fn run(
        &self,
        plan: &ExecPlan,
        library: &Library,
        stop: Stop<'_>,
        processes: &mut Processes,
        mut progress: impl ShowProgress,
    ) -> Result<(Ended, bool), Error> {
        let name = self.name().to_string_lossy();
        let mut child = self
            .command(plan, library)?
            .spawn()
            .map_err(|e| Error::usage(format!("cannot start {name}: {e}")))?;
        let started = Instant::now();
        let mut asked: Option<(Reason, Instant)> = None;
        let (mut next_read, mut look) = (started, Look(started + POLL_INTERVAL));
        let mut state = State::default();
        let (mut status, mut is_told) = (None, false);
        loop {
            if status.is_none() {
                status = child
                    .try_wait()
                    .map_err(|e| Error::child(format!("cannot wait for {name}: {e}")))?;
                if status.is_some() {
                    next_read = started;
                }
            }
            let reads = Instant::now() >= next_read;
            if reads {
                next_read = Instant::now() + READ_INTERVAL;
                state = processes.poll(plan, progress.is_shown()).inspect_err(|_| {
                    let _ = child.kill();
                    let _ = child.wait();
                })?;
                show(&mut progress, &state);
            }
            // It may have forked away: then its cycles are in a process that goes on.
            if let Some(status) = status
                && reads
                && !is_left(plan, &state)
            {
                let ended = ended(status, asked.map(|(reason, _)| reason), self.timeout);
                return Ok((ended, asked.is_some()));
            }
            if status.is_some() && !is_told {
                is_told = true;
                eprintln!(
                    "afterdrop: {name} has ended: waiting for the processes that it has left running"
                );
            }
            let child = Some(&child).filter(|_| status.is_none());
            let is_late = self.timeout.is_some_and(|limit| started.elapsed() > limit);
            let why = reason_to_end(stop, state.is_done, is_late).filter(|_| asked.is_none());
            look.look(plan, processes, why.is_some());
            match asked {
                None => {
                    if let Some((_, true)) = why {
                        signal_all(child, plan, libc::SIGTERM);
                    }
                    asked = why.map(|(reason, _)| (reason, Instant::now()));
                }
                Some((_, since)) if since.elapsed() > 2 * GRACE => {
                    signal_all(child, plan, libc::SIGKILL);
                }
                Some((Reason::Interrupted, since)) if since.elapsed() > GRACE => {
                    signal_all(child, plan, libc::SIGTERM);
                }
                _ => {}
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// The command that starts the program.
    fn command(&self, plan: &ExecPlan, library: &Library) -> Result<Command, Error> {
        let text = serialized(plan)?;
        let mut preload = library.path.clone().into_os_string();
        if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|p| !p.is_empty()) {
            preload.push(":");
            preload.push(others);
        }
        let mut command = Command::new(self.name());
        command
            .args(self.command.get(1..).unwrap_or_default())
            .env("LD_PRELOAD", preload)
            .env(ENV_EXEC, text);
        // Python's own allocator takes large blocks for many objects.
        if std::env::var_os(ENV_ALLOCATOR).is_none() {
            command.env(ENV_ALLOCATOR, "malloc");
        }
        // SAFETY: between fork and exec only async-signal-safe functions may be called. `prctl` is a plain
        // system call (tests/exec.rs: `the_program_does_not_outlive_the_command`).
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        Ok(command)
    }
}

/// Why the program is to end, and whether it has to be told so; `None` if it goes on.
fn reason_to_end(stop: Stop<'_>, is_done: bool, is_late: bool) -> Option<(Reason, bool)> {
    if stop.terminated.load(Relaxed) {
        return Some((Reason::Interrupted, true));
    }
    // The terminal has sent the signal to the program, too.
    if stop.interrupted.load(Relaxed) {
        return Some((Reason::Interrupted, false));
    }
    match (is_late, is_done) {
        (true, _) => Some((Reason::TimedOut, true)),
        (false, true) => Some((Reason::Done, true)),
        (false, false) => None,
    }
}

/// When the programs of all processes are looked at next.
struct Look(Instant);

impl Look {
    /// Looks at them, if it is time to, or if they are to end: soon there is nothing to see.
    fn look(&mut self, plan: &ExecPlan, processes: &mut Processes, is_to_end: bool) {
        let begun = Instant::now();
        if begun < self.0 && !is_to_end {
            return;
        }
        processes.look_at(&left(plan));
        self.0 = Instant::now() + READ_INTERVAL.max(begun.elapsed() * LOOK_FRACTION);
    }
}

fn serialized(plan: &ExecPlan) -> Result<String, Error> {
    serde_json::to_string(plan)
        .map_err(|e| Error::child(format!("cannot serialize the plan of the run: {e}")))
}

/// Sends a signal to the program, if it has not ended, and to the processes that it has started, which have the
/// plan in their environment.
fn signal_all(child: Option<&Child>, plan: &ExecPlan, signal: i32) {
    if let Some(child) = child {
        // SAFETY: `kill` accesses no memory. The child has not been waited for, so that the system cannot
        // have given its ID to another process.
        unsafe { libc::kill(child.id() as i32, signal) };
    }
    for id in left(plan) {
        // SAFETY: `kill` accesses no memory. The process had the plan of this run a moment ago
        // (tests/exec.rs: `a_program_behind_a_shell_ends_after_the_wanted_cycles`).
        unsafe { libc::kill(id, signal) };
    }
}

fn show(progress: &mut impl ShowProgress, state: &State) {
    if state.cycle > 0 {
        let unsettled = state.unsettled.as_ref();
        let unsettled = unsettled.map(|(n, why)| (*n, why.as_str()));
        progress.show(state.cycle, state.live_bytes, unsettled);
    }
}

/// The processes that have the plan in their environment and run.
fn left(plan: &ExecPlan) -> Vec<i32> {
    let Ok(plan) = serialized(plan) else {
        return Vec::new();
    };
    processes_with(&format!("{ENV_EXEC}={plan}"))
}

/// Whether a process goes on that has the cycles, or that may still have them, after the program has ended.
fn is_left(plan: &ExecPlan, state: &State) -> bool {
    let left = left(plan);
    match state.leader {
        Some(leader) => left.contains(&(leader as i32)),
        None => !left.is_empty(),
    }
}

/// How the program ended. One that was asked to end, or that a user interrupts, has done what it was to
/// do.
fn ended(status: ExitStatus, asked: Option<Reason>, timeout: Option<Duration>) -> Ended {
    match asked {
        Some(Reason::Done | Reason::Interrupted) => Ended::new(How::Completed, None),
        Some(Reason::TimedOut) => {
            let seconds = timeout.unwrap_or_default().as_secs_f32();
            Ended::new(How::TimedOut, format!("exceeded the limit of {seconds} s"))
        }
        // A service is ended in this way.
        None if matches!(status.signal(), Some(libc::SIGINT | libc::SIGTERM)) => {
            Ended::new(How::Completed, None)
        }
        None => end::of(status, false, Path::new("")),
    }
}

/// The library that is loaded into the program.
pub(super) struct Library {
    path: PathBuf,
    /// The folder that was created for it.
    folder: Option<PathBuf>,
}

/// Writes the library to the folder of the run; to a folder for temporary files, if the loader cannot
/// read the path: it takes spaces and colons for separators.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_library(run: &Path) -> Result<Library, Error> {
    let has_separator = |path: &Path| {
        path.as_os_str()
            .as_bytes()
            .iter()
            .any(|b| b" :".contains(b))
    };
    let (to, folder) = match has_separator(run) {
        false => (run.to_owned(), None),
        true => {
            let folder = private_folder::unpredictable_path();
            if has_separator(&folder) {
                return Err(Error::usage(format!(
                    "cannot use the folders {} and {}: the loader takes spaces and colons in the path of \
                     a library for separators",
                    run.display(),
                    folder.display()
                ))
                .hint("name another folder with --out"));
            }
            private_folder::create(&folder)
                .map_err(|e| Error::io("create the folder", &folder, e))?;
            (folder.clone(), Some(folder))
        }
    };
    let path = to.join(LIBRARY);
    std::fs::File::create_new(&path)
        .and_then(|mut file| file.write_all(afterdrop_preload::LIBRARY))
        .inspect_err(|_| drop(std::fs::remove_file(&path)))
        .map_err(|e| Error::io("write", &path, e))?;
    Ok(Library { path, folder })
}

impl Library {
    /// Removes it, after the program has ended. Processes that still run keep it.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
