//! A section of a file, of which only the pages are in memory that were read last.
//!
//! The debug sections of an executable may be larger than all else that a report needs, and a report looks at
//! few places of them. To map them would need less code, but a file that changes while it is mapped crashes the
//! reader.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use gimli::{Error, ReaderOffsetId, Result, RunTimeEndian};

/// The byte order of the files that a process of this machine maps.
const ENDIAN: RunTimeEndian = match cfg!(target_endian = "little") {
    true => RunTimeEndian::Little,
    false => RunTimeEndian::Big,
};

/// Bytes of a page.
const PAGE: usize = 16 << 10;

/// Pages of a section in memory, at most.
const MOST_PAGES: usize = 96;

/// The content of a section.
enum Section {
    /// It was compressed, or is small.
    InMemory(Vec<u8>),
    InFile(Pages),
}

/// A part of a file, which is read by pages.
struct Pages {
    file: Rc<File>,
    /// Where it begins in the file.
    offset: u64,
    length: usize,
    cache: RefCell<Cache>,
}

/// Pages in memory, by number.
#[derive(Default)]
struct Cache {
    pages: HashMap<usize, Box<[u8]>>,
    /// The oldest first.
    order: VecDeque<usize>,
    /// The page that was read last: most reads go on where the one before ended.
    last: Option<(usize, Box<[u8]>)>,
}

impl Cache {
    /// A page of this length.
    fn page(
        &mut self,
        number: usize,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<&[u8]> {
        if self.last.as_ref().is_none_or(|last| last.0 != number) {
            let page = match self.pages.remove(&number) {
                Some(page) => page,
                None => {
                    let mut page = self.room(length);
                    read(&mut page)?;
                    self.order.push_back(number);
                    page
                }
            };
            if let Some((before, page)) = self.last.replace((number, page)) {
                self.pages.insert(before, page);
            }
        }
        self.last
            .as_ref()
            .map(|last| &*last.1)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Room for one more page, in place of the oldest one if there are many.
    fn room(&mut self, length: usize) -> Box<[u8]> {
        let oldest = (self.order.len() >= MOST_PAGES).then(|| self.order.pop_front());
        let oldest = oldest.flatten().and_then(|oldest| match &mut self.last {
            Some(last) if last.0 == oldest => self.last.take().map(|last| last.1),
            _ => self.pages.remove(&oldest),
        });
        match oldest {
            Some(page) if page.len() == length => page,
            _ => vec![0; length].into(),
        }
    }
}

impl Pages {
    /// Calls `visit` with the bytes of a range, which are those of one page or of several. It goes on as
    /// long as `visit` returns `true`.
    fn visit(&self, range: Range<usize>, mut visit: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let number = at / PAGE;
            let begin = number * PAGE;
            let length = PAGE.min(self.length - begin);
            let mut cache = self.cache.borrow_mut();
            let page = cache.page(number, length, |page| {
                self.file.read_exact_at(page, self.offset + begin as u64)
            })?;
            let end = range.end.min(begin + length);
            if !visit(&page[at - begin..end - begin]) {
                return Ok(());
            }
            at = end;
        }
        Ok(())
    }
}

/// A part of a section, as `gimli` reads it.
#[derive(Clone)]
pub(super) struct Reader {
    section: Rc<Section>,
    begin: usize,
    end: usize,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.begin, self.end)
    }
}

impl Reader {
    /// A section without content.
    pub(super) fn empty() -> Self {
        Self::in_memory(Vec::new())
    }

    /// A section that is in memory as a whole.
    pub(super) fn in_memory(content: Vec<u8>) -> Self {
        let end = content.len();
        Self::of(Section::InMemory(content), end)
    }

    /// A section of a file, which is read where it is needed.
    pub(super) fn in_file(file: Rc<File>, offset: u64, length: usize) -> Self {
        let pages = Pages {
            file,
            offset,
            length,
            cache: RefCell::default(),
        };
        Self::of(Section::InFile(pages), length)
    }

    fn of(section: Section, end: usize) -> Self {
        Self {
            section: Rc::new(section),
            begin: 0,
            end,
        }
    }

    fn visit(&self, range: Range<usize>, mut visit: impl FnMut(&[u8]) -> bool) -> Result<()> {
        match &*self.section {
            Section::InMemory(content) => {
                visit(&content[range]);
                Ok(())
            }
            Section::InFile(pages) => pages.visit(range, visit).map_err(|_| Error::Io),
        }
    }

    fn text(&self) -> Result<Vec<u8>> {
        let mut text = Vec::with_capacity(self.end - self.begin);
        self.visit(self.begin..self.end, |bytes| {
            text.extend_from_slice(bytes);
            true
        })?;
        Ok(text)
    }

    /// Where a number of bytes from here on ends.
    fn after(&self, length: usize) -> Result<usize> {
        match length <= self.end - self.begin {
            true => Ok(self.begin + length),
            false => Err(Error::UnexpectedEof(gimli::Reader::offset_id(self))),
        }
    }

    fn first_id(&self) -> u64 {
        Rc::as_ptr(&self.section).addr() as u64
    }
}

impl gimli::Reader for Reader {
    type Endian = RunTimeEndian;
    type Offset = usize;

    fn endian(&self) -> RunTimeEndian {
        ENDIAN
    }

