//! Checks that the recorder is installed as the global allocator of this process.

use crate::base::error::Error;
use crate::model::run::HeapKind;
use crate::recorder::heap;

/// The error for a program whose global allocator is not a [`Heap`](crate::Heap). The hint has the
/// two lines to add.
pub(crate) fn no_heap_error() -> Error {
    Error::usage("cannot measure this program: `afterdrop::Heap` is not its global allocator").hint(
        "add `#[global_allocator]` and, below it, \
         `static HEAP: afterdrop::Heap = afterdrop::Heap::new();`",
    )
}

/// Checks that a [`Heap`](crate::Heap) is installed and records the allocations of this process.
///
/// # Errors
/// If no [`Heap`](crate::Heap) is installed, or this build does not have the backing allocator.
pub(crate) fn check_heap(wanted: HeapKind) -> Result<(), Error> {
    if !heap::is_installed() {
        return Err(no_heap_error());
    }
    match heap::backend() {
        None if heap::is_bare() => Ok(()),
        Some(heap::Backend::Missing) | None => Err(Error::usage(format!(
            "cannot measure with the heap `{wanted}`: this build does not have it"
        ))),
        Some(_) => Ok(()),
    }
}
