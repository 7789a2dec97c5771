//! What an executable or shared object knows of its own code: debug sections, symbols, segments.
//!
//! Read with plain reads of just these parts: no mapping of a file that may change underneath, and
//! no library for compressed sections, which Rust's toolchain does not write by default; where they
//! are compressed, functions still have their symbols.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use memchr::memmem;

use gimli::{Dwarf, EndianRcSlice, RunTimeEndian, SectionId};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSegment, ReadCache};

/// The reader of debug sections held in memory.
type Reader = EndianRcSlice<RunTimeEndian>;

/// One file's own knowledge.
pub(crate) struct Binary {
    /// Looks addresses up in the debug sections; `None` if they do not parse.
    pub(crate) context: Option<addr2line::Context<Reader>>,
    symbols: Symbols,
    /// `(bytes into the file, bytes, virtual address)` of each loadable segment.
    segments: Vec<(u64, u64, u64)>,
}

impl Binary {
    /// Reads a file; `None` if it cannot be read or is no 64-bit ELF file.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let headers = ReadCache::new(file.try_clone().ok()?);
        let object: ElfFile64<'_, object::Endianness, _> = ElfFile64::parse(&headers).ok()?;
        let section = |name: &str| -> Option<Vec<u8>> {
            let section = object.section_by_name(name)?;
            if section.compressed_file_range().ok()?.format != object::CompressionFormat::None {
                return None;
            }
            let (start, size) = section.file_range()?;
            let mut bytes = vec![0; usize::try_from(size).ok()?];
            file.read_exact_at(&mut bytes, start).ok()?;
            Some(bytes)
        };
        let endian = if cfg!(target_endian = "little") {
            RunTimeEndian::Little
        } else {
            RunTimeEndian::Big
        };
        let Ok(debug) = Dwarf::load(|id: SectionId| {
            let bytes = section(id.name()).unwrap_or_default();
            Ok::<_, std::convert::Infallible>(Reader::new(Rc::from(bytes), endian))
        });
        let symbols = [(".symtab", ".strtab"), (".dynsym", ".dynstr")];
        let symbols = symbols
            .iter()
            .find_map(|(table, names)| Some(Symbols::new(&section(table)?, section(names)?)));
        let segments = object.segments().map(|s| {
            let (offset, size) = s.file_range();
            (offset, size, s.address())
        });
        Some(Self {
            context: addr2line::Context::from_dwarf(debug).ok(),
            symbols: symbols.unwrap_or_default(),
            segments: segments.collect(),
        })
    }

    /// The virtual address, as DWARF has it, of a byte of the file.
    pub(crate) fn address(&self, offset: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|&&(start, size, _)| (start..start + size).contains(&offset))
            .map(|&(start, _, address)| offset - start + address)
    }

    /// The source files of some functions of a module, by its demangled name, such as
    /// `serving::registry`; `None` if there are none.
    pub(crate) fn paths_of_module(&self, module: &str) -> Option<Vec<String>> {
        /// Functions that are looked at: generic ones may stand in other files.
        const MOST: usize = 64;
        let context = self.context.as_ref()?;
        let last = module.rsplit("::").next()?;
        // Both schemes of mangling have a name behind its length.
        let part = format!("{}{last}", last.len());
        let mut of_module: Vec<(usize, u64)> = self
            .symbols
            .names_with(&part)
            .filter_map(|(address, name)| {
                let name = addr2line::demangle_auto(name.into(), None);
                let rest = name.trim_start_matches('<').strip_prefix(module)?;
                let depth = rest.starts_with("::").then(|| rest.matches("::").count())?;
                Some((depth, address))
            })
            .collect();
        // Those of modules below it stand in other files.
        of_module.sort_unstable();
        let mut paths = Vec::new();
        for (_, address) in of_module.into_iter().take(MOST) {
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

    /// The mangled name of the function at a virtual address.
    pub(crate) fn symbol(&self, address: u64) -> Option<&str> {
        self.symbols.find(address)
    }
}

/// Functions by address.
#[derive(Default)]
struct Symbols {
    /// `(address, bytes, where the name begins)`, by address.
    functions: Vec<(u64, u64, u32)>,
    names: Vec<u8>,
}

/// Bytes of an `Elf64_Sym` (System V ABI, "Symbol table").
const ENTRY: usize = 24;
/// Bytes of a mangled name before the part that is looked for, at most.
const LONGEST: usize = 1 << 16;
/// `STT_FUNC` in the low bits of `st_info`.
const FUNCTION: u8 = 2;

impl Symbols {
    fn new(table: &[u8], names: Vec<u8>) -> Self {
        let mut functions: Vec<_> = table
            .chunks_exact(ENTRY)
            .filter_map(|entry| {
                let name = u32::from_ne_bytes(entry[..4].try_into().ok()?);
                let address = u64::from_ne_bytes(entry[8..16].try_into().ok()?);
                let size = u64::from_ne_bytes(entry[16..24].try_into().ok()?);
                (entry[4] & 0xf == FUNCTION && address != 0).then_some((address, size, name))
            })
            .collect();
        functions.sort_unstable();
        Self { functions, names }
    }

    /// Address and mangled name of each function whose mangled name has a part.
    fn names_with(&self, part: &str) -> impl Iterator<Item = (u64, &str)> {
        // All names at once: to go through each of many thousands takes a hundred times as long.
        let hits: Vec<usize> = memmem::find_iter(&self.names, part).collect();
        self.functions
            .iter()
            .filter_map(move |&(address, _, name)| {
                let from = name as usize;
                let hit = *hits.get(hits.partition_point(|&hit| hit < from))?;
                let front = self.names.get(from..hit)?;
                if front.len() > LONGEST || front.contains(&0) {
                    return None;
                }
                let name = &self.names[from..];
                let end = memchr::memchr(0, name)?;
                Some((address, std::str::from_utf8(&name[..end]).ok()?))
            })
    }

    fn find(&self, address: u64) -> Option<&str> {
        let behind = self.functions.partition_point(|f| f.0 <= address);
        let (start, size, name) = *self.functions.get(behind.checked_sub(1)?)?;
        // Hand-written code may state no size; then all up to the next function is its.
        if size != 0 && address - start >= size {
            return None;
        }
        let name = self.names.get(name as usize..)?;
        let end = name.iter().position(|&b| b == 0)?;
        std::str::from_utf8(&name[..end]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: u32, kind: u8, address: u64, size: u64) -> Vec<u8> {
        let mut bytes = name.to_ne_bytes().to_vec();
        bytes.extend([kind, 0, 0, 0]);
        bytes.extend(address.to_ne_bytes());
        bytes.extend(size.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_function_is_found_by_any_of_its_addresses() {
        let table = [
            entry(1, 2, 100, 10),
            entry(5, 2, 200, 0),
            entry(1, 1, 150, 10),
        ];
        let symbols = Symbols::new(&table.concat(), b"\0one\0two\0".to_vec());
        assert_eq!(symbols.find(99), None);
        assert_eq!(symbols.find(100), Some("one"));
        assert_eq!(symbols.find(109), Some("one"));
        assert_eq!(symbols.find(110), None);
        assert_eq!(symbols.find(155), None, "data is no function");
        assert_eq!(symbols.find(5000), Some("two"));
        assert_eq!(Symbols::default().find(1), None);
    }

    #[test]
    fn functions_are_found_by_a_part_of_their_names() {
        let table = [
            entry(1, 2, 100, 10),
            entry(7, 2, 200, 0),
            entry(3, 2, 300, 5),
            entry(13, 2, 400, 5),
        ];
        let symbols = Symbols::new(&table.concat(), b"\0ab_cd\0x_cd_\0cab\0".to_vec());
        let found = |part| {
            let mut found: Vec<(u64, &str)> = symbols.names_with(part).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(found("_cd"), [(100, "ab_cd"), (200, "x_cd_"), (300, "_cd")]);
        assert_eq!(found("ab"), [(100, "ab_cd"), (400, "cab")]);
        assert_eq!(found("zz"), []);
    }

    #[test]
    fn what_is_no_executable_is_none() {
        assert!(Binary::read(Path::new("Cargo.toml")).is_none());
        assert!(Binary::read(Path::new("no/such/file")).is_none());
        assert!(Binary::read(Path::new("/")).is_none());
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_symbol_table_is_searched_without_harm(
            table in proptest::collection::vec(0_u8.., 0..200),
            names in proptest::collection::vec(0_u8.., 0..50),
            address in 0_u64..,
        ) {
            let symbols = Symbols::new(&table, names);
            let _ = symbols.find(address);
            let _ = symbols.names_with("a").count();
        }
    }
}
