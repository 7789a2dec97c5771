//! Split debug information: the larger part of each unit is in a file of its own (`.dwo`), or all of them
//! are in one package (`.dwp`) beside the executable.

use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use addr2line::SplitDwarfLoad;
use gimli::{Dwarf, DwarfPackage, DwoId, Reader as _};

use super::elf_file::{ElfFile, Headers};
use super::section::Reader;
use super::unread::Unread;

/// The split debug information of a file. It is read when it is first needed.
pub(super) struct Split {
    /// The file, and the one that its debug information was moved to, if it was.
    files: Vec<PathBuf>,
    package: OnceCell<Option<DwarfPackage<Reader>>>,
    unread: RefCell<Option<Unread>>,
}

impl Split {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            package: OnceCell::new(),
            unread: RefCell::default(),
        }
    }

    /// What could not be read so far.
    pub(super) fn unread(&self) -> Option<Unread> {
        self.unread.borrow().clone()
    }

    /// The part of a unit that is not in the file itself; `None` if it cannot be read.
    pub(super) fn load(&self, load: &SplitDwarfLoad<Reader>) -> Option<Arc<Dwarf<Reader>>> {
        let package = self.package.get_or_init(|| self.read_package()).as_ref();
        let unit = package.and_then(|p| p.find_cu(load.dwo_id, &load.parent).ok()?);
        let path = path_of(load);
        let unit = unit.or_else(|| {
            let moved = self.files[0].parent()?.join(path.file_name()?);
            [&path, &moved]
                .into_iter()
                .find_map(|p| self.read_unit(p, load))
        });
        if unit.is_none() {
            self.record_missing(path);
        }
        #[allow(
            clippy::arc_with_non_send_sync,
            reason = "addr2line shares units by `Arc`, and the sections are read by one thread"
        )]
        unit.map(Arc::new)
    }

    fn read_package(&self) -> Option<DwarfPackage<Reader>> {
        let file = self.files.iter().find_map(|file| {
            let mut path = file.clone().into_os_string();
            path.push(".dwp");
            ElfFile::open(Path::new(&path))
        })?;
        let package = file.headers().and_then(|headers| {
            let section = |id: gimli::SectionId| Ok(self.section(id.dwo_name(), &headers));
            let empty = Reader::empty();
            DwarfPackage::load::<_, gimli::Error>(section, empty).ok()
        });
        if package.is_none() {
            self.unread.borrow_mut().get_or_insert(Unread::Damaged {
                file: file.path.clone(),
                section: ".debug_cu_index".into(),
            });
        }
        package
    }

    fn read_unit(&self, path: &Path, load: &SplitDwarfLoad<Reader>) -> Option<Dwarf<Reader>> {
        let file = ElfFile::open(path)?;
        let headers = file.headers()?;
        let section = |id: gimli::SectionId| Ok(self.section(id.dwo_name(), &headers));
        let Ok(mut dwarf) = Dwarf::load::<_, Infallible>(section);
        (id_of(&dwarf) == Some(load.dwo_id)).then(|| {
            dwarf.make_dwo(&load.parent);
            dwarf
        })
    }

    /// A section; empty if there is none, or if it cannot be read.
    fn section(&self, name: Option<&str>, headers: &Headers<'_>) -> Reader {
        let read = name.map_or_else(|| Ok(Reader::empty()), |name| headers.debug_section(name));
        read.unwrap_or_else(|unread| {
            self.unread.borrow_mut().get_or_insert(unread);
            Reader::empty()
        })
    }

    fn record_missing(&self, path: PathBuf) {
        match &mut *self.unread.borrow_mut() {
            Some(Unread::Split { others, .. }) => *others += 1,
            // It is why this unit is missing.
            Some(_) => {}
            nothing @ None => {
                *nothing = Some(Unread::Split {
                    file: self.files[0].clone(),
                    first: path,
                    others: 0,
                });
            }
        }
    }
}

/// Where the compiler wrote a unit.
fn path_of(load: &SplitDwarfLoad<Reader>) -> PathBuf {
    let mut path = PathBuf::new();
    for part in [&load.comp_dir, &load.path].into_iter().flatten() {
        path.push(OsStr::from_bytes(&part.to_slice().unwrap_or_default()));
    }
    path
}

/// The number of the unit of a file, by which the skeleton in the executable refers to it.
fn id_of(dwarf: &Dwarf<Reader>) -> Option<DwoId> {
    let header = dwarf.units().next().ok()??;
    dwarf.unit(header).ok()?.dwo_id
}
