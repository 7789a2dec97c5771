//! The types of Python's objects.
//!
//! The second word of an object is its type, which is an object itself, whose type is the type of types or one
//! that is derived from it. A block is not known to be an object, so that each word is checked.

use super::memory::Memory;
use crate::recorder::heap::{MappedTable, MappedVec, NoMemory, PythonLayout, TableSlot};

/// The number of a type, from 1.
pub(crate) type TypeId = u16;

/// The number for a block that is no object.
pub(crate) const NO_TYPE: TypeId = 0;

/// Types at most. Objects of further ones are told as no objects.
const MAX_TYPES: usize = TypeId::MAX as usize - 1;

// Offsets in an object and in a type, which are the same in all versions from 3.11 on
// (`Include/object.h` and `Include/cpython/object.h`).
pub(super) const TYPE: usize = 8;
const NAME: usize = 24;
pub(super) const BASIC_SIZE: usize = 32;
const ITEM_SIZE: usize = 40;
const FLAGS: usize = 168;
pub(super) const MEMBERS: usize = 240;
const BASE: usize = 256;
pub(super) const DICT_OFFSET: usize = 288;

/// Words of a weak reference that refer to its object and link it to the object's others
/// (`PyWeakReference` in `Include/cpython/weakrefobject.h`).
pub(super) const WEAK_WORDS: [usize; 3] = [16, 40, 48];

/// Base types that are followed at most.
const MAX_BASES: usize = 64;

/// What a type is, as its flags tell (`Py_TPFLAGS_…`), or the types that it is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Int,
    List,
    Tuple,
    Bytes,
    Text,
    Dict,
    Type,
    Module,
    Cell,
    Set,
    Code,
    WeakReference,
    /// Has an interpreter's frame in it: a generator, a coroutine or a frame.
    WithFrame,
    Other,
}

/// The flags of the types that are derived from one of the interpreter's own.
const FLAGGED: [(u32, Family); 7] = [
    (24, Family::Int),
    (25, Family::List),
    (26, Family::Tuple),
    (27, Family::Bytes),
    (28, Family::Text),
    (29, Family::Dict),
    (31, Family::Type),
];

/// The flag of a type whose objects the collector knows.
const IS_COLLECTED: usize = 1 << 14;

/// The flag of a class whose objects have their attributes where the interpreter puts them.
const HAS_MANAGED_DICT: usize = 1 << 4;

/// What is known of a type.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub(super) at: usize,
    /// Bytes of an object, without a variable part.
    pub(super) basic_size: usize,
    /// Bytes of each item of the variable part; 0 if there is none.
    pub(super) item_size: usize,
    /// It is one of the interpreter's own, and not derived from one.
    pub(super) is_exact: bool,
    pub(super) family: Family,
    /// The collector knows its objects, so that each has links before it.
    pub(super) is_collected: bool,
    /// The class has the keys of its objects' attributes.
    pub(super) has_keys: bool,
}

/// The address of a type, and its number.
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

/// All types that were met.
pub(super) struct Types {
    type_of_types: usize,
    /// The types whose objects are no family by their flags.
    named: [(usize, Family); 12],
    known: MappedTable<Known>,
    /// In the order of their numbers.
    all: MappedVec<Type>,
}

impl Types {
    pub(super) fn new(layout: &PythonLayout) -> Self {
        let [r0, r1, r2] = layout.weak_types;
        let [f0, f1, f2, f3] = layout.types_with_frame;
        Self {
            type_of_types: layout.type_of_types,
            named: [
                (layout.module_type, Family::Module),
                (layout.cell_type, Family::Cell),
                (layout.set_types[0], Family::Set),
                (layout.set_types[1], Family::Set),
                (layout.code_type, Family::Code),
                (r0, Family::WeakReference),
                (r1, Family::WeakReference),
                (r2, Family::WeakReference),
                (f0, Family::WithFrame),
                (f1, Family::WithFrame),
                (f2, Family::WithFrame),
                (f3, Family::WithFrame),
            ],
            known: MappedTable::new(),
            all: MappedVec::new(),
        }
    }

