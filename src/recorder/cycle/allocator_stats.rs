//! Statistics of the backing allocator: counters at each boundary, and full dumps at the baseline
//! and at the end. Also returns its free memory to the system.

use std::io::{self, Write};

use crate::base::files::write_atomically;
use crate::model::journal::JemallocBytes;
use crate::model::plan::Plan;
use crate::model::run::HeapKind;
use crate::recorder::heap;

/// Writes the statistics of jemalloc to the folder of the run, as JSON and as text. Does nothing for
/// another backing allocator. `when` becomes a part of the file names.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn write_dump(plan: &Plan, when: &str) -> io::Result<()> {
    if plan.heap != HeapKind::Jemalloc {
        return Ok(());
    }
    let _paused = heap::pause();
    for (extension, json) in [("json", true), ("txt", false)] {
        let name = format!("jemalloc-stats-{when}.{extension}");
        write_atomically(&plan.out.join(name), |to| print_statistics(to, json))?;
    }
    Ok(())
}

/// The counters of jemalloc; `None` if it is not the backing allocator.
#[cfg(feature = "jemalloc")]
pub(crate) fn jemalloc_bytes() -> Option<JemallocBytes> {
    if heap::backend() != Some(heap::Backend::Jemalloc) {
        return None;
    }
    heap::jemalloc::read().map(|c| JemallocBytes {
        allocated: c.allocated,
        active: c.active,
        metadata: c.metadata,
        resident: c.resident,
        mapped: c.mapped,
        retained: c.retained,
    })
}

#[cfg(not(feature = "jemalloc"))]
pub(crate) fn jemalloc_bytes() -> Option<JemallocBytes> {
    None
}

/// Returns the free memory of the backing allocator and of the C heap to the system.
pub(super) fn purge() {
    #[cfg(feature = "jemalloc")]
    if heap::backend() == Some(heap::Backend::Jemalloc) {
        heap::jemalloc::purge();
    }
    heap::c_heap::trim();
}

#[cfg(feature = "jemalloc")]
fn print_statistics(to: &mut dyn Write, json: bool) -> io::Result<()> {
    heap::jemalloc::print_stats(to, json)
}

#[cfg(not(feature = "jemalloc"))]
fn print_statistics(_to: &mut dyn Write, _json: bool) -> io::Result<()> {
    Ok(())
}
