//! What the allocator beneath says of itself: counters at a boundary, and dumps at the baseline and
//! at the end.

use std::io::{self, Write};

use crate::base::files::write_atomically;
use crate::model::journal::JemallocBytes;
use crate::model::plan::Plan;
use crate::model::run::HeapKind;
use crate::recorder::heap;

/// jemalloc's own statistics, as JSON and as text, in the folder of the run.
pub(super) fn statistics(plan: &Plan, when: &str) -> io::Result<()> {
    if plan.heap != HeapKind::Jemalloc {
        return Ok(());
    }
    let _paused = heap::pause();
    for (ending, json) in [("json", true), ("txt", false)] {
        let name = format!("jemalloc-stats-{when}.{ending}");
        write_atomically(&plan.out.join(name), |to| print_statistics(to, json))?;
    }
    Ok(())
}

/// jemalloc's counters; `None` where it is not what is beneath.
#[cfg(feature = "jemalloc")]
pub(super) fn jemalloc_bytes() -> Option<JemallocBytes> {
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
pub(super) fn jemalloc_bytes() -> Option<JemallocBytes> {
    None
}

/// Asks the allocators to give back to the system what they keep for reuse.
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
