//! What the allocator beneath says of itself: counters at a boundary, and dumps at the baseline and
//! at the end.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::{HeapKind, Plan};
use crate::heap;
use crate::journal::JemallocBytes;

/// jemalloc's own statistics, as JSON and as text, in the folder of the run.
pub(super) fn statistics(plan: &Plan, when: &str) -> io::Result<()> {
    if plan.heap != HeapKind::Jemalloc {
        return Ok(());
    }
    let _paused = heap::pause();
    for (ending, json) in [("json", true), ("txt", false)] {
        let name = format!("jemalloc-stats-{when}.{ending}");
        write_whole(&plan.out.join(name), |to| print_statistics(to, json))?;
    }
    Ok(())
}

/// Writes a file under a temporary name and renames it, so that no half of it is ever found.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = path.with_extension("part");
    let mut file = BufWriter::new(File::create(&temporary)?);
    write(&mut file)?;
    file.flush()?;
    fs::rename(&temporary, path)
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

#[cfg(feature = "jemalloc")]
fn print_statistics(to: &mut dyn Write, json: bool) -> io::Result<()> {
    heap::jemalloc::print_stats(to, json)
}

#[cfg(not(feature = "jemalloc"))]
fn print_statistics(_to: &mut dyn Write, _json: bool) -> io::Result<()> {
    Ok(())
}
