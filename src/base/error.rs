//! The error type of the crate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::text::{one_line, printable};

/// Why afterdrop could not do what was asked.
///
/// `Display` is one line: what was tried, on what, and what went wrong; then, after `hint:`, what to
/// do. Finding a leak is not an error: see [`Verdict`](crate::Verdict).
///
/// The kinds of errors are private, so that adding one is not a breaking change. Predicates such as
/// [`Error::is_usage`] tell apart what a caller may want to handle.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    hint: Option<String>,
}

enum Kind {
    /// An argument or a setting is invalid.
    Usage(String),
    /// An operation on a file failed.
    Io {
        tried: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A file does not have the expected format.
    Malformed {
        path: PathBuf,
        line: Option<u64>,
        wrong: String,
    },
    /// The measured process could not be started, or has recorded nothing.
    Child(String),
    /// The measured process exited successfully without measuring anything.
    NotBegun,
}

impl Error {
    fn new(kind: Kind) -> Self {
        Self(Box::new(Inner { kind, hint: None }))
    }

    #[cold]
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage(message.into()))
    }

    #[cold]
    pub(crate) fn io(tried: &'static str, path: &Path, source: io::Error) -> Self {
        let hint = hint_for(&source);
        let error = Self::new(Kind::Io {
            tried,
            path: path.into(),
            source,
        });
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    #[cold]
    pub(crate) fn malformed(path: &Path, line: Option<u64>, wrong: impl Into<String>) -> Self {
        Self::new(Kind::Malformed {
            path: path.into(),
            line,
            wrong: wrong.into(),
        })
    }

    #[cold]
    pub(crate) fn child(what: impl Into<String>) -> Self {
        Self::new(Kind::Child(what.into()))
    }

    /// The measured process cannot be started, or something that it needs.
    #[cold]
    pub(crate) fn unstarted(what: &str, source: &io::Error) -> Self {
        let error = Self::child(format!("cannot {what}: {source}"));
        match hint_for(source) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    #[cold]
    pub(crate) fn not_begun() -> Self {
        Self::new(Kind::NotBegun)
    }

    /// True if the disk or the user's share of it is full.
    pub(crate) fn is_full_disk(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let Kind::Io { source, .. } = &self.0.kind else {
            return false;
        };
        matches!(source.kind(), StorageFull | QuotaExceeded)
    }

    /// True if the measured process exited successfully without measuring anything.
    pub(crate) fn is_not_begun(&self) -> bool {
        matches!(self.0.kind, Kind::NotBegun)
    }

    /// Adds what the user can do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// True if the measured process could not be started, or has recorded nothing that could be
    /// reported. The command then exits with 3 instead of 2.
    pub fn is_child(&self) -> bool {
        matches!(self.0.kind, Kind::Child(_) | Kind::NotBegun)
    }

    /// True if an argument or a setting is invalid, such as an unknown workload or too few cycles.
    pub fn is_usage(&self) -> bool {
        matches!(self.0.kind, Kind::Usage(_))
    }
}

/// What to do about an error that is not about the file that it is reported for.
fn hint_for(source: &io::Error) -> Option<&'static str> {
    let has_too_many_files = matches!(source.raw_os_error()?, libc::EMFILE | libc::ENFILE);
    has_too_many_files.then_some("raise the limit on open files (`ulimit -n`)")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Paths, names and messages of parsers repeat what is in files of others.
        f.write_str(&printable(&one_line(&self.message())))
    }
}

impl Error {
    fn message(&self) -> String {
        let message = match &self.0.kind {
            Kind::Usage(message) | Kind::Child(message) => message.clone(),
            Kind::NotBegun => "the measured process exited without measuring anything".into(),
            Kind::Io {
                tried,
                path,
                source,
            } => format!("cannot {tried} {}: {source}", path.display()),
            Kind::Malformed { path, line, wrong } => match line {
                Some(line) => format!("{}:{line}: {wrong}", path.display()),
                None => format!("{}: {wrong}", path.display()),
            },
        };
        match &self.0.hint {
            Some(hint) => format!("{message}; hint: {hint}"),
            None => message,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `unwrap` in a test prints this: the message is more useful there than the fields.
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            Kind::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_a_hint() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let error = Error::io("read", Path::new("m.bpk"), missing).hint("create it with `x`");
        assert_eq!(
            error.to_string(),
            "cannot read m.bpk: entity not found; hint: create it with `x`"
        );
        assert!(!error.is_child() && !error.is_usage());
        let error = Error::malformed(Path::new("j"), Some(3), "cut off");
        assert_eq!(error.to_string(), "j:3: cut off");
    }

    #[test]
    fn what_an_error_repeats_cannot_move_the_cursor() {
        let wrong = "unknown variant `\u{1b}[2Jx\n\u{202e}y`";
        let error = Error::malformed(Path::new("\u{7}j"), None, wrong);
        assert_eq!(
            error.to_string(),
            "\u{fffd}j: unknown variant `\u{fffd}[2Jx \u{fffd}y`"
        );
    }
}
