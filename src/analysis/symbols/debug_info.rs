//! The debug information of one executable or shared object, wherever it is.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::PathBuf;
use std::rc::Rc;

use addr2line::{Context, FrameIter, LookupContinuation, LookupResult};
use gimli::{Dwarf, SectionId};

use super::elf_file::{ENDIAN, Headers, Reader};
use super::split::Split;
use super::unread::Unread;

/// Looks addresses up in the debug sections.
pub(super) struct DebugInfo {
    /// `None` if they do not parse.
    context: Option<Context<Reader>>,
    split: Split,
    unread: Option<Unread>,
}

impl DebugInfo {
    /// Reads the debug sections of a file. They are those of the file at `of`, which was stripped if it
    /// is another one.
    pub(super) fn read(file: &Headers<'_>, of: PathBuf) -> Self {
        let unread = RefCell::new(None);
        let empty = || Reader::new(Rc::from([]), ENDIAN);
        let Ok(sections) = Dwarf::load(|id: SectionId| {
            // Where variables are is of no use here, and takes much memory.
            let is_used = !matches!(id, SectionId::DebugLoc | SectionId::DebugLocLists);
            let section = match is_used {
                true => file.debug_section(id.name()),
                false => Ok(empty()),
            };
            Ok::<_, Infallible>(section.unwrap_or_else(|why| {
                unread.borrow_mut().get_or_insert(why);
                empty()
            }))
        });
        let mut files = vec![of];
        if file.elf.path != files[0] {
            files.push(file.elf.path.clone());
        }
        Self {
            context: Context::from_dwarf(sections).ok(),
            split: Split::new(files),
            unread: unread.into_inner(),
        }
    }

    /// The frames at a virtual address, inlined ones first; `None` if there is nothing about it.
    pub(super) fn frames(&self, address: u64) -> Option<FrameIter<'_, Reader>> {
        let mut found = self.context.as_ref()?.find_frames(address);
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
        self.unread.clone().or_else(|| self.split.unread())
    }
}
