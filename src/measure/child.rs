//! The measured child: the same executable started again, watched until it ends.

use crate::model::end::Ended;
use crate::model::end::How;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::base::error::Error;
use crate::measure::memory_limit::MemoryLimit;
use crate::model::run::HeapKind;
use crate::recorder::cycle::ENV_CONTROL;
use crate::recorder::heap;

/// Environment variable that makes a process the measured child: the folder of its run.
pub(crate) const ENV_OUT: &str = "AFTERDROP_OUT";

/// And the process that started it. What the child starts inherits its environment, and is not
/// meant.
const ENV_PARENT: &str = "AFTERDROP_PARENT";

/// What the child prints, in the folder of a run.
pub(crate) const OUTPUT: &str = "output.txt";

/// How often the parent looks.
const POLL: Duration = Duration::from_millis(2);

/// How to start the child.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) heap: HeapKind,
    pub(crate) out: PathBuf,
    pub(crate) timeout: Duration,
    /// What the child reads its parent's answers from, if it waits for any.
    pub(crate) control: Option<Arc<OwnedFd>>,
    /// Most bytes of memory that it may have.
    pub(crate) memory_limit: Option<u64>,
    /// More variables of its environment.
    pub(crate) more: Vec<(&'static str, String)>,
}

/// Starts the child and waits for its end, calling `watch` every few milliseconds. Set
/// `interrupted` from a signal handler to end it early.
///
/// # Errors
/// If the child cannot be started or watched.
pub(crate) fn measure(
    start: &Start,
    interrupted: &AtomicBool,
    mut watch: impl FnMut() -> Result<(), Error>,
) -> Result<Ended, Error> {
    let output = start.out.join(OUTPUT);
    let file = File::create(&output).map_err(|e| Error::io("write", &output, e))?;
    let errors = file
        .try_clone()
        .map_err(|e| Error::io("write", &output, e))?;
    let mut command = Command::new(&start.program);
    command
        .args(&start.args)
        .env(heap_variable(), start.heap.name())
        .env(ENV_OUT, &start.out)
        .env(ENV_PARENT, std::process::id().to_string())
        // Asked for by an option, or not at all.
        .env_remove(sample_variable())
        .envs(start.more.iter().map(|(name, value)| (name, value)))
        // A group of its own, so that what it starts can be ended with it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors);
    let control = start.control.as_ref().map(|fd| fd.as_raw_fd());
    if let Some(fd) = control {
        command.env(ENV_CONTROL, fd.to_string());
    }
    let limit = start.memory_limit.map(MemoryLimit::of);
    let data_limit = limit.as_ref().and_then(MemoryLimit::data);
    // SAFETY: between fork and exec only `prctl`, `fcntl` and `setrlimit` run, bare system calls
    // (tests/hostile.rs: `the_child_does_not_outlive_its_parent`).
    unsafe {
        command.pre_exec(move || {
            // So that a killed parent leaves no child behind.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if let Some(fd) = control {
                // The child keeps this one.
                libc::fcntl(fd, libc::F_SETFD, 0);
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
    let mut process = command.spawn().map_err(|e| {
        Error::child(format!(
            "cannot start the measured child {}: {e}",
            start.program.display()
        ))
    })?;
    if let Some(error) = limit.as_ref().and_then(|l| l.take_in(process.id()).err()) {
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
            return Ok(ended(status, interrupted.load(Relaxed), &output));
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

fn heap_variable() -> &'static str {
    // The name is a literal of this crate.
    heap::ENV_HEAP.to_str().unwrap_or_default()
}

/// The variable that has the child record one block in so many bytes.
pub(crate) fn sample_variable() -> &'static str {
    // As above.
    heap::ENV_SAMPLE.to_str().unwrap_or_default()
}

/// Ends the child and what it has started.
fn kill(process: &mut Process) {
    // SAFETY: the child leads a group of its own and has not been waited for, so that the number
    // is still its (tests/check/ends.rs:
    // `the_processes_that_a_check_has_started_are_ended_with_it`).
    unsafe { libc::kill(-(process.id() as i32), libc::SIGKILL) };
    // It may have ended by itself meanwhile; either way it is gone after the wait.
    let _ = process.kill();
    let _ = process.wait();
}

fn ended(status: ExitStatus, interrupted: bool, output: &Path) -> Ended {
    if status.success() {
        return Ended::new(How::Completed, None);
    }
    if let Some(signal) = status.signal() {
        if interrupted || signal == libc::SIGINT {
            return Ended::new(How::Interrupted, None);
        }
        let name = signal_name(signal);
        let detail = match last_words(output) {
            Some(line) => format!("by {name} ({line})"),
            None => format!("by {name}"),
        };
        return Ended::new(How::Killed, detail);
    }
    let code = status.code().unwrap_or(-1);
    let detail = match last_words(output) {
        Some(line) => format!("exit code {code}: {line}"),
        None => format!("exit code {code}"),
    };
    Ended::new(How::Failed, detail)
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGTERM => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    name.into()
}

/// What the child said last: its panic, if there was one, else its last line that says something.
fn last_words(output: &Path) -> Option<String> {
    const TAIL: u64 = 16 << 10;
    let mut file = File::open(output).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let panicked = |line: &&str| line.starts_with("thread ") && line.contains(" panicked at ");
    let words = match lines.iter().rposition(panicked) {
        Some(at) => lines[at..].iter().take(2).copied().collect::<Vec<_>>(),
        None => {
            vec![*lines.iter().rev().find(|l| says_something(l))?]
        }
    };
    let words = words.join(" ");
    Some(words.chars().filter(|c| !c.is_control()).collect())
}

/// Whether a line is more than what comes with every panic or abort: a backtrace, and notes on it.
fn says_something(line: &str) -> bool {
    let is_frame = line.starts_with("at ")
        || line
            .split_once(": ")
            .is_some_and(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()));
    let is_about_it = ["note: ", "stack backtrace:", "skipping backtrace"];
    !line.is_empty() && !is_frame && !is_about_it.iter().any(|start| line.starts_with(start))
}

/// Removes what the child printed, if it says nothing: it is empty, or dhat speaks of itself.
pub(crate) fn tidy_output(folder: &Path) {
    let output = folder.join(OUTPUT);
    let says_nothing = |text: String| text.lines().all(|line| line.starts_with("dhat: "));
    if std::fs::read_to_string(&output).is_ok_and(says_nothing) {
        // If it does not go, it is still only what was printed.
        let _ = std::fs::remove_file(&output);
    }
}

/// The folder of this process's run, if it is a measured child.
pub(crate) fn measured_in() -> Option<PathBuf> {
    let parent = std::env::var(ENV_PARENT).ok()?;
    let is_meant = parent.parse() == Ok(std::os::unix::process::parent_id());
    std::env::var_os(ENV_OUT)
        .filter(|_| is_meant)
        .map(PathBuf::from)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_with_every_abort_says_nothing() {
        let said = [
            "memory allocation of 64 bytes failed",
            "warning: 1: late",
            "done",
        ];
        assert!(said.iter().all(|line| says_something(line)));
        let comes_with_it = [
            "",
            "note: run with `RUST_BACKTRACE=1`",
            "stack backtrace:",
            "0: rust_begin_unwind",
            "at ./src/main.rs:3:5",
            "skipping backtrace printing to avoid potential recursion",
        ];
        assert!(!comes_with_it.iter().any(|line| says_something(line)));
    }
}
