//! How a child ended, by its exit status and its output.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use super::child::OUTPUT;
use crate::model::end::{Ended, How};

/// How a child ended that exited with this status.
pub(super) fn of(status: ExitStatus, interrupted: bool, output: &Path) -> Ended {
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

/// The last words of the output: its panic, if there was one, else its last meaningful line.
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
            vec![*lines.iter().rev().find(|l| is_meaningful(l))?]
        }
    };
    let words = words.join(" ");
    Some(words.chars().filter(|c| !c.is_control()).collect())
}

/// Whether a line is more than the backtrace and the notes that follow every panic and abort.
fn is_meaningful(line: &str) -> bool {
    let is_frame = line.starts_with("at ")
        || line
            .split_once(": ")
            .is_some_and(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()));
    let is_about_it = ["note: ", "stack backtrace:", "skipping backtrace"];
    !line.is_empty() && !is_frame && !is_about_it.iter().any(|start| line.starts_with(start))
}

/// Removes the output if it is empty, or only has what dhat prints at its end.
pub(super) fn tidy_output(folder: &Path) {
    let output = folder.join(OUTPUT);
    let is_meaningless = |text: String| text.lines().all(|line| line.starts_with("dhat: "));
    if std::fs::read_to_string(&output).is_ok_and(is_meaningless) {
        // A file that stays does no harm.
        let _ = std::fs::remove_file(&output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_every_abort_is_not_meaningful() {
        let meaningful = [
            "memory allocation of 64 bytes failed",
            "warning: 1: late",
            "done",
        ];
        assert!(meaningful.iter().all(|line| is_meaningful(line)));
        let not_meaningful = [
            "",
            "note: run with `RUST_BACKTRACE=1`",
            "stack backtrace:",
            "0: rust_begin_unwind",
            "at ./src/main.rs:3:5",
            "skipping backtrace printing to avoid potential recursion",
        ];
        assert!(!not_meaningful.iter().any(|line| is_meaningful(line)));
    }
}
