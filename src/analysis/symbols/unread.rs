//! Why debug information is not read.

use std::fmt;
use std::path::{Path, PathBuf};

/// Debug information that a file has or refers to, and that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// This build does not decompress its sections.
    Compressed {
        file: PathBuf,
        by: &'static str,
    },
    Damaged {
        file: PathBuf,
        section: String,
    },
    /// There is no memory for it.
    NoMemory {
        file: PathBuf,
    },
    /// The file was stripped, and where its debug information is now is not known.
    NotFound {
        file: PathBuf,
        name: String,
    },
    /// What is where the debug information should be belongs to another build.
    OtherBuild {
        file: PathBuf,
        found: PathBuf,
    },
    /// Files of split debug information.
    Split {
        file: PathBuf,
        first: PathBuf,
        others: usize,
    },
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compressed { file, by } => {
                let file = shown(file);
                write!(
                    f,
                    "the debug information of {file} is compressed with {by}, which this build does \
                     not read, so its call sites have functions at best: enable the feature \
                     `compressed-debug` of afterdrop, or run `objcopy --decompress-debug-sections \
                     {file}`"
                )
            }
            Self::Damaged { file, section } => write!(
                f,
                "the debug information of {} cannot be read: its section {section} is damaged, so \
                 its call sites may have no lines: build it again",
                shown(file)
            ),
            Self::NoMemory { file } => write!(
                f,
                "the debug information of {} was not read, because memory is short, so its call sites may \
                 have no lines or no names: raise the limit on the memory of this process (`ulimit -v`)",
                shown(file)
            ),
            Self::NotFound { file, name } => write!(
                f,
                "the debug information of {} was moved to {name}, which is not found beside it, in \
                 .debug there, or in /usr/lib/debug, so its call sites have functions at best: put \
                 it there",
                shown(file)
            ),
            Self::OtherBuild { file, found } => write!(
                f,
                "{} is the debug information of another build of {}, so call sites there have \
                 functions at best: replace it by that of this build",
                shown(found),
                shown(file)
            ),
            Self::Split {
                file,
                first,
                others,
            } => {
                let (file, first) = (shown(file), shown(first));
                let others = match others {
                    0 => String::new(),
                    others => format!(" and {others} more"),
                };
                write!(
                    f,
                    "split debug information of {file} is missing: {first}{others} cannot be read \
                     or belongs to another build, so inlined functions there have no frames, and \
                     lines may be those of functions that were inlined: keep the files where they \
                     were built, or set `split-debuginfo = \"packed\"` for its profile in \
                     Cargo.toml and keep {file}.dwp beside it"
                )
            }
        }
    }
}

/// A path as reports show it: relative to the current folder if it is inside.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let inside = path.strip_prefix(&here).unwrap_or(path);
    inside.to_string_lossy().into_owned()
}
