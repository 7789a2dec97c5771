//! Symbols of statics and thread-locals, read from the executable and the shared objects without
//! allocating.

use std::ffi::CStr;

use object::elf::{FileHeader64, PT_LOAD, SHT_DYNSYM, SHT_SYMTAB, STT_OBJECT, STT_TLS};
use object::read::elf::{FileHeader, ProgramHeader, Sym, SymbolTable};
use object::{Endianness, StringTable};

use crate::recorder::heap::{MappedVec, NoMemory};

/// An executable or shared object that is loaded.
#[derive(Clone, Copy)]
struct Object {
    /// Load bias: the difference between the addresses in memory and in the file.
    bias: usize,
    strings: StringTable<'static>,
}

/// A static or thread-local.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// Address of a static; offset of a thread-local in the thread-local memory of its module.
    pub(super) start: usize,
    bytes: usize,
    /// Index of its object.
    object: u16,
    /// Offset of its name in the string table.
    name: u32,
}

/// The symbols of all loaded objects.
#[derive(Default)]
pub(super) struct Objects {
    objects: MappedVec<Object>,
    statics: MappedVec<Symbol>,
    thread_locals: MappedVec<Symbol>,
}

/// Number of symbols before an address that may contain it: several may start at the same address
/// and differ in size.
const MAX_ALIASES: usize = 4;

impl Objects {
    /// Adds the symbols of the file at `path`, whose first byte is mapped at `start`. A file that
    /// cannot be read, or has no symbol table, adds none.
    pub(super) fn add(&mut self, path: &CStr, start: usize) -> Result<(), NoMemory> {
        let Some(bytes) = map_file(path) else {
            return Ok(());
        };
        let Some((bias, symbols, endian)) = symbol_table(bytes, start) else {
            return Ok(());
        };
        let object = self.objects.as_slice().len() as u16;
        self.objects.push(Object {
            bias,
            strings: symbols.strings(),
        })?;
        for symbol in symbols.symbols() {
            let (value, size) = (symbol.st_value(endian), symbol.st_size(endian));
            let (to, base) = match symbol.st_type() {
                STT_OBJECT => (&mut self.statics, bias),
                STT_TLS => (&mut self.thread_locals, 0),
                _ => continue,
            };
            if size > 0 && !symbol.is_undefined(endian) {
                to.push(Symbol {
                    start: base.wrapping_add(value as usize),
                    bytes: size as usize,
                    object,
                    name: symbol.st_name(endian),
                })?;
            }
        }
        Ok(())
    }

    /// Sorts the symbols for lookup. Must be called after the last [`Objects::add`].
    pub(super) fn sort(&mut self) {
        // One type of key for both, so that sorting is compiled once.
        let sort = |symbols: &mut [Symbol], key: fn(&Symbol) -> (u16, usize)| {
            symbols.sort_unstable_by_key(key);
        };
        sort(self.statics.as_mut_slice(), |s| (0, s.start));
        sort(self.thread_locals.as_mut_slice(), |s| (s.object, s.start));
    }

    /// The static at an address, which may be inside of it.
    pub(super) fn static_at(&self, address: usize) -> Option<Symbol> {
        let all = self.statics.as_slice();
        let count = all.partition_point(|s| s.start <= address);
        let mut candidates = all[..count].iter().rev().take(MAX_ALIASES).copied();
        candidates.find(|s| address - s.start < s.bytes)
    }

    /// The thread-local at an offset in the thread-local memory of the module with this load bias.
    pub(super) fn thread_local_at(&self, bias: usize, offset: usize) -> Option<Symbol> {
        let mut objects = self.objects.as_slice().iter();
        let object = objects.position(|o| o.bias == bias)? as u16;
        let all = self.thread_locals.as_slice();
        let count = all.partition_point(|s| (s.object, s.start) <= (object, offset));
        let mut candidates = all[..count].iter().rev().take(MAX_ALIASES).copied();
        candidates.find(|s| s.object == object && offset - s.start < s.bytes)
    }

