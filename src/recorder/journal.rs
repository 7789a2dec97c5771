//! The writing end of the journal.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::model::journal::RecordRef;
use crate::recorder::heap::MappedVec;

/// A file of records, one a line. Buffers are mappings of its own, so that writing leaves the heap
/// alone.
pub(crate) struct Lines {
    file: File,
    line: MappedVec<u8>,
}

/// The journal's writing end.
pub(crate) struct Writer(Lines);

impl Writer {
    /// # Errors
    /// If the file cannot be made; an old file is never overwritten.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Lines::create(path).map(Self)
    }

    /// Writes one record as one line, with one call to the system.
    ///
    /// # Errors
    /// If the file cannot be written, or there is no memory for the line.
    pub(crate) fn write(&mut self, record: &RecordRef<'_>) -> io::Result<()> {
        self.0.write(record)
    }
}

impl Lines {
    /// # Errors
    /// If the file cannot be made; an old file is never overwritten.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::options().write(true).create_new(true).open(path)?,
            line: MappedVec::new(),
        })
    }

    /// Writes one record as one line, with one call to the system.
    ///
    /// # Errors
    /// If the file cannot be written, or there is no memory for the line.
    pub(crate) fn write(&mut self, record: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(LineWriter(&mut self.line), record)?;
        LineWriter(&mut self.line).write_all(b"\n")?;
        self.file.write_all(self.line.as_slice())
    }
}

struct LineWriter<'a>(&'a mut MappedVec<u8>);

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.extend_from_slice(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
