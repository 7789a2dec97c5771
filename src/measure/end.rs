//! How the measured process ended, by its exit status and its output.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use crate::model::end::{Ended, How};

/// In front of the exit code.
const CODE: &str = "exit code";

/// How a process ended that had this exit status, and wrote this output. `interrupted` is whether the
/// user has interrupted the run.
pub(super) fn of(status: ExitStatus, interrupted: bool, output: &Path) -> Ended {
    if status.success() {
        return Ended::new(How::Completed, None);
    }
    if let Some(signal) = status.signal() {
        if interrupted || signal == libc::SIGINT {
            return Ended::new(How::Interrupted, None);
        }
        let name = signal_name(signal);
        let detail = match last_message(output) {
            Some(line) => format!("by {name} ({line})"),
            None => format!("by {name}"),
        };
        return Ended::new(How::Killed, detail);
    }
    let code = status.code().unwrap_or(-1);
    let detail = match last_message(output) {
        Some(line) => format!("{CODE} {code}: {line}"),
        None => format!("{CODE} {code}"),
    };
    Ended::new(How::Failed, detail)
}

/// Whether a process that ended with this detail has left no message.
pub(super) fn is_silent(detail: &str) -> bool {
    let code = detail.strip_prefix(CODE);
    code.is_some_and(|code| !code.contains(':'))
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGALRM => "SIGALRM",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGIO => "SIGIO",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGPROF => "SIGPROF",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGVTALRM => "SIGVTALRM",
        // By `setrlimit`: for processor time, and for the size of a file.
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return format!("signal {signal}"),
    };
    name.into()
}

/// The last panic message in the output; if there is none, its last informative line.
fn last_message(output: &Path) -> Option<String> {
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
    let message = match lines.iter().rposition(panicked) {
        // The location, and the first line of the message.
        Some(at) => lines[at..].iter().take(2).copied().collect::<Vec<_>>(),
        None => vec![*lines.iter().rev().find(|l| is_informative(l))?],
    };
    let message = message.join(" ");
    Some(message.chars().filter(|c| !c.is_control()).collect())
}

/// Whether a line is not a part of the backtrace and the notes that follow every panic and abort.
fn is_informative(line: &str) -> bool {
    let is_frame = line.starts_with("at ")
        || line
            .split_once(": ")
            .is_some_and(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()));
    let notes = ["note: ", "stack backtrace:", "skipping backtrace"];
    !line.is_empty() && !is_frame && !notes.iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_ends_a_process_has_its_name() {
        let default_is_ignored = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
        let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
        let interrupts = [libc::SIGINT];
        // Linux sends neither: one is of other architectures, the other of a power supply.
        let unused = [libc::SIGSTKFLT, libc::SIGPWR];
        let others = [&default_is_ignored[..], &stops, &interrupts, &unused].concat();
        for signal in (1..32).filter(|signal| !others.contains(signal)) {
            assert!(signal_name(signal).starts_with("SIG"), "{signal}");
        }
        assert_eq!(signal_name(libc::SIGXFSZ), "SIGXFSZ");
        assert_eq!(signal_name(34), "signal 34");
    }

    #[test]
    fn a_backtrace_and_its_notes_are_not_informative() {
        let informative = [
            "memory allocation of 64 bytes failed",
            "warning: 1: late",
            "done",
        ];
        assert!(informative.iter().all(|line| is_informative(line)));
        let not_informative = [
            "",
            "note: run with `RUST_BACKTRACE=1`",
            "stack backtrace:",
            "0: rust_begin_unwind",
            "at ./src/main.rs:3:5",
            "skipping backtrace printing to avoid potential recursion",
        ];
        assert!(!not_informative.iter().any(|line| is_informative(line)));
    }
}
