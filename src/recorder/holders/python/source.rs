//! What holds blocks by the structures of Python's interpreter.

use crate::model::holders::HolderKind;

/// A holder that the structures of the interpreter tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PythonSource {
    /// A module, by its number.
    Module { index: u32 },
    /// A running function, by its number.
    Frame { index: u32 },
    /// Objects that wait for the collector of garbage.
    Garbage,
}

impl PythonSource {
    pub(crate) const fn kind(self) -> HolderKind {
        match self {
            Self::Module { .. } => HolderKind::Module,
            Self::Frame { .. } => HolderKind::Stack,
            Self::Garbage => HolderKind::Garbage,
        }
    }
}
