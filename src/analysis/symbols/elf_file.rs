//! An ELF file, of which only the sections that are needed are read.
//!
//! They are read instead of mapped: a file that changes while it is mapped would crash the reader.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gimli::{EndianRcSlice, RunTimeEndian};
use object::Object;
use object::read::elf::ElfFile64;
use object::{CompressedFileRange, CompressionFormat, Endianness, ObjectSection, ReadCache};

use super::unread::Unread;

/// A debug section in memory.
pub(super) type Reader = EndianRcSlice<RunTimeEndian>;

/// The byte order of the files that a process of this machine maps.
pub(super) const ENDIAN: RunTimeEndian = match cfg!(target_endian = "little") {
    true => RunTimeEndian::Little,
    false => RunTimeEndian::Big,
};

/// An open file.
pub(super) struct ElfFile {
    pub(super) path: PathBuf,
    file: File,
    cache: ReadCache<File>,
}

/// The headers of a file.
pub(super) struct Headers<'a> {
    pub(super) elf: &'a ElfFile,
    pub(super) parsed: ElfFile64<'a, Endianness, &'a ReadCache<File>>,
}

impl ElfFile {
    /// Opens a file; `None` if it cannot be read.
    pub(super) fn open(path: &Path) -> Option<Self> {
        // Opening a pipe would block.
        if !std::fs::metadata(path).ok()?.is_file() {
            return None;
        }
        let file = File::open(path).ok()?;
        Some(Self {
            path: path.into(),
            cache: ReadCache::new(file.try_clone().ok()?),
            file,
        })
    }

    /// Reads the headers; `None` if it is not a 64-bit ELF file.
    pub(super) fn headers(&self) -> Option<Headers<'_>> {
        let parsed = ElfFile64::parse(&self.cache).ok()?;
        Some(Headers { elf: self, parsed })
    }

    /// The content from `at` on.
    pub(super) fn reader(&self, at: u64) -> io::Result<impl Read> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at))?;
        Ok(file)
    }
}

impl Headers<'_> {
    /// The debug section of this name, decompressed; empty if there is none.
    pub(super) fn debug_section(&self, name: &str) -> Result<Reader, Unread> {
        // Older tools named compressed sections `.zdebug_info`.
        let older = || {
            name.strip_prefix(".debug_")
                .map(|rest| format!(".zdebug_{rest}"))
        };
        let section = self.parsed.section_by_name(name);
        let section = section.or_else(|| self.parsed.section_by_name(&older()?));
        let bytes = section.map_or_else(|| Ok(Rc::from([])), |s| self.content(&s))?;
        Ok(Reader::new(bytes, ENDIAN))
    }

    /// The content of a section, decompressed.
    pub(super) fn content<'s>(&self, section: &impl ObjectSection<'s>) -> Result<Rc<[u8]>, Unread> {
        let damaged = || Unread::Damaged {
            file: self.elf.path.clone(),
            section: section.name().unwrap_or_default().into(),
        };
        let range = section.compressed_file_range().map_err(|_| damaged())?;
        if range.format == CompressionFormat::None {
            return self.bytes(&range).ok_or_else(damaged);
        }
        let packed = self.elf.reader(range.offset).map_err(|_| damaged())?;
        match decompressor(range.format, packed.take(range.compressed_size)) {
            None => Err(Unread::Compressed {
                file: self.elf.path.clone(),
                by: name_of(range.format),
            }),
            Some(unpacked) => {
                let unpacked = unpacked.and_then(|u| all_of(u, range.uncompressed_size));
                Ok(unpacked.map_err(|_| damaged())?.into())
            }
        }
    }

    fn bytes(&self, range: &CompressedFileRange) -> Option<Rc<[u8]>> {
        // A damaged header may state any size.
        if range.compressed_size > self.elf.file.metadata().ok()?.len() {
            return None;
        }
        let size = usize::try_from(range.compressed_size).ok()?;
        // Zeros that were never written take no memory, so that the section is there once. To fill the
        // `Rc` byte by byte takes twenty times as long where this crate is not optimized, as in most tests.
        let mut bytes: Rc<[u8]> = vec![0; size].into();
        let file = &self.elf.file;
        let room = Rc::get_mut(&mut bytes)?;
        file.read_exact_at(room, range.offset).ok()?;
        Some(bytes)
    }
}

/// All bytes of `reader`, which have to be `size`.
fn all_of(reader: impl Read, size: u64) -> io::Result<Vec<u8>> {
    // A damaged header may state any size. One byte more shows that it is wrong.
    let mut bytes = Vec::new();
    reader
        .take(size.saturating_add(1))
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn name_of(format: CompressionFormat) -> &'static str {
    match format {
        CompressionFormat::Zlib => "zlib",
        CompressionFormat::Zstandard => "zstd",
        _ => "an unknown method",
    }
}