    fn len(&self) -> usize {
        self.end - self.begin
    }

    fn empty(&mut self) {
        self.end = self.begin;
    }

    fn truncate(&mut self, length: usize) -> Result<()> {
        self.end = self.after(length)?;
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.begin - base.begin
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.first_id() + self.begin as u64)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        let at = usize::try_from(id.0.checked_sub(self.first_id())?).ok()?;
        (self.begin..=self.end)
            .contains(&at)
            .then(|| at - self.begin)
    }

    fn find(&self, byte: u8) -> Result<usize> {
        let (mut passed, mut found) = (0, None);
        self.visit(self.begin..self.end, |bytes| {
            found = memchr::memchr(byte, bytes).map(|at| passed + at);
            passed += bytes.len();
            found.is_none()
        })?;
        found.ok_or_else(|| Error::UnexpectedEof(self.offset_id()))
    }

    fn skip(&mut self, length: usize) -> Result<()> {
        self.begin = self.after(length)?;
        Ok(())
    }

    fn split(&mut self, length: usize) -> Result<Self> {
        let at = self.after(length)?;
        let front = Self {
            end: at,
            ..self.clone()
        };
        self.begin = at;
        Ok(front)
    }

    fn to_slice(&self) -> Result<Cow<'_, [u8]>> {
        Ok(self.text()?.into())
    }

    fn to_string(&self) -> Result<Cow<'_, str>> {
        let text = String::from_utf8(self.text()?);
        Ok(text.map_err(|_| Error::BadUtf8)?.into())
    }

    fn to_string_lossy(&self) -> Result<Cow<'_, str>> {
        let text = self.text()?;
        Ok(String::from_utf8_lossy(&text).into_owned().into())
    }

    fn read_slice(&mut self, buffer: &mut [u8]) -> Result<()> {
        let end = self.after(buffer.len())?;
        let mut rest = buffer;
        self.visit(self.begin..end, |bytes| {
            let (front, back) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            front.copy_from_slice(bytes);
            rest = back;
            true
        })?;
        self.begin = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gimli::Reader as _;

    /// The same content in memory and in a file, behind other bytes.
    fn both(content: &[u8]) -> [Reader; 2] {
        let path = crate::base::private_folder::unpredictable_path();
        std::fs::write(&path, [b"before", content, b"behind"].concat()).unwrap();
        let file = Rc::new(File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        [
            Reader::in_memory(content.into()),
            Reader::in_file(file, 6, content.len()),
        ]
    }

    /// Several times as many pages as are kept, each byte with another value than those around it.
    fn long() -> Vec<u8> {
        let numbers = 0..(PAGE * MOST_PAGES * 5 / 2) as u32;
        numbers
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 1)
            .collect()
    }

    #[test]
    fn a_part_of_a_file_reads_like_the_same_part_in_memory() {
        let mut content = long();
        let often = (0..content.len()).step_by(3 * PAGE + 1);
        let zeros = often.chain([7, PAGE - 1, PAGE, content.len() - 1]);
        zeros.for_each(|at| content[at] = 0);
        let readers = both(&content);
        let read = |mut reader: Reader| {
            let mut seen = Vec::new();
            for skipped in [0, 1, 5, 2 * PAGE, 100, content.len() / 2] {
                reader.skip(skipped).unwrap();
                let mut part = reader.clone();
                part.truncate(PAGE + 9).unwrap();
                seen.push((part.find(0).ok(), part.to_slice().unwrap().into_owned()));
                seen.push((
                    reader.find(0).ok(),
                    reader.read_u64().unwrap().to_le_bytes().into(),
                ));
                let string = reader.read_null_terminated_slice().unwrap();
                let lossy = string.to_string_lossy().unwrap();
                seen.push((Some(string.len()), lossy.into_owned().into_bytes()));
            }
            assert!(reader.split(reader.len() + 1).is_err());
            assert!(reader.read_slice(&mut vec![0; reader.len() + 1]).is_err());
            seen
        };
        let [in_memory, in_file] = readers.map(read);
        assert!(in_memory == in_file);
    }

    #[test]
    fn few_pages_are_in_memory_at_a_time() {
        let content = long();
        let [_, reader] = both(&content);
        for turn in 0..2 {
            assert!(*reader.to_slice().unwrap() == *content, "{turn}");
            let mut jumps = (0..content.len()).step_by(PAGE * 37 / 5).rev();
            assert!(jumps.all(|at| {
                let mut reader = reader.clone();
                reader.skip(at).unwrap();
                reader.read_u8().unwrap() == content[at]
            }));
        }
        let Section::InFile(pages) = &*reader.section else {
            unreachable!("it was made of a file");
        };
        let cache = pages.cache.borrow();
        let kept = cache.pages.len() + usize::from(cache.last.is_some());
        assert!(
            kept <= MOST_PAGES && cache.order.len() <= MOST_PAGES,
            "{kept}"
        );
    }

    #[test]
    fn a_file_that_was_cut_off_is_an_error() {
        let path = crate::base::private_folder::unpredictable_path();
        std::fs::write(&path, [0; 100]).unwrap();
        let file = Rc::new(File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let mut reader = Reader::in_file(file, 50, 51);
        assert!(matches!(reader.read_u8(), Err(Error::Io)));
        assert!(matches!(reader.find(0), Err(Error::Io)));
    }
}
