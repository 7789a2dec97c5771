//! The types of Python's objects.
//!
//! With the allocator `malloc` each object is a block, and the object begins at the block's start, behind the
//! links of the collector of garbage, or behind these and the pointers to its attributes. Its second word is its
//! type, which is an object itself, whose type is the type of types or one that is derived from it.
//!
//! A block is not known to be an object, so that each word is read only where a block or static memory is.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::index::Index;
use super::regions::{Access, RegionKind, Regions};
use crate::recorder::foreign_memory::word;
use crate::recorder::heap::{MappedTable, MappedVec, NoMemory, TableSlot};

/// The number of a type, from 1.
pub(super) type TypeId = u16;

/// The number for a block that is no object.
pub(super) const NO_TYPE: TypeId = 0;

/// Types at most. Objects of further ones are told as no objects.
const MAX_TYPES: usize = TypeId::MAX as usize - 1;

/// Where an object may begin in its block.
const STARTS: [usize; 3] = [0, 16, 32];

// Offsets in an object and in a type, which are the same in all versions from 3.11 on.
const TYPE: usize = 8;
const NAME: usize = 24;
const BASIC_SIZE: usize = 32;
const FLAGS: usize = 168;

/// The flag of a type that is derived from the type of types.
const IS_TYPE_OF_TYPES: usize = 1 << 31;

/// An address that was taken for that of a type, and its number; [`NO_TYPE`] if it is none.
#[derive(Clone, Copy)]
struct Known {
    at: usize,
    id: TypeId,
}

impl TableSlot for Known {
    type Key = usize;
    const FREE: Self = Self { at: 0, id: NO_TYPE };

    fn key(&self) -> Option<usize> {
        (self.at != 0).then_some(self.at)
    }

    fn hash(key: usize) -> u64 {
        key as u64 >> 4
    }
}

/// The types of the objects that were looked at.
pub(super) struct Types<'a> {
    index: &'a Index,
    regions: &'a Regions,
    usable: fn(usize) -> usize,
    type_of_types: usize,
    known: MappedTable<Known>,
    /// The addresses of the types, in the order of their numbers.
    all: MappedVec<usize>,
}

impl<'a> Types<'a> {
    pub(super) fn new(
        index: &'a Index,
        regions: &'a Regions,
        usable: fn(usize) -> usize,
        type_of_types: usize,
    ) -> Self {
        Self {
            index,
            regions,
            usable,
            type_of_types,
            known: MappedTable::new(),
            all: MappedVec::new(),
        }
    }

    /// The numbers of all types.
    pub(super) fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        1..=self.all.as_slice().len() as TypeId
    }

    /// The number of the type of the object in the block at an address; [`NO_TYPE`] if it has none.
    pub(super) fn of_block(&mut self, start: usize) -> Result<TypeId, NoMemory> {
        let end = start + (self.usable)(start);
        for object in STARTS.map(|offset| start + offset) {
            if object + TYPE + 8 > end {
                break;
            }
            // SAFETY: both words are in a live block, which the copy does not free.
            let (references, of_type) = unsafe { (word::<0>(object), word::<TYPE>(object)) };
            if !is_count(references) {
                continue;
            }
            let id = self.id_of(of_type)?;
            if id != NO_TYPE
                && object + self.read(of_type + BASIC_SIZE).unwrap_or(usize::MAX / 2) <= end
            {
                return Ok(id);
            }
        }
        Ok(NO_TYPE)
    }

    /// The number of the type at an address; [`NO_TYPE`] if there is none.
    fn id_of(&mut self, at: usize) -> Result<TypeId, NoMemory> {
        if let Some(known) = self.known.get(at) {
            return Ok(known.id);
        }
        if !self.is_type(at) || self.all.as_slice().len() >= MAX_TYPES {
            // Not remembered: any word of the heap may be here.
            return Ok(NO_TYPE);
        }
        self.all.push(at)?;
        let id = self.all.as_slice().len() as TypeId;
        self.known.insert_or(Known { at, id }, |_| {})?;
        Ok(id)
    }

    fn is_type(&self, at: usize) -> bool {
        match self.read(at + TYPE) {
            Some(of_type) if of_type == self.type_of_types => true,
            Some(of_type) => {
                self.read(of_type + TYPE) == Some(self.type_of_types)
                    && self
                        .read(of_type + FLAGS)
                        .is_some_and(|flags| flags & IS_TYPE_OF_TYPES != 0)
            }
            None => false,
        }
    }

    /// The word at an address, if it is in a block or in static memory.
    fn read(&self, at: usize) -> Option<usize> {
        if !at.is_multiple_of(8) || !(self.is_in_block(at) || self.is_static(at)) {
            return None;
        }
        // SAFETY: the aligned word is in a live block, or in readable memory that no other process can
        // truncate; the copy frees and unmaps nothing.
        Some(unsafe { word::<0>(at) })
    }

    fn is_in_block(&self, at: usize) -> bool {
        self.index.contains(at + 7, self.usable)
    }

    fn is_static(&self, at: usize) -> bool {
        // They are sorted by kind, and this kind is the first.
        let regions = self.regions.regions.as_slice();
        let statics = regions.partition_point(|r| r.kind == RegionKind::Statics);
        let statics = &regions[..statics];
        let next = statics.partition_point(|r| r.start <= at);
        let region = next.checked_sub(1).map(|i| &statics[i]);
        region.is_some_and(|r| r.access == Access::Private && at + 8 <= r.end)
    }

    /// Reads the name of a type into `buffer`, as far as it fits.
    pub(super) fn name<'b>(&self, id: TypeId, memory: &File, buffer: &'b mut [u8]) -> &'b str {
        let at = self.all.as_slice()[usize::from(id) - 1];
        let name = self.read(at + NAME).unwrap_or(0);
        // The name may be in memory that is not searched, and is read through the kernel, which reports an
        // error where nothing is mapped.
        let read = memory.read_at(buffer, name as u64).unwrap_or(0);
        let bytes = buffer[..read].split(|&byte| byte == 0).next();
        let bytes = bytes.unwrap_or_default();
        let end = match str::from_utf8(bytes) {
            Ok(_) => bytes.len(),
            Err(error) => error.valid_up_to(),
        };
        str::from_utf8(&buffer[..end]).unwrap_or_default()
    }
}

/// Whether a word may be a count of references: few, or the count of an object that lives for ever.
fn is_count(word: usize) -> bool {
    const FEW: usize = 1 << 24;
    const FOR_EVER: usize = 1 << 30;
    let count = word & 0xffff_ffff;
    count != 0 && !(FEW..FOR_EVER).contains(&count)
}
