//! What stands for [`Python`] where no interpreter is looked for: without the preloaded library.

use super::holder_table::{HolderTable, Source};
use super::index::{BlockId, Index, Sizes};
use super::marks::Marks;
use super::regions::Regions;
use crate::recorder::heap::NoMemory;

pub(super) type TypeId = u16;

pub(super) const NO_TYPE: TypeId = 0;

/// The layout of an interpreter, of which there is none.
pub(super) enum Layout {}

pub(super) const fn layout() -> Option<Layout> {
    None
}

/// A name, which is always empty.
pub(super) struct Label;

impl Label {
    pub(super) const NONE: Self = Self;

    pub(super) const fn as_str(&self) -> &'static str {
        ""
    }
}

/// The objects of an interpreter, of which there is none.
pub(super) struct Python<'a>(Layout, core::marker::PhantomData<&'a ()>);

impl Python<'_> {
    pub(super) const fn new(
        _: Option<&Layout>,
        _: &Index,
        _: &Regions,
        _: Sizes,
    ) -> Result<Option<Self>, NoMemory> {
        Ok(None)
    }

    pub(super) fn graph(&self) -> &graph::Graph<'_> {
        match self.0 {}
    }

    pub(super) fn mark_roots(
        &self,
        _: &mut Marks<'_>,
        _: &mut HolderTable,
    ) -> Result<(), NoMemory> {
        match self.0 {}
    }

    pub(super) fn mark_garbage(
        &self,
        _: &mut Marks<'_>,
        _: &mut HolderTable,
    ) -> Result<(), NoMemory> {
        match self.0 {}
    }

    pub(super) fn describe<R>(&self, _: Source, _: impl FnOnce(&str, &str, u32) -> R) -> R {
        match self.0 {}
    }

    pub(super) fn label(&self, _: Source, _: &[BlockId], _: usize) -> Label {
        match self.0 {}
    }
}

pub(super) mod graph {
    use super::{BlockId, Layout, TypeId};

    /// The objects of an interpreter, of which there is none.
    pub(crate) struct Graph<'a>(Layout, core::marker::PhantomData<&'a ()>);

    impl Graph<'_> {
        pub(crate) fn type_of(&self, _: BlockId) -> TypeId {
            match self.0 {}
        }

        pub(crate) fn type_ids(&self) -> core::ops::Range<TypeId> {
            match self.0 {}
        }

        pub(crate) fn type_name(&self, _: TypeId, _: &mut [u8]) -> &'static str {
            match self.0 {}
        }

        pub(crate) fn is_link(&self, _: BlockId, _: usize) -> bool {
            match self.0 {}
        }

        pub(crate) fn is_freed(&self, _: BlockId) -> bool {
            match self.0 {}
        }

        pub(crate) fn end(&self, _: BlockId, _: usize) -> Option<usize> {
            match self.0 {}
        }

        pub(crate) fn borrowed(&self, _: BlockId) -> Borrowed {
            match self.0 {}
        }
    }

    /// Words of an object, of which there is none.
    pub(crate) struct Borrowed(Layout);

    impl Borrowed {
        pub(crate) fn contains(&self, _: usize) -> bool {
            match self.0 {}
        }
    }
}
