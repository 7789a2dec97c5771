//! Errors of a search, which the copy reports by its exit code.

use std::io;

use crate::model::holders::FILE;
use crate::recorder::heap::NoMemory;

/// Why a search failed. The value is the exit code of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SearchError {
    /// The system has refused memory.
    NoMemory = 1,
    /// The records could not be written.
    NotWritten = 2,
    /// `/proc/self/smaps` could not be read.
    NoMappings = 3,
}

impl SearchError {
    const ALL: [Self; 3] = [Self::NoMemory, Self::NotWritten, Self::NoMappings];

    /// The message for an exit code other than 0.
    pub(super) fn message(code: u8) -> String {
        match Self::ALL.into_iter().find(|&error| error as u8 == code) {
            Some(Self::NoMemory) => "the search ran out of memory".into(),
            Some(Self::NotWritten) => format!("cannot write {FILE}"),
            Some(Self::NoMappings) => "cannot read /proc/self/smaps".into(),
            None => format!("the search failed with exit code {code}"),
        }
    }
}

impl From<NoMemory> for SearchError {
    fn from(NoMemory: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<io::Error> for SearchError {
    fn from(_: io::Error) -> Self {
        Self::NotWritten
    }
}
