//! The statics of an executable or shared object: its data symbols, read in the frozen copy from the
//! file's symbol table, without the heap.

use std::ffi::CStr;

use object::elf::{FileHeader64, PT_LOAD, SHT_DYNSYM, SHT_SYMTAB, STT_OBJECT, STT_TLS};
use object::read::elf::{FileHeader, ProgramHeader, Sym, SymbolTable};
use object::{Endianness, StringTable};

use crate::recorder::heap::{MappedVec, NoMemory};

/// A file whose data is searched.
#[derive(Clone, Copy)]
pub(super) struct Object {
    /// What its addresses are counted from.
    pub(super) bias: usize,
    strings: StringTable<'static>,
}

/// A static, or a thread-local.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// Its address; of a thread-local, counted from its module's thread-local memory.
    pub(super) start: usize,
    pub(super) bytes: usize,
    object: u16,
    name: u32,
}

#[derive(Default)]
pub(super) struct Objects {
    objects: MappedVec<Object>,
    pub(super) statics: MappedVec<Symbol>,
    pub(super) locals: MappedVec<Symbol>,
}

impl Objects {
    /// Takes the symbols of a file in, which is loaded so that its first byte is at `start`. A file
    /// that cannot be read, or has no symbols, adds none.
    pub(super) fn add(&mut self, path: &CStr, start: usize) -> Result<Option<u16>, NoMemory> {
        let Some(bytes) = mapped(path) else {
            return Ok(None);
        };
        let Some((bias, symbols, endian)) = parse(bytes, start) else {
            return Ok(None);
        };
        let number = self.objects.as_slice().len() as u16;
        self.objects.push(Object {
            bias,
            strings: symbols.strings(),
        })?;
        for symbol in symbols.symbols() {
            let (value, size) = (symbol.st_value(endian), symbol.st_size(endian));
            let (to, base) = match symbol.st_type() {
                STT_OBJECT => (&mut self.statics, bias),
                STT_TLS => (&mut self.locals, 0),
                _ => continue,
            };
            if size > 0 && !symbol.is_undefined(endian) {
                to.push(Symbol {
                    start: base.wrapping_add(value as usize),
                    bytes: size as usize,
                    object: number,
                    name: symbol.st_name(endian),
                })?;
            }
        }
        Ok(Some(number))
    }

    /// After the last file.
    pub(super) fn sort(&mut self) {
        self.statics
            .as_mut_slice()
            .sort_unstable_by_key(|s| s.start);
        let of_module = |s: &Symbol| (s.object, s.start);
        self.locals.as_mut_slice().sort_unstable_by_key(of_module);
    }

    /// The static that an address is in.
    pub(super) fn symbol_at(&self, address: usize) -> Option<Symbol> {
        let all = self.statics.as_slice();
        let behind = all.partition_point(|s| s.start <= address);
        // Some begin at one address; the one that reaches as far is meant.
        let near = all[..behind].iter().rev().take(4);
        near.copied().find(|s| address - s.start < s.bytes)
    }

    /// The thread-local that a place of a module's thread-local memory is in.
    pub(super) fn local_at(&self, object: u16, place: usize) -> Option<Symbol> {
        let all = self.locals.as_slice();
        let behind = all.partition_point(|s| (s.object, s.start) <= (object, place));
        let near = all[..behind].iter().rev().take(4);
        near.copied()
            .find(|s| s.object == object && place - s.start < s.bytes)
    }

    /// The file whose addresses are counted from here.
    pub(super) fn with_bias(&self, bias: usize) -> Option<u16> {
        let all = self.objects.as_slice();
        all.iter().position(|o| o.bias == bias).map(|i| i as u16)
    }

    /// The name of a symbol, as the file has it.
    pub(super) fn name(&self, symbol: &Symbol) -> &str {
        let object = &self.objects.as_slice()[usize::from(symbol.object)];
        let name = object.strings.get(symbol.name).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }
}

type Table = SymbolTable<'static, FileHeader64<Endianness>>;

/// The file's bias and its symbols: all of them if it was not stripped, else those for linking.
fn parse(bytes: &'static [u8], start: usize) -> Option<(usize, Table, Endianness)> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let first = segments
        .iter()
        .find(|s| s.p_type(endian) == PT_LOAD && s.p_offset(endian) == 0)?;
    let bias = start.wrapping_sub(first.p_vaddr(endian) as usize);
    let sections = header.sections(endian, bytes).ok()?;
    let table = |kind| sections.symbols(endian, bytes, kind).ok();
    let all = table(SHT_SYMTAB).filter(|t| !t.is_empty());
    Some((bias, all.or_else(|| table(SHT_DYNSYM))?, endian))
}

/// A file's bytes, mapped until the copy ends.
fn mapped(path: &CStr) -> Option<&'static [u8]> {
    // SAFETY: system calls on a path that ends in a null byte, and on what they return.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return None;
        }
        let mut stat: libc::stat = core::mem::zeroed();
        let told = libc::fstat(file, &mut stat) == 0;
        let bytes = stat.st_size as usize;
        let at = match told && bytes > 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG {
            true => libc::mmap(
                core::ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file,
                0,
            ),
            false => libc::MAP_FAILED,
        };
        libc::close(file);
        // The file may be cut meanwhile, as an executable's may be that is built anew: then the copy
        // ends by a signal, and the report has no holders.
        (at != libc::MAP_FAILED).then(|| core::slice::from_raw_parts(at.cast(), bytes))
    }
}
