//! Whether this process can be measured at all.

use crate::base::error::Error;
use crate::model::run::HeapKind;
use crate::recorder::heap;

/// The error if no [`Heap`](crate::Heap) is installed, with the two lines to add.
pub(crate) fn no_heap() -> Error {
    Error::usage("cannot measure this program: it has no `afterdrop::Heap`").hint(
        "add `#[global_allocator]` and, below it, \
         `static HEAP: afterdrop::Heap = afterdrop::Heap::new();`",
    )
}

/// Checks that a [`Heap`](crate::Heap) is installed and records over the requested allocator.
///
/// # Errors
/// If no [`Heap`](crate::Heap) is installed, or the build does not have the heap.
pub(crate) fn check_heap(asked: HeapKind) -> Result<(), Error> {
    if !heap::is_installed() {
        return Err(no_heap());
    }
    match heap::backend() {
        None if heap::is_bare() => Ok(()),
        Some(heap::Backend::Missing) | None => Err(Error::usage(format!(
            "this build cannot measure with heap={asked}"
        ))),
        Some(_) => Ok(()),
    }
}
