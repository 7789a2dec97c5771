//! Python's objects in the frozen copy: what refers to what, and by which name.
//!
//! With the allocator `malloc` each object is a block of its own, so that the search finds the references between
//! objects as it finds all pointers. This folder adds what the interpreter's own structures tell:
//!
//! 1. [`objects`] says which blocks are objects, of which [types](types). The collector's links between
//!    objects, and weak references, keep nothing alive, and are not followed ([`graph`]).
//! 2. [`roots`] are searched before all others: the modules, and the local variables of the running functions.
//! 3. [`garbage`] tells objects that wait for the collector from those that are lost.
//! 4. [`labels`] names the steps of a path: `.attribute`, `['key']`, `[3]`.
//!
//! The interpreter's threads were stopped anywhere, so that nothing is taken to be as it should be: [`memory`]
//! checks each address.

mod dicts;
mod garbage;
pub(super) mod graph;
mod labels;
mod memory;
mod objects;
mod roots;
pub(super) mod source;
#[cfg(test)]
mod tests;
mod types;

use super::holder_table::{HolderTable, Source};
use super::index::{BlockId, Index, Sizes};
use super::marks::Marks;
use super::regions::Regions;
use crate::recorder::heap::NoMemory;
use graph::Graph;
use labels::Labels;
use roots::Roots;

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

/// The objects of the process's interpreter, and what they are reached from.
pub(super) struct Python<'a> {
    graph: Graph<'a>,
    roots: Roots,
}

impl<'a> Python<'a> {
    /// Looks at all blocks; `None` if there is no interpreter, or its objects cannot be read.
    pub(super) fn new(
        layout: Option<&'a Layout>,
        index: &'a Index,
        regions: &'a Regions,
        sizes: Sizes,
    ) -> Result<Option<Self>, NoMemory> {
        let Some(graph) = Graph::new(layout, index, regions, sizes)? else {
            return Ok(None);
        };
        let roots = Roots::find(&graph)?;
        Ok(Some(Self { graph, roots }))
    }

    pub(super) fn graph(&self) -> &Graph<'a> {
        &self.graph
    }

    /// Marks what the modules and the running functions reach.
    pub(super) fn mark_roots(
        &self,
        marks: &mut Marks<'_>,
        holders: &mut HolderTable,
    ) -> Result<(), NoMemory> {
        self.roots.mark(&self.graph, marks, holders)
    }

    /// Marks the objects that no root reaches.
    pub(super) fn mark_garbage(
        &self,
        marks: &mut Marks<'_>,
        holders: &mut HolderTable,
    ) -> Result<(), NoMemory> {
        self.graph.mark_unreached(marks, holders)
    }

    /// Calls `write` with the name, the file and the line of a module or of a running function.
    pub(super) fn describe<R>(
        &self,
        holder: Source,
        write: impl FnOnce(&str, &str, u32) -> R,
    ) -> R {
        self.roots.describe(&self.graph, holder, write)
    }

    /// The name of a block of a path, as the one before it or the holder has it; empty if it has none.
    pub(super) fn label(&self, holder: Source, path: &[BlockId], number: usize) -> Label {
        Labels::new(&self.graph, &self.roots).label(holder, path, number)
    }
}