    /// The mangled name of a symbol; empty if it is not valid UTF-8.
    pub(super) fn name(&self, symbol: &Symbol) -> &str {
        let object = &self.objects.as_slice()[usize::from(symbol.object)];
        let name = object.strings.get(symbol.name).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }
}

type Table = SymbolTable<'static, FileHeader64<Endianness>>;

/// The load bias of a file whose first byte is mapped at `start`, and its symbol table: `.symtab`,
/// or `.dynsym` if the file is stripped.
fn symbol_table(bytes: &'static [u8], start: usize) -> Option<(usize, Table, Endianness)> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let first = segments
        .iter()
        .find(|s| s.p_type(endian) == PT_LOAD && s.p_offset(endian) == 0)?;
    let bias = start.wrapping_sub(first.p_vaddr(endian) as usize);
    let sections = header.sections(endian, bytes).ok()?;
    let table = |kind| sections.symbols(endian, bytes, kind).ok();
    let full = table(SHT_SYMTAB).filter(|t| !t.is_empty());
    Some((bias, full.or_else(|| table(SHT_DYNSYM))?, endian))
}

/// Maps a regular file until the copy ends.
fn map_file(path: &CStr) -> Option<&'static [u8]> {
    // SAFETY: `path` is a valid C string.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if file < 0 {
        return None;
    }
    // SAFETY: `stat` is a C struct of integers, for which zero is a valid value.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: `file` is open, and the call writes only `stat`, a local of the right type.
    let is_known = unsafe { libc::fstat(file, &mut stat) } == 0;
    let bytes = stat.st_size as usize;
    let is_regular = is_known && stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    let at = match is_regular && bytes > 0 {
        // SAFETY: the kernel chooses the address of the new private mapping, so that it overlaps no
        // other.
        true => unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file,
                0,
            )
        },
        false => libc::MAP_FAILED,
    };
    // SAFETY: `file` was opened above and is closed once. The mapping does not depend on it.
    unsafe { libc::close(file) };
    // SAFETY: the mapping has `bytes` readable bytes and is never removed. If another process
    // truncates the file, a read beyond its new end is a `SIGBUS`, which ends the copy and not the
    // process; the report then has no holders.
    (at != libc::MAP_FAILED).then(|| unsafe { core::slice::from_raw_parts(at.cast(), bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    static KNOWN: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

    #[test]
    fn a_static_of_this_program_is_found_by_any_address_in_it() {
        let mut objects = Objects::default();
        let mut maps = MappedVec::new();
        let text = crate::recorder::proc::read_whole("/proc/self/maps", &mut maps)
            .and_then(|()| std::str::from_utf8(maps.as_slice()).ok())
            .unwrap();
        let path = std::env::current_exe().unwrap();
        let path = path.to_str().unwrap();
        let first = text.lines().find(|line| line.ends_with(path)).unwrap();
        let start = usize::from_str_radix(first.split_once('-').unwrap().0, 16).unwrap();
        let path = std::ffi::CString::new(path).unwrap();
        objects.add(&path, start).unwrap();
        objects.sort();
        let address = KNOWN.as_ptr().addr();
        for inside in [address, address + 9, address + 31] {
            let symbol = objects.static_at(inside).unwrap();
            assert_eq!(symbol.start, address);
            assert!(objects.name(&symbol).contains("KNOWN"));
        }
        // A sanitizer makes statics longer.
        let bytes = objects.static_at(address).unwrap().bytes;
        let behind = objects.static_at(address + bytes);
        assert!(behind.is_none_or(|s| s.start != address));
    }

    #[test]
    fn a_file_without_symbols_adds_none() {
        let mut objects = Objects::default();
        for path in [c"/proc/self/maps", c"/nowhere", c"/etc/passwd"] {
            objects.add(path, 0x1000).unwrap();
        }
        objects.sort();
        assert!(objects.static_at(0x1000).is_none());
    }
}
