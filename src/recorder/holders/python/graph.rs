//! The objects, and which of their words keep others alive.

use core::ops::Range;

use super::dicts::Keys;
use super::memory::Memory;
use super::objects::{Hashes, Objects};
use super::types::{self, TypeId, Types};
use crate::recorder::heap::{NoMemory, PythonLayout};
use crate::recorder::holders::index::{BlockId, Index, Sizes};
use crate::recorder::holders::regions::Regions;

/// The objects of the process's interpreter.
pub(crate) struct Graph<'a> {
    pub(super) memory: Memory<'a>,
    pub(super) types: Types,
    pub(super) objects: Objects,
}

impl<'a> Graph<'a> {
    /// Looks at all blocks; `None` if the objects cannot be read.
    pub(crate) fn new(
        layout: Option<&'a PythonLayout>,
        index: &'a Index,
        regions: &'a Regions,
        sizes: Sizes,
    ) -> Result<Option<Self>, NoMemory> {
        let Some(layout) = layout else {
            return Ok(None);
        };
        let Ok(memory) = Memory::new(layout, index, regions, sizes.usable) else {
            return Ok(None);
        };
        let mut types = Types::new(layout);
        let objects = Objects::new(&memory, &mut types, index.count())?;
        Ok(Some(Self {
            memory,
            types,
            objects,
        }))
    }

    /// The number of the type of the object in a block; [`NO_TYPE`] if it has none.
    pub(crate) fn type_of(&self, block: BlockId) -> TypeId {
        self.objects.type_of(block)
    }

    /// The numbers of all types.
    pub(crate) fn type_ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        self.types.ids()
    }

    /// Reads the name of a type into `buffer`, as far as it fits.
    pub(crate) fn type_name<'b>(&self, id: TypeId, buffer: &'b mut [u8]) -> &'b str {
        self.types.name(id, &self.memory, buffer)
    }

    /// Whether a pointer to a byte of a block is one of the collector's links, which keep nothing alive.
    #[inline]
    pub(crate) fn is_link(&self, block: BlockId, offset: usize) -> bool {
        self.objects.is_link(block, offset)
    }

    /// Whether a block is kept for the next object. Its words mean nothing, except for those that refer to the next
    /// such block.
    #[inline]
    pub(crate) fn is_freed(&self, block: BlockId) -> bool {
        self.objects.is_freed(block)
    }

    /// Where the words of a block end that mean something, if that is known.
    #[inline]
    pub(crate) fn end(&self, block: BlockId, start: usize) -> Option<usize> {
        self.objects.end(block, start)
    }

    /// The words of a block that refer to others and do not keep them alive.
    #[inline]
    pub(crate) fn borrowed(&self, block: BlockId) -> Borrowed {
        let links = self.objects.links(&self.memory, block);
        let reference = self.objects.weak_reference(&self.memory, block);
        let weak = reference.map(|object| types::WEAK_WORDS.map(|offset| object + offset));
        let hashes = match self.objects.hashes(block) {
            Hashes::None => None,
            Hashes::OfDict => Keys::at(&self.memory, self.memory.start(block)).map(Entries::OfDict),
            Hashes::OfSet => Some(Entries::OfSet(self.set_entries(block))),
        };
        Borrowed {
            links,
            weak,
            hashes,
        }
    }

    /// Where the entries of a set begin: in their own block, or in the set's.
    fn set_entries(&self, block: BlockId) -> Range<usize> {
        /// Where a small set has them, and where they end there.
        const IN_ITSELF: Range<usize> = 64..192;
        match self.objects.address(&self.memory, block) {
            Some(set) => set + IN_ITSELF.start..set + IN_ITSELF.end,
            None => self.memory.start(block)..usize::MAX,
        }
    }
}

/// Words of a block that do not keep alive what they refer to.
pub(crate) struct Borrowed {
    /// Where the collector's links are.
    links: Option<usize>,
    /// Of a weak reference: the word that refers to its object, and its links to others.
    weak: Option<[usize; 3]>,
    hashes: Option<Entries>,
}

/// Entries of a dict or a set, which have hashes.
enum Entries {
    OfDict(Keys),
    OfSet(Range<usize>),
}

impl Entries {
    fn is_hash(&self, at: usize) -> bool {
        /// Bytes of an entry of a set: a key and its hash.
        const ENTRY: usize = 16;
        match self {
            Self::OfDict(keys) => keys.is_hash(at),
            Self::OfSet(all) => all.contains(&at) && (at - all.start) % ENTRY == ENTRY / 2,
        }
    }
}

impl Borrowed {
    #[inline]
    pub(crate) fn contains(&self, at: usize) -> bool {
        self.links.is_some_and(|links| at & !8 == links)
            || self.weak.is_some_and(|words| words.contains(&at))
            || self
                .hashes
                .as_ref()
                .is_some_and(|entries| entries.is_hash(at))
    }
}
