//! The debug information of one executable or shared object, wherever it is.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::PathBuf;

use addr2line::{Context, FrameIter, LookupContinuation, LookupResult};
use gimli::{Dwarf, SectionId};

use super::elf_file::Headers;
use super::room;
use super::section::Reader;
use super::split::Split;
use super::unread::Unread;

/// Looks addresses up in the debug sections.
pub(super) struct DebugInfo {
    /// `None` if they do not parse.
    context: Option<Context<Reader>>,
    split: Split,
    unread: RefCell<Option<Unread>>,
    /// The file that it is of.
    of: PathBuf,
}

impl DebugInfo {
    /// Reads the debug sections of a file. They are those of the file at `of`, which was stripped if it
    /// is another one.
    pub(super) fn read(file: &Headers<'_>, of: PathBuf) -> Self {
        if !room::has_units(file) {
            return Self {
                context: None,
                split: Split::new(vec![of.clone()]),
                unread: RefCell::new(Some(Unread::NoMemory { file: of.clone() })),
                of,
            };
        }
        let unread = RefCell::new(None);
        let Ok(sections) = Dwarf::load(|id: SectionId| {
            // Where variables are is of no use here, and takes much memory.
            let is_used = !matches!(id, SectionId::DebugLoc | SectionId::DebugLocLists);
            let section = match is_used {
                true => file.debug_section(id.name()),
                false => Ok(Reader::empty()),
            };
            Ok::<_, Infallible>(section.unwrap_or_else(|why| {
                unread.borrow_mut().get_or_insert(why);
                Reader::empty()
            }))
        });
        let mut files = vec![of.clone()];
        if file.elf.path != files[0] {
            files.push(file.elf.path.clone());
        }
        Self {
            context: Context::from_dwarf(sections).ok(),
            split: Split::new(files),
            unread,
            of,
        }
    }

    /// The frames at a virtual address, inlined ones first; `None` if there is nothing about it.
    pub(super) fn frames(&self, address: u64) -> Option<FrameIter<'_, Reader>> {
        let context = self.context.as_ref()?;
        if !room::has_look_up() {
            let file = self.of.clone();
            *self.unread.borrow_mut() = Some(Unread::NoMemory { file });
            return None;
        }
        let mut found = context.find_frames(address);
        loop {
            found = match found {
                LookupResult::Output(frames) => return frames.ok(),
                LookupResult::Load { load, continuation } => {
                    continuation.resume(self.split.load(&load))
                }
            };
        }
    }

    /// What could not be read so far.
    pub(super) fn unread(&self) -> Option<Unread> {
        self.unread.borrow().clone().or_else(|| self.split.unread())
    }
}
