//! The error type of this crate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A result whose error is an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file could not be read as a model, or why a model could not be run.
///
/// `Display` is one line: the file, what is wrong with it, and after a semicolon what to do about
/// it, where that is known. The kinds are private, so that a new one breaks no caller; what a
/// caller may want to tell apart has a predicate.
///
/// # Example: one line, with the file and the cause
/// ```
/// use burn::tensor::Device;
/// use keras_burn::Model;
///
/// # #[allow(deprecated)]
/// let device = Device::ndarray();
/// let error = Model::read("no/such/model.keras", &device).unwrap_err();
/// assert!(error.is_io());
/// assert!(error.to_string().starts_with("cannot read the model no/such/model.keras: "));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    hint: Option<String>,
}

enum Kind {
    /// The system refused an operation on a file.
    Io {
        tried: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The file is damaged, contradicts itself, or holds something that is not supported.
    File { path: PathBuf, what: String },
    /// A prediction on these arrays or shapes is refused.
    Input { path: Option<PathBuf>, what: String },
}

impl Error {
    fn new(kind: Kind) -> Self {
        Self(Box::new(Inner { kind, hint: None }))
    }

    #[cold]
    pub(crate) fn io(tried: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.into();
        Self::new(Kind::Io {
            tried,
            path,
            source,
        })
    }

    #[cold]
    pub(crate) fn file(path: &Path, what: impl Into<String>) -> Self {
        Self::new(Kind::File {
            path: path.into(),
            what: what.into(),
        })
    }

    #[cold]
    pub(crate) fn input(path: Option<&Path>, what: impl Into<String>) -> Self {
        Self::new(Kind::Input {
            path: path.map(Path::to_path_buf),
            what: what.into(),
        })
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// True if the system refused to open or read the file, for example because it does not exist.
    pub fn is_io(&self) -> bool {
        matches!(self.0.kind, Kind::Io { .. })
    }

    /// True if a prediction on the given arrays or shapes is refused: others may be accepted.
    pub fn is_input(&self) -> bool {
        matches!(self.0.kind, Kind::Input { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            Kind::Io {
                tried,
                path,
                source,
            } => write!(f, "cannot {tried} {}: {source}", path.display())?,
            Kind::File { path, what }
            | Kind::Input {
                path: Some(path),
                what,
            } => write!(f, "{}: {what}", path.display())?,
            Kind::Input { path: None, what } => f.write_str(what)?,
        }
        match &self.0.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a test's `unwrap` prints should be the sentence, not the structure.
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            Kind::Io { source, .. } => Some(source),
            Kind::File { .. } | Kind::Input { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_the_file_the_cause_and_the_hint() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let error = Error::io("read the model", Path::new("m.h5"), missing);
        assert_eq!(
            error.to_string(),
            "cannot read the model m.h5: entity not found"
        );
        assert!(error.is_io() && !error.is_input());
        let error = Error::file(Path::new("m.h5"), "is empty").hint("save it again");
        assert_eq!(error.to_string(), "m.h5: is empty; save it again");
        let error = Error::input(None, "2 values cannot have the shape [3]");
        assert_eq!(error.to_string(), "2 values cannot have the shape [3]");
        assert!(error.is_input());
    }
}
