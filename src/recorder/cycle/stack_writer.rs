//! Writes the stacks to the journal, each once and before the first boundary that refers to it.

use std::io;

use crate::base::names::fnv;
use crate::model::block::{NO_STACK, StackId};
use crate::model::journal::{Code, Record, Stack};
use crate::model::python::LOCATION_BIT;
#[cfg(feature = "preload")]
use crate::model::python::{LocationId, PythonLocation};
use crate::recorder::heap::{self, MappedVec};
use crate::recorder::journal::Writer;
use crate::recorder::proc;

/// Writes stacks and the code mappings that their frames are in.
pub(super) struct StackWriter {
    /// Bit set of the stacks that the journal has, by stack ID.
    written: MappedVec<u64>,
    /// The same of the locations of Python's, by number.
    #[cfg(feature = "preload")]
    written_locations: MappedVec<u64>,
    /// Start and end addresses of the code mappings that the journal has, and a hash of their file's path:
    /// another library may get the addresses of one that was closed.
    code: MappedVec<(u64, u64, u64)>,
    /// A library was closed since they were read.
    is_stale: bool,
    /// Buffer for the return addresses of one stack.
    frames: MappedVec<usize>,
    /// Buffer for the text of `/proc/self/maps`.
    text: MappedVec<u8>,
}

impl StackWriter {
    pub(super) const fn new() -> Self {
        Self {
            written: MappedVec::new(),
            #[cfg(feature = "preload")]
            written_locations: MappedVec::new(),
            code: MappedVec::new(),
            is_stale: false,
            frames: MappedVec::new(),
            text: MappedVec::new(),
        }
    }

    /// Writes a stack, and the code mappings that its frames are in, unless the journal has them.
    ///
    /// # Errors
    /// If the journal cannot be written, or no memory can be mapped.
    pub(super) fn write(&mut self, id: StackId, journal: &mut Writer) -> io::Result<()> {
        if id == NO_STACK || !mark(&mut self.written, id)? {
            return Ok(());
        }
        let cut = heap::stack_frames(id, &mut self.frames);
        #[cfg(feature = "preload")]
        self.write_new_locations(journal)?;
        let is_in_written_code = |&address: &usize| {
            if address as u64 & LOCATION_BIT != 0 {
                return true;
            }
            let mut code = self.code.as_slice().iter();
            code.any(|&(start, end, _)| (start..end).contains(&(address as u64)))
        };
        if !self.frames.as_slice().iter().all(is_in_written_code) {
            self.write_new_code(journal)?;
        }
        journal.write(&Record::Stack(Stack {
            id,
            cut,
            stack: self.frames.as_slice(),
        }))
    }

    /// Writes the locations of Python's that the stack in `frames` refers to, unless the journal has them.
    #[cfg(feature = "preload")]
    fn write_new_locations(&mut self, journal: &mut Writer) -> io::Result<()> {
        for &frame in self.frames.as_slice() {
            let id = frame as LocationId;
            if frame as u64 & LOCATION_BIT == 0 || !mark(&mut self.written_locations, id)? {
                continue;
            }
            let Some((end_of_file, line)) = heap::read_python_location(id, &mut self.text) else {
                continue;
            };
            let (file, function) = self.text.as_slice().split_at(end_of_file);
            journal.write(&Record::Python(PythonLocation {
                id,
                file: str::from_utf8(file).unwrap_or_default(),
                function: str::from_utf8(function).unwrap_or_default(),
                line,
            }))?;
        }
        Ok(())
    }

    /// Writes the code mappings that the journal does not have yet, before a library is closed.
    #[cfg(feature = "preload")]
    pub(super) fn write_code_before_closing(&mut self, journal: &mut Writer) -> io::Result<()> {
        self.is_stale = true;
        self.write_new_code(journal)
    }

    /// Writes the code mappings that the journal does not have yet, if a library was closed.
    pub(super) fn write_code_after_closing(&mut self, journal: &mut Writer) -> io::Result<()> {
        match std::mem::take(&mut self.is_stale) {
            true => self.write_new_code(journal),
            false => Ok(()),
        }
    }

    /// Writes the code mappings that the journal does not have yet. `dlopen` adds some while the
    /// process runs.
    fn write_new_code(&mut self, journal: &mut Writer) -> io::Result<()> {
        let code = &mut self.code;
        let mut result = Ok(());
        proc::for_each_code_mapping(&mut self.text, |m| {
            let range = (m.start, m.end, fnv(m.path));
            if result.is_err() || code.as_slice().contains(&range) {
                return;
            }
            result = code.push(range).map_err(io::Error::from).and_then(|()| {
                journal.write(&Record::Code(Code {
                    start: m.start,
                    end: m.end,
                    offset: m.offset,
                    path: m.path.into(),
                }))
            });
        });
        result
    }
}

/// Marks a number in a bit set. Returns `true` if it was not marked before.
fn mark(set: &mut MappedVec<u64>, id: u32) -> io::Result<bool> {
    let (word, bit) = (id as usize / 64, 1_u64 << (id % 64));
    while set.as_slice().len() <= word {
        set.push(0)?;
    }
    let word = &mut set.as_mut_slice()[word];
    let is_new = *word & bit == 0;
    *word |= bit;
    Ok(is_new)
}
