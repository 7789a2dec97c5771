//! Writes records to files, one JSON object a line, without allocating from the heap.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_core::Serialize;

use crate::base::files::Limited;
use crate::model::journal::{NUMBER_START, RecordRef, sum_of};
use crate::recorder::heap::{self, MappedVec};

/// A file in the JSON Lines format. Lines are built in a mapping outside of the heap.
pub(crate) struct JsonLines {
    file: Limited,
    line: MappedVec<u8>,
}

/// The journal, which the parent reads while it is written.
///
/// Only the process that has created it writes it: a copy that was forked in a cycle ends when it would
/// write. If the program closes all descriptors and opens files of its own, the journal is opened again,
/// so that none of them gets its lines.
pub(crate) struct Writer {
    lines: JsonLines,
    path: PathBuf,
    /// The device and the number of the file.
    identity: (u64, u64),
    process: u32,
    /// Lines so far.
    written: u64,
}

impl Writer {
    /// # Errors
    /// If the file cannot be created, or exists already.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let lines = JsonLines::create(path)?;
        Ok(Self {
            identity: identity(lines.file.file())?,
            lines,
            path: path.into(),
            process: std::process::id(),
            written: 0,
        })
    }

    /// Writes a record; see [`JsonLines::write`]. Ends the process if it is a copy of the one that has
    /// created the journal.
    ///
    /// # Errors
    /// If the file cannot be written or was replaced, or there is no memory for the line.
    pub(crate) fn write(&mut self, record: &RecordRef<'_>) -> io::Result<()> {
        if std::process::id() != self.process {
            // SAFETY: `_exit` has no preconditions. Unlike `exit` it runs nothing that belongs to the
            // original process (test: `a_forked_copy_writes_nothing`).
            unsafe { libc::_exit(0) };
        }
        if identity(self.lines.file.file()).ok() != Some(self.identity) {
            self.open_again()?;
        }
        self.lines.set(record)?;
        self.written += 1;
        self.lines.seal(self.written)?;
        self.lines.write_line()
    }

    /// Opens the journal again, and leaves the descriptor so far to the program.
    fn open_again(&mut self) -> io::Result<()> {
        let _paused = heap::pause();
        let file = File::options().append(true).open(&self.path)?;
        let file = out_of_the_way(file);
        if identity(&file)? != self.identity {
            return Err(io::Error::other("it was replaced by another file"));
        }
        // Closing it would close a file of the program.
        let _ = self.lines.file.replace(file).into_raw_fd();
        Ok(())
    }
}

/// The file under a descriptor that is higher than those that the program gets: it may count on their numbers. The
/// file as it is, if there is none.
fn out_of_the_way(file: File) -> File {
    const LOWEST: libc::rlim_t = 1000;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes the local variable.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let lowest = LOWEST.min(limit.rlim_cur / 2) as libc::c_int;
    // SAFETY: makes a descriptor for an open file, and accesses no memory.
    let high = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    match high {
        -1 => file,
        // SAFETY: the descriptor was just made, and nothing else owns it
        // (tests/exec_processes.rs: `a_program_sees_what_it_sees_without_the_recorder`).
        high => unsafe { File::from_raw_fd(high) },
    }
}

/// The device and the number of an open file.
fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

impl JsonLines {
    /// # Errors
    /// If the file cannot be created, or exists already.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().append(true).create_new(true).open(path)?;
        Ok(Self {
            file: Limited::new(out_of_the_way(file)),
            line: MappedVec::new(),
        })
    }

    /// Writes a record as a line, with one system call: if the process is killed, only the last line can
    /// be incomplete.
    ///
    /// # Errors
    /// If the file cannot be written, or there is no memory for the line.
    pub(crate) fn write(&mut self, record: &impl Serialize) -> io::Result<()> {
        self.set(record)?;
        self.write_line()
    }

    /// Makes a record the line.
    fn set(&mut self, record: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        Ok(serde_json::to_writer(LineBuffer(&mut self.line), record)?)
    }

    /// Puts the number and the checksum of the line in the place of its last byte, the closing brace.
    fn seal(&mut self, number: u64) -> io::Result<()> {
        let length = self.line.as_slice().len();
        self.line.truncate(length - 1);
        LineBuffer(&mut self.line).write_all(NUMBER_START)?;
        write!(LineBuffer(&mut self.line), "{number}")?;
        let sum = sum_of(self.line.as_slice());
        LineBuffer(&mut self.line).write_all(&sum)
    }

    fn write_line(&mut self) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::private_folder;
    use crate::model::journal::{Record, Waiting};
    use std::fs;
    use std::os::fd::AsRawFd;

    const RECORD: RecordRef<'static> = Record::Waiting(Waiting { cycle: 1 });

    #[test]
    fn a_forked_copy_writes_nothing() {
        let path = private_folder::unpredictable_path();
        let mut writer = Writer::create(&path).unwrap();
        writer.write(&RECORD).unwrap();
        writer.process += 1;
        // SAFETY: the copy only writes a record, which allocates nothing, and ends.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            let _ = writer.write(&RECORD);
            // SAFETY: see above. It is not reached.
            unsafe { libc::_exit(1) };
        }
        let mut status = 0;
        // SAFETY: `status` is valid for writes.
        assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
        assert_eq!(status, 0, "the copy has ended in `write`");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_has_taken_the_descriptor_gets_no_lines() {
        let [path, other] = [(); 2].map(|()| private_folder::unpredictable_path());
        let mut writer = Writer::create(&path).unwrap();
        writer.write(&RECORD).unwrap();
        let taken = File::create(&other).unwrap();
        let descriptor = writer.lines.file.file().as_raw_fd();
        // SAFETY: both descriptors are open; the second one becomes a copy of the first.
        let copy = unsafe { libc::dup2(taken.as_raw_fd(), descriptor) };
        assert_eq!(copy, descriptor);
        writer.write(&RECORD).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(fs::metadata(&other).unwrap().len(), 0);
        // SAFETY: the descriptor is the copy, which nothing owns any more, and which must still be open.
        assert_eq!(unsafe { libc::close(descriptor) }, 0);
        fs::remove_file(path).unwrap();
        fs::remove_file(other).unwrap();
    }

    #[test]
    fn a_journal_that_was_replaced_is_an_error() {
        let [path, other] = [(); 2].map(|()| private_folder::unpredictable_path());
        let mut writer = Writer::create(&path).unwrap();
        let taken = File::create(&other).unwrap();
        fs::rename(&other, &path).unwrap();
        let descriptor = writer.lines.file.file().as_raw_fd();
        // SAFETY: as in the test above.
        unsafe { libc::dup2(taken.as_raw_fd(), descriptor) };
        let error = writer.write(&RECORD).unwrap_err();
        assert!(error.to_string().contains("replaced"), "{error}");
        fs::remove_file(path).unwrap();
    }
}