    /// The numbers of all types.
    pub(super) fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        1..=self.all.as_slice().len() as TypeId
    }

    /// The type with a number.
    pub(super) fn get(&self, id: TypeId) -> Option<&Type> {
        self.all.as_slice().get(usize::from(id).checked_sub(1)?)
    }

    /// The number of the type at an address, which is a new one if it is new; [`NO_TYPE`] if there is none.
    pub(super) fn number(&mut self, memory: &Memory<'_>, at: usize) -> Result<TypeId, NoMemory> {
        if let Some(known) = self.known.get(at) {
            return Ok(known.id);
        }
        let is_full = self.all.as_slice().len() >= MAX_TYPES;
        let found = if is_full { None } else { self.read(memory, at) };
        let Some(found) = found else {
            // Not remembered: any word of the heap may be here.
            return Ok(NO_TYPE);
        };
        self.all.push(found)?;
        let id = self.all.as_slice().len() as TypeId;
        self.known.insert_or(Known { at, id }, |_| {})?;
        Ok(id)
    }

    /// The type of the object at an address, if its type is known.
    pub(super) fn of_object(&self, memory: &Memory<'_>, object: usize) -> Option<&Type> {
        self.get(self.known.get(memory.field(object, TYPE)?)?.id)
    }

    fn read(&self, memory: &Memory<'_>, at: usize) -> Option<Type> {
        let is_type = match memory.word(at.checked_add(TYPE)?)? {
            of_type if of_type == self.type_of_types => true,
            of_type => {
                memory.word(of_type.checked_add(TYPE)?)? == self.type_of_types
                    && memory.word(of_type + FLAGS)? & 1 << 31 != 0
            }
        };
        let flags = memory.word(at + FLAGS)?;
        is_type.then_some(Type {
            at,
            basic_size: memory.word(at + BASIC_SIZE)?,
            item_size: memory.word(at + ITEM_SIZE)?,
            // All types are derived from `object`.
            is_exact: bases(memory, at).count() == 2,
            family: self.family(memory, at, flags),
            is_collected: flags & IS_COLLECTED != 0,
            has_keys: flags & HAS_MANAGED_DICT != 0,
        })
    }

    fn family(&self, memory: &Memory<'_>, at: usize, flags: usize) -> Family {
        let mut flagged = FLAGGED.iter();
        if let Some((_, family)) = flagged.find(|(bit, _)| flags & 1 << bit != 0) {
            return *family;
        }
        let named = |at| self.named.iter().find(|(of, _)| *of == at).map(|n| n.1);
        let family = bases(memory, at).find_map(named);
        family.unwrap_or(Family::Other)
    }

    /// Reads the name of a type into `buffer`, as far as it fits.
    pub(super) fn name<'b>(
        &self,
        id: TypeId,
        memory: &Memory<'_>,
        buffer: &'b mut [u8],
    ) -> &'b str {
        match self.get(id) {
            Some(found) => self.name_of(found, memory, buffer),
            None => "",
        }
    }

    pub(super) fn name_of<'b>(
        &self,
        of_type: &Type,
        memory: &Memory<'_>,
        buffer: &'b mut [u8],
    ) -> &'b str {
        let at = memory.field(of_type.at, NAME);
        c_text(memory, at.unwrap_or(0), buffer)
    }
}

/// A type and those that it is derived from, each by the first of its bases.
pub(super) fn bases(memory: &Memory<'_>, at: usize) -> impl Iterator<Item = usize> {
    let next = |&at: &usize| memory.field(at, BASE).filter(|&base| base != 0);
    core::iter::successors(Some(at), next).take(MAX_BASES)
}

/// A text of C's at any address, as far as it fits into `buffer` and is UTF-8.
pub(super) fn c_text<'b>(memory: &Memory<'_>, at: usize, buffer: &'b mut [u8]) -> &'b str {
    // It may be in memory that is not searched.
    let read = memory.far_bytes(at, buffer);
    let bytes = read.split(|&byte| byte == 0).next().unwrap_or_default();
    let end = match str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    str::from_utf8(&bytes[..end]).unwrap_or_default()
}
