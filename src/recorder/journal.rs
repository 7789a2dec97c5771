//! Writes records to files, one JSON object a line, without allocating from the heap.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::model::journal::RecordRef;
use crate::recorder::heap::MappedVec;

/// A file in the JSON Lines format. Lines are built in a mapping outside of the heap.
pub(crate) struct JsonLines {
    file: File,
    line: MappedVec<u8>,
}

/// The journal, which the parent reads while it is written.
pub(crate) struct Writer(JsonLines);

impl Writer {
    /// # Errors
    /// If the file cannot be created, or exists already.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        JsonLines::create(path).map(Self)
    }

    /// Writes a record; see [`JsonLines::write`].
    ///
    /// # Errors
    /// If the file cannot be written, or there is no memory for the line.
    pub(crate) fn write(&mut self, record: &RecordRef<'_>) -> io::Result<()> {
        self.0.write(record)
    }
}

impl JsonLines {
    /// # Errors
    /// If the file cannot be created, or exists already.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::options().write(true).create_new(true).open(path)?,
            line: MappedVec::new(),
        })
    }

    /// Writes a record as a line, with one system call: if the process is killed, only the last line can
    /// be incomplete.
    ///
    /// # Errors
    /// If the file cannot be written, or there is no memory for the line.
    pub(crate) fn write(&mut self, record: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(LineBuffer(&mut self.line), record)?;
        LineBuffer(&mut self.line).write_all(b"\n")?;
        self.file.write_all(self.line.as_slice())
    }
}

struct LineBuffer<'a>(&'a mut MappedVec<u8>);

impl Write for LineBuffer<'_> {
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
