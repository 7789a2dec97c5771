//! Symbolization: from return addresses to functions, files and lines, inlined frames included; and
//! the *blame frame* of a stack, which is the one that a person would go and edit.
//!
//! `addr2line` reads the DWARF of the measured executable and of the shared objects that it used.
//! It was chosen over blazesym because it has fewer dependencies (no second unwinder, no C), is
//! what the standard library itself uses, and gives inlined frames.
//!
//! | file | content |
//! | --- | --- |
//! | `symbolizer` | looks up addresses and statics in all mapped files |
//! | `binary` | the debug information, functions and segments of one file |
//! | `debug_info` | the debug sections of one file |
//! | `separate` | where the debug information of a stripped file is |
//! | `split` | debug information that is split into many files, or packed beside the executable |
//! | `unread` | why debug information is not read |
//! | `elf_file` | the sections of a file, decompressed |
//! | `section` | the pages of a section that were read last |
//! | `room` | whether there is memory for all of this |
//! | `functions` | the functions of one file by address and by name |
//! | `identity` | the build ID and the virtual addresses of a file |
//! | `names` | names without what the compiler adds |
//! | `ownership` | whose code a frame is: the user's, a dependency's, the tool's |
//! | `python` | frames of Python |
//! | `blame` | the blame frame of a stack |
//! | `sources` | source files: excerpts, attributes, declarations |

mod binary;
mod blame;
mod debug_info;
mod elf_file;
mod functions;
#[cfg(feature = "live")]
mod identity;
mod names;
mod ownership;
mod python;
mod room;
mod section;
mod separate;
mod sources;
mod split;
mod symbolizer;
#[cfg(test)]
mod tests;
mod unread;

pub(crate) use blame::{UNATTRIBUTED, blame_frame};
#[cfg(feature = "live")]
pub(crate) use identity::Identity;
pub(crate) use names::static_name;
pub(crate) use python::python_frame;
pub(crate) use symbolizer::Symbolizer;
