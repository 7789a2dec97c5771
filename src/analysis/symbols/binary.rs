//! The debug sections, functions and segments of an executable or shared object.
//!
//! Only the parts that are needed are read, and they are read instead of mapped: a file that
//! changes while it is mapped would crash the reader.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use gimli::{Dwarf, EndianRcSlice, RunTimeEndian, SectionId};
use object::read::elf::{ElfFile64, Sym};
use object::{CompressionFormat, Endianness, Object, ObjectSection, ObjectSegment, ReadCache, elf};

use super::functions::{Function, Functions};
use super::names::demangled;

/// Debug sections in memory.
type Reader = EndianRcSlice<RunTimeEndian>;

/// The headers of a file. Its sections are read on demand.
type Headers<'a> = ElfFile64<'a, Endianness, &'a ReadCache<File>>;

/// The maximum number of functions of a module whose files are looked up. Generic functions may be
/// instantiated in other files than their own.
const MAX_LOOKUPS: usize = 64;

/// What one file knows about its own code.
pub(super) struct Binary {
    /// Looks addresses up in the debug sections; `None` if they do not parse.
    pub(super) context: Option<addr2line::Context<Reader>>,
    functions: Functions,
    segments: Vec<Segment>,
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
        let file = File::open(path).ok()?;
        let cache = ReadCache::new(file.try_clone().ok()?);
        let headers: Headers<'_> = ElfFile64::parse(&cache).ok()?;
        let endian = if cfg!(target_endian = "little") {
            RunTimeEndian::Little
        } else {
            RunTimeEndian::Big
        };
        let Ok(debug) = Dwarf::load(|id: SectionId| {
            // Where variables are is of no use here, and takes much memory.
            let is_used = !matches!(id, SectionId::DebugLoc | SectionId::DebugLocLists);
            let section = headers.section_by_name(id.name()).filter(|_| is_used);
            let bytes = section.and_then(|s| section_bytes(&file, &s));
            let bytes = bytes.unwrap_or_else(|| Rc::from([]));
            Ok::<_, std::convert::Infallible>(Reader::new(bytes, endian))
        });
        let segments = headers.segments().map(|s| {
            let (offset, size) = s.file_range();
            Segment {
                offset,
                size,
                address: s.address(),
            }
        });
        Some(Self {
            context: addr2line::Context::from_dwarf(debug).ok(),
            functions: functions(&file, &headers).unwrap_or_default(),
            segments: segments.collect(),
        })
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
        let context = self.context.as_ref()?;
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
        of_module.sort_unstable();
        let mut paths = Vec::new();
        for (_, address) in of_module.into_iter().take(MAX_LOOKUPS) {
            let Ok(mut frames) = context.find_frames(address).skip_all_loads() else {
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
fn functions(file: &File, headers: &Headers<'_>) -> Option<Functions> {
    let endian = headers.endian();
    let tables = [
        headers.elf_symbol_table(),
        headers.elf_dynamic_symbol_table(),
    ];
    let table = tables.into_iter().find(|table| !table.is_empty())?;
    let names = headers.section_by_index(table.string_section()).ok()?;
    let names = section_bytes(file, &names)?;
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

/// The content of a section, decompressed; `None` if it cannot be read or is compressed in a way
/// that this build does not support: zlib needs the feature `formats`, which brings `flate2`, and
/// zstd is not supported.
fn section_bytes<'a>(file: &File, section: &impl ObjectSection<'a>) -> Option<Rc<[u8]>> {
    let range = section.compressed_file_range().ok()?;
    // A damaged header may state any size.
    if range.compressed_size > file.metadata().ok()?.len() {
        return None;
    }
    let size = usize::try_from(range.compressed_size).ok()?;
    // Read in place: a section may have a hundred megabytes, and is not to be in memory twice.
    let mut bytes: Rc<[u8]> = std::iter::repeat_n(0, size).collect();
    file.read_exact_at(Rc::get_mut(&mut bytes)?, range.offset)
        .ok()?;
    match range.format {
        CompressionFormat::None => Some(bytes),
        CompressionFormat::Zlib => {
            let size = usize::try_from(range.uncompressed_size).ok()?;
            inflate(&bytes, size).map(Rc::from)
        }
        _ => None,
    }
}

/// Decompresses zlib data of a known size.
#[cfg(feature = "formats")]
fn inflate(compressed: &[u8], size: usize) -> Option<Vec<u8>> {
    use std::io::Read;

    // One byte more than expected shows that the size is wrong.
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(compressed)
        .take((size as u64).saturating_add(1))
        .read_to_end(&mut bytes)
        .ok()?;
    (bytes.len() == size).then_some(bytes)
}

#[cfg(not(feature = "formats"))]
fn inflate(_compressed: &[u8], _size: usize) -> Option<Vec<u8>> {
    None
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

    #[cfg(feature = "formats")]
    mod compressed {
        use std::io::Write;

        use super::*;

        const CONTENT: &[u8] = b"a string of the debug information\0and another one\0";

        /// A 64-bit ELF file with one section `.debug_str`, compressed with zlib: file header,
        /// section data, section names, three section headers (System V ABI, chapter 4).
        fn file(uncompressed_size: u64) -> Vec<u8> {
            let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
            zlib.write_all(CONTENT).unwrap();
            let mut data = Vec::new();
            // `Elf64_Chdr`: ELFCOMPRESS_ZLIB, reserved, size, alignment.
            data.extend(1_u32.to_le_bytes());
            data.extend(0_u32.to_le_bytes());
            data.extend(uncompressed_size.to_le_bytes());
            data.extend(1_u64.to_le_bytes());
            data.extend(zlib.finish().unwrap());
            let names = b"\0.debug_str\0.shstrtab\0";
            let names_at = 64 + data.len() as u64;
            let headers_at = (names_at + names.len() as u64).next_multiple_of(8);
            // The 64-bit little-endian file header of an x86-64 executable.
            let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
            elf.resize(16, 0);
            elf.extend(2_u16.to_le_bytes());
            elf.extend(62_u16.to_le_bytes());
            elf.extend(1_u32.to_le_bytes());
            elf.extend([0; 16]);
            elf.extend(headers_at.to_le_bytes());
            elf.extend(0_u32.to_le_bytes());
            for number in [64_u16, 0, 0, 64, 3, 2] {
                elf.extend(number.to_le_bytes());
            }
            elf.extend(&data);
            elf.extend(names);
            elf.resize(headers_at as usize, 0);
            let mut section = |name: u32, kind: u32, flags: u64, at: u64, size: u64| {
                elf.extend(name.to_le_bytes());
                elf.extend(kind.to_le_bytes());
                for number in [flags, 0, at, size, 0, 1, 0] {
                    elf.extend(number.to_le_bytes());
                }
            };
            section(0, 0, 0, 0, 0);
            // SHT_PROGBITS with SHF_COMPRESSED, and SHT_STRTAB.
            section(1, 1, 0x800, 64, data.len() as u64);
            section(12, 3, 0, names_at, names.len() as u64);
            elf
        }

        fn read(name: &str, bytes: &[u8]) -> Option<Rc<[u8]>> {
            let path =
                std::env::temp_dir().join(format!("afterdrop-elf-{name}-{}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            let file = File::open(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let cache = ReadCache::new(file.try_clone().unwrap());
            let headers: Headers<'_> = ElfFile64::parse(&cache).unwrap();
            section_bytes(&file, &headers.section_by_name(".debug_str").unwrap())
        }

        #[test]
        fn a_section_that_is_compressed_with_zlib_is_read() {
            let size = CONTENT.len() as u64;
            assert_eq!(read("whole", &file(size)).as_deref(), Some(CONTENT));
            assert_eq!(read("longer", &file(size + 1)), None);
            assert_eq!(read("shorter", &file(size - 1)), None);
        }
    }
}
