//! jemalloc as the backend: its counters, and its own dump of all statistics.

use std::io;

use tikv_jemalloc_ctl::{epoch, stats, stats_print};

pub(super) static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's counters in bytes: `stats.{allocated, active, metadata, resident, mapped, retained}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters {
    pub(crate) allocated: u64,
    pub(crate) active: u64,
    pub(crate) metadata: u64,
    pub(crate) resident: u64,
    pub(crate) mapped: u64,
    pub(crate) retained: u64,
}

/// Reads the counters; `None` if this jemalloc keeps no statistics.
///
/// The thread's cached blocks are returned to their arena first, because `allocated` counts them as
/// allocated.
pub(crate) fn read() -> Option<Counters> {
    flush_thread_cache();
    epoch::advance().ok()?;
    Some(Counters {
        allocated: stats::allocated::read().ok()? as u64,
        active: stats::active::read().ok()? as u64,
        metadata: stats::metadata::read().ok()? as u64,
        resident: stats::resident::read().ok()? as u64,
        mapped: stats::mapped::read().ok()? as u64,
        retained: stats::retained::read().ok()? as u64,
    })
}

/// Bytes that jemalloc has mapped: in use, kept for reuse, or for its own data; `None` if it keeps no
/// statistics.
pub(crate) fn mapped_bytes() -> Option<u64> {
    epoch::advance().ok()?;
    Some((stats::mapped::read().ok()? + stats::retained::read().ok()?) as u64)
}

fn flush_thread_cache() {
    control(c"thread.tcache.flush");
}

/// Returns the unused pages of all arenas to the system (4096 is `MALLCTL_ARENAS_ALL`).
pub(crate) fn purge() {
    control(c"arena.4096.purge");
}

/// Calls a control that has neither an input nor an output.
fn control(name: &core::ffi::CStr) {
    let nothing = core::ptr::null_mut();
    // SAFETY: the name ends in a null byte, and the pointers of a control without input and output
    // must be null. Its error is ignored: it fails only if there is nothing to do.
    unsafe {
        tikv_jemalloc_sys::mallctl(name.as_ptr(), nothing, core::ptr::null_mut(), nothing, 0);
    }
}

/// Writes the output of jemalloc's `malloc_stats_print` to `to`, as JSON or as text, with all arenas
/// merged.
///
/// # Errors
/// If `to` fails, or this jemalloc keeps no statistics.
pub(crate) fn print_stats(to: &mut dyn io::Write, json: bool) -> io::Result<()> {
    epoch::advance().map_err(|error| io::Error::other(error.to_string()))?;
    let mut options = stats_print::Options::default();
    options.json_format = json;
    options.skip_per_arena = true;
    options.skip_mutex_statistics = true;
    stats_print::stats_print(to, options)
}