/// A reader of what `packed` decompresses to; `None` if this build does not decompress the format.
#[cfg(feature = "compressed-debug")]
fn decompressor<'a>(
    format: CompressionFormat,
    packed: impl Read + 'a,
) -> Option<io::Result<Box<dyn Read + 'a>>> {
    match format {
        CompressionFormat::Zlib => Some(Ok(Box::new(flate2::read::ZlibDecoder::new(packed)))),
        CompressionFormat::Zstandard => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(packed);
            let decoder = decoder.map_err(|_| io::ErrorKind::InvalidData.into());
            Some(decoder.map(|d| Box::new(d) as _))
        }
        _ => None,
    }
}

#[cfg(not(feature = "compressed-debug"))]
fn decompressor<'a>(
    _format: CompressionFormat,
    _packed: impl Read + 'a,
) -> Option<io::Result<Box<dyn Read + 'a>>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"a string of the debug information\0and another one\0";

    /// A 64-bit ELF file with one section `.debug_str`, compressed: file header, section data, section
    /// names, three section headers (System V ABI, chapter 4).
    fn file(method: u32, uncompressed_size: u64, packed: &[u8]) -> Vec<u8> {
        // `Elf64_Chdr`: method, reserved, size, alignment.
        let mut data = Vec::new();
        data.extend(method.to_le_bytes());
        data.extend(0_u32.to_le_bytes());
        data.extend(uncompressed_size.to_le_bytes());
        data.extend(1_u64.to_le_bytes());
        data.extend(packed);
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

    /// The content of `.debug_str` of a file, or why it is not read.
    fn read(bytes: &[u8]) -> Result<Vec<u8>, Unread> {
        let path = crate::base::private_folder::unpredictable_path();
        std::fs::write(&path, bytes).unwrap();
        let file = ElfFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let headers = file.headers().unwrap();
        Ok(headers.debug_section(".debug_str")?.bytes().to_vec())
    }

    /// A zlib stream with one stored block (RFC 1950 and 1951), and its checksum.
    fn zlib() -> Vec<u8> {
        let size = CONTENT.len() as u16;
        let (low, high) = CONTENT.iter().fold((1, 0), |(low, high), &byte| {
            let low = (low + u32::from(byte)) % 65_521;
            (low, (high + low) % 65_521)
        });
        let mut packed = vec![0x78, 0x01, 1];
        packed.extend(size.to_le_bytes());
        packed.extend((!size).to_le_bytes());
        packed.extend(CONTENT);
        packed.extend((high << 16 | low).to_be_bytes());
        packed
    }

    /// A zstd frame with one raw block (RFC 8878).
    fn zstd() -> Vec<u8> {
        let mut packed = 0xfd2f_b528_u32.to_le_bytes().to_vec();
        // A single segment, whose size is one byte; the last block, which is raw.
        packed.extend([0x20, CONTENT.len() as u8]);
        packed.extend(&(1 | (CONTENT.len() as u32) << 3).to_le_bytes()[..3]);
        packed.extend(CONTENT);
        packed
    }

    const ZLIB: u32 = 1;
    const ZSTD: u32 = 2;

    #[cfg(feature = "compressed-debug")]
    #[rstest::rstest]
    #[case::zlib(ZLIB, zlib())]
    #[case::zstd(ZSTD, zstd())]
    fn a_section_that_is_compressed_is_read(#[case] method: u32, #[case] packed: Vec<u8>) {
        let size = CONTENT.len() as u64;
        assert_eq!(read(&file(method, size, &packed)).unwrap(), CONTENT);
        for (size, packed) in [
            (size + 1, &packed[..]),
            (size - 1, &packed),
            (u64::MAX, &packed),
            (size, &packed[..packed.len() / 2]),
            (size, &[]),
        ] {
            let unread = read(&file(method, size, packed)).unwrap_err();
            assert!(matches!(unread, Unread::Damaged { .. }), "{unread}");
        }
    }

    #[cfg(not(feature = "compressed-debug"))]
    #[rstest::rstest]
    #[case::zlib(ZLIB, zlib(), "zlib")]
    #[case::zstd(ZSTD, zstd(), "zstd")]
    fn a_section_that_is_compressed_is_named_with_its_method(
        #[case] method: u32,
        #[case] packed: Vec<u8>,
        #[case] name: &str,
    ) {
        let unread = read(&file(method, CONTENT.len() as u64, &packed)).unwrap_err();
        assert!(matches!(unread, Unread::Compressed { by, .. } if by == name));
    }

    #[test]
    fn a_section_that_is_compressed_by_an_unknown_method_is_not_read() {
        assert!(read(&file(77, 10, b"?")).is_err());
    }
}
