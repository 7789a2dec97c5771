//! Python's objects in the frozen copy: what refers to what, and by which name.
//!
//! With the allocator `malloc` each object is a block of its own, so that the search finds the references between
//! objects as it finds all pointers. This folder adds what the interpreter's own structures tell:
//!
//! 1. [`objects`] says which blocks are objects, of which [types](types). The collector's links between
//!    objects, and weak references, keep nothing alive, and are not followed.
//! 2. [`roots`] are searched before all others: the modules, and the local variables of the running functions.
//! 3. [`garbage`] tells objects that wait for the collector from those that are lost.
//! 4. [`labels`] names the steps of a path: `.attribute`, `['key']`, `[3]`.
//!
//! The interpreter's threads were stopped anywhere, so that nothing is taken to be as it should be: [`memory`]
//! checks each address.

mod dicts;
mod garbage;
mod labels;
mod memory;
mod objects;
mod roots;
#[cfg(test)]
mod tests;
mod types;

use super::holder_table::{Holder, Source};
use super::index::{BlockId, Index, Sizes};
use super::regions::Regions;
use crate::model::block::StackId;
use crate::model::holders::HolderKind;
use crate::recorder::heap::NoMemory;
use memory::Memory;
use objects::Objects;
use roots::Roots;
use types::Types;

pub(super) use labels::Label;
pub(super) use types::{NO_TYPE, TypeId};

pub(super) use crate::recorder::heap::PythonLayout as Layout;

/// The layout of the process's interpreter, if there is one whose objects are read.
pub(super) fn layout() -> Option<Layout> {
    #[cfg(feature = "preload")]
    let found = Layout::find();
    #[cfg(not(feature = "preload"))]
    let found = None;
    found
}

/// What holds blocks by the structures of the interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PythonSource {
    /// A module, by its number.
    Module { index: u32 },
    /// A running function, by its number.
    Frame { index: u32 },
    /// Objects that wait for the collector of garbage.
    Garbage,
}

impl PythonSource {
    pub(super) const fn kind(self) -> HolderKind {
        match self {
            Self::Module { .. } => HolderKind::Module,
            Self::Frame { .. } => HolderKind::Stack,
            Self::Garbage => HolderKind::Garbage,
        }
    }

    /// A module or a running function as a holder.
    fn holder(self, at: usize, index: u32) -> Holder {
        let is_frame = matches!(self, Self::Frame { .. });
        let key = u64::from(index) << 4 | u64::from(is_frame) << 3 | 7;
        Holder::new(Source::Python(self), at, key)
    }

    /// An object that waits for the collector. Those of the same stack are one holder.
    fn garbage(at: usize, stack_id: StackId, after_setup: bool) -> Holder {
        let key = 1 << 60 | u64::from(stack_id) << 4 | u64::from(after_setup) << 3;
        Holder::new(Source::Python(Self::Garbage), at, key)
    }
}

/// The objects of the process's interpreter.
pub(super) struct Python<'a> {
    memory: Memory<'a>,
    types: Types,
    objects: Objects,
    roots: Roots,
}

impl<'a> Python<'a> {
    /// Looks at all blocks; `None` if the objects cannot be read.
    pub(super) fn new(
        layout: Option<&'a Layout>,
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
        let roots = Roots::find(&memory, &types, &objects)?;
        Ok(Some(Self {
            memory,
            types,
            objects,
            roots,
        }))
    }

    /// The number of the type of the object in a block; [`NO_TYPE`] if it has none.
    pub(super) fn type_of(&self, block: BlockId) -> TypeId {
        self.objects.type_of(block)
    }

    /// The numbers of all types.
    pub(super) fn type_ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        self.types.ids()
    }

    /// Reads the name of a type into `buffer`, as far as it fits.
    pub(super) fn type_name<'b>(&self, id: TypeId, buffer: &'b mut [u8]) -> &'b str {
        self.types.name(id, &self.memory, buffer)
    }

    /// Whether a pointer to a byte of a block is one of the collector's links, which keep nothing alive.
    #[inline]
    pub(super) fn is_link(&self, block: BlockId, offset: usize) -> bool {
        self.objects.is_link(block, offset)
    }

    /// Whether a block is kept for the next object. Its words mean nothing, except for those that refer to the next
    /// such block.
    #[inline]
    pub(super) fn is_freed(&self, block: BlockId) -> bool {
        self.objects.is_freed(block)
    }

    /// Where the words of a block end that mean something, if that is known.
    #[inline]
    pub(super) fn end(&self, block: BlockId, start: usize) -> Option<usize> {
        self.objects.end(block, start)
    }

    /// The words of a block that refer to others and do not keep them alive.
    #[inline]
    pub(super) fn borrowed(&self, block: BlockId) -> Borrowed {
        let links = self.objects.links(&self.memory, block);
        let reference = self.objects.weak_reference(&self.memory, block);
        let weak = reference.map(|object| types::WEAK_WORDS.map(|offset| object + offset));
        Borrowed { links, weak }
    }
}

/// Words of a block that do not keep alive what they refer to.
pub(super) struct Borrowed {
    /// Where the collector's links are.
    links: Option<usize>,
    /// Of a weak reference: the word that refers to its object, and its links to others.
    weak: Option<[usize; 3]>,
}

impl Borrowed {
    #[inline]
    pub(super) fn contains(&self, at: usize) -> bool {
        self.links.is_some_and(|links| at & !8 == links)
            || self.weak.is_some_and(|words| words.contains(&at))
    }
}
