//! The debug information, functions and segments of an executable or shared object.

use std::path::Path;

use object::read::elf::Sym;
use object::{Object, ObjectSegment, elf};

use super::debug_info::DebugInfo;
use super::elf_file::{ElfFile, Headers};
use super::functions::{Function, Functions};
use super::names::demangled;
use super::room;
use super::separate;
use super::unread::Unread;
use crate::base::order::sort_by;

/// The maximum number of functions of a module whose files are looked up. Generic functions may be
/// instantiated in other files than their own.
const MAX_LOOKUPS: usize = 64;

/// What one file knows about its own code.
pub(super) struct Binary {
    pub(super) debug: DebugInfo,
    functions: Functions,
    segments: Vec<Segment>,
    /// Why the debug information of a stripped file was not found.
    unread: Option<Unread>,
}

/// A loadable segment.
struct Segment {
    /// Bytes from the start of the file.
    offset: u64,
    /// Bytes in the file.
    size: u64,
    /// Virtual address, as the debug information has it.
    address: u64,
}

impl Binary {
    /// Reads a file; `None` if it cannot be read or is not a 64-bit ELF file.
    pub(super) fn read(path: &Path) -> Option<Self> {
        Self::read_with(path, Path::new(separate::DEBUG_FOLDER))
    }

    /// The same with another folder than [`separate::DEBUG_FOLDER`].
    pub(super) fn read_with(path: &Path, debug_folder: &Path) -> Option<Self> {
        let file = ElfFile::open(path)?;
        let headers = file.headers()?;
        let separate = match headers.parsed.has_debug_symbols() {
            true => Ok(None),
            false => separate::find(&headers, debug_folder),
        };
        let (separate, unread) = match separate {
            Ok(found) => (found, None),
            Err(unread) => (None, Some(unread)),
        };
        let separate = separate.as_ref().and_then(ElfFile::headers);
        let segments = headers.parsed.segments().map(|s| {
            let (offset, size) = s.file_range();
            Segment {
                offset,
                size,
                address: s.address(),
            }
        });
        let segments = segments.collect();
        let debug = DebugInfo::read(separate.as_ref().unwrap_or(&headers), path.into());
        let mut unread = unread;
        let mut functions_of = |file: &Headers<'_>| {
            if room::has_functions(file) {
                return functions_of(file);
            }
            unread = Some(headers.no_memory());
            None
        };
        let functions = separate.as_ref().and_then(&mut functions_of);
        let functions = functions.or_else(|| functions_of(&headers));
        Some(Self {
            functions: functions.unwrap_or_default(),
            segments,
            debug,
            unread,
        })
    }

    /// Debug information that could not be read so far.
    pub(super) fn unread(&self) -> Option<Unread> {
        self.unread.clone().or_else(|| self.debug.unread())
    }

    /// The virtual address of a byte of the file.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|s| (s.offset..s.offset + s.size).contains(&offset))
            .map(|s| offset - s.offset + s.address)
    }

    /// The mangled name of the function at a virtual address.
    pub(super) fn symbol(&self, address: u64) -> Option<&str> {
        self.functions.at(address)
    }

    /// The source files of functions of a module, given by its demangled name, such as
    /// `serving::registry`; `None` if there are none.
    pub(super) fn source_files(&self, module: &str) -> Option<Vec<String>> {
        let last = module.rsplit("::").next()?;
        // Both mangling schemes write each part of a path after its length.
        let part = format!("{}{last}", last.len());
        let mut of_module: Vec<(usize, u64)> = self
            .functions
            .with_part(&part)
            .filter_map(|(address, name)| {
                let name = demangled(name);
                let rest = name.trim_start_matches('<').strip_prefix(module)?;
                let depth = rest.starts_with("::").then(|| rest.matches("::").count())?;
                Some((depth, address))
            })
            .collect();
        // Those of submodules are in other files, so they come last.
        sort_by(&mut of_module, Ord::cmp);
        let mut paths = Vec::new();
        for (_, address) in of_module.into_iter().take(MAX_LOOKUPS) {
            let Some(mut frames) = self.debug.frames(address) else {
                continue;
            };
            let mut outermost = None;
            while let Ok(Some(frame)) = frames.next() {
                outermost = frame.location.and_then(|l| l.file.map(str::to_owned));
            }
            if let Some(path) = outermost
                && !paths.contains(&path)
            {
                paths.push(path);
            }
        }
        (!paths.is_empty()).then_some(paths)
    }
}

/// The functions of the symbol table, or of the dynamic one in a file that was stripped.
fn functions_of(file: &Headers<'_>) -> Option<Functions> {
    let endian = file.parsed.endian();
    let tables = [
        file.parsed.elf_symbol_table(),
        file.parsed.elf_dynamic_symbol_table(),
    ];
    let table = tables.into_iter().find(|table| !table.is_empty())?;
    let names = file.parsed.section_by_index(table.string_section()).ok()?;
    let names = file.content(&names).ok()?;
    let functions = table.iter().filter_map(|symbol| {
        let function = Function {
            address: symbol.st_value(endian),
            size: symbol.st_size(endian),
            name: symbol.st_name(endian),
        };
        (symbol.st_type() == elf::STT_FUNC && function.address != 0).then_some(function)
    });
    Some(Functions::new(functions, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_an_executable_is_not_read() {
        assert!(Binary::read(Path::new("Cargo.toml")).is_none());
        assert!(Binary::read(Path::new("no/such/file")).is_none());
        assert!(Binary::read(Path::new("/")).is_none());
    }

    #[test]
    fn the_functions_are_those_of_the_symbol_table() {
        let test = the_functions_are_those_of_the_symbol_table as *const () as usize;
        let path = std::env::current_exe().unwrap();
        let binary = Binary::read(&path).unwrap();
        let mut offset = None;
        crate::recorder::proc::for_each_code_mapping(
            &mut crate::recorder::heap::MappedVec::new(),
            |m| {
                if (m.start..m.end).contains(&(test as u64)) {
                    offset = Some(test as u64 - m.start + m.offset);
                }
            },
        );
        let address = binary.address(offset.unwrap()).unwrap();
        let symbol = binary.symbol(address).unwrap();
        assert!(
            symbol.contains("the_functions_are_those_of_the_symbol_table"),
            "{symbol}"
        );
    }
}
