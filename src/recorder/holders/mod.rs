//! The holder search: which static, thread or reference cycle keeps each retained block reachable.
//!
//! 1. [`frozen_copy`] suspends the other threads ([`suspend`], by a
//!    signal that does no harm: [`signals`]), forks, and resumes them. The memory
//!    of the copy does not change any more.
//! 2. In the copy, [`index`] is built from all live blocks, and [`find_regions`] finds the memory
//!    outside of the heap that may contain pointers to them, with its symbols ([`objects`]).
//! 3. [`search`] marks each block with the holder that reaches it first: a root ([`roots`]), or the
//!    cause of the loss ([`lost`]).
//! 4. [`overlap`] finds what a static reaches besides, if several of them share the blocks of a stack.
//!    Before and between, [`python`] adds what the structures of Python's interpreter tell.
//! 5. [`records`] writes holders and retaining paths to [`FILE`], which the parent process reads.
//!
//! The scan is conservative: every word that equals an address in a block counts as a pointer to
//! it. Stale words, on stacks and in reused memory, can make a lost block appear to be held.
//! Therefore the analysis names a holder of a call site only if it holds most of the site's blocks.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::units::bytes;
use crate::model::holders::{FILE, Summary};
use crate::recorder::heap;
use crate::recorder::journal::JsonLines;

mod backtrace;
mod c_heaps;
mod coverage;
mod error;
mod find_regions;
mod frozen_copy;
mod held_blocks;
mod holder_table;
mod index;
mod kernel_copies;
mod lost;
mod main_arena;
mod marks;
mod objects;
mod overlap;
mod path;
#[cfg(any(feature = "preload", test))]
mod python;
#[cfg(not(any(feature = "preload", test)))]
#[path = "no_python.rs"]
mod python;
mod records;
mod regions;
mod resident_parts;
mod roots;
mod scan;
mod search;
mod signals;
mod suspend;
mod tls;
mod unreadable;

use error::SearchError;
use frozen_copy::{CopyError, FrozenCopy, ProcessInfo, Threads};
use index::{Index, Sizes};
use python::Python;
use records::RecordRef;
use search::Search;

/// Time limit of a search.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A search that runs in a copy of the process.
pub(crate) struct RunningSearch(FrozenCopy);

impl RunningSearch {
    /// For how long the threads of the process were suspended.
    pub(crate) fn pause(&self) -> Duration {
        self.0.pause
    }

    /// Waits for the search to end.
    ///
    /// # Errors
    /// Why it has found nothing.
    pub(crate) fn wait(self) -> Result<(), String> {
        match self.0.wait(TIMEOUT) {
            Ok(0) => Ok(()),
            Ok(code) => Err(SearchError::message(code)),
            Err(why) => Err(format!("the search did not finish: {why}")),
        }
    }
}

/// Starts a search for the holders of all live blocks in a copy of this process. The copy writes
/// the result to [`FILE`] in `folder`.
///
/// # Errors
/// Why holders cannot be found.
pub(crate) fn start_search(folder: &Path) -> Result<RunningSearch, String> {
    let paused = heap::pause();
    if let Some(every) = heap::sampled_every() {
        return Err(format!(
            "only a sample of the blocks was recorded, one for every {} allocated; hint: leave out \
             --sample",
            bytes(every as f64)
        ));
    }
    if !heap::knows_sizes() {
        return Err(
            "the allocator does not report the sizes of its blocks; hint: measure over jemalloc"
                .into(),
        );
    }
    // Created before the fork, because the copy must not allocate.
    let path = folder.join(FILE);
    // Nobody reads the results of a program as it is before its end: the last search replaces those before.
    let _ = std::fs::remove_file(&path);
    let mut lines = JsonLines::create(&path).map_err(|e| format!("cannot create {FILE}: {e}"))?;
    let info = ProcessInfo::collect(&paused);
    let copy = frozen_copy::copy_process(&paused, &info, |threads| {
        let searched = threads
            .map_err(SearchError::from)
            .and_then(|threads| search_and_write(&mut lines, &info, &threads));
        searched.map_or_else(|error| error as u8, |()| 0)
    });
    copy.map(RunningSearch).map_err(|error| match error {
        CopyError::NoFreeSignal => {
            "cannot suspend the threads: the program handles all real-time signals itself".into()
        }
        CopyError::Clone(error) => format!("cannot fork the process: {error}"),
    })
}

/// Searches, and writes the result. Runs in the copy.
fn search_and_write(
    lines: &mut JsonLines,
    info: &ProcessInfo,
    threads: &Threads,
) -> Result<(), SearchError> {
    let start = Instant::now();
    let each = |visit: &mut dyn FnMut(usize)| heap::for_each_block(visit);
    let index = Index::new(each, Sizes::OF_HEAP.usable)?;
    let regions = find_regions::find(info, threads, &index)?;
    let python = Python::new(info.python.as_ref(), &index, &regions, Sizes::OF_HEAP)?;
    let python = python.as_ref();
    let mut search = Search::run(&index, &regions, Sizes::OF_HEAP, python)?;
    let nanos = start.elapsed().as_nanos() as u64;
    records::write_held_blocks(lines, &mut search, python)?;
    if let Some(python) = python {
        records::write_objects(lines, python)?;
    }
    records::write_holders(lines, &search, &regions, python)?;
    let summary = Summary {
        blocks: u64::from(index.count()),
        bytes: index.bytes(),
        searched_bytes: search.scanned_bytes(),
        nanos,
        own_bytes: search.own_bytes() as u64,
        missed_threads: threads.missed as u32,
        searched_c_memory: heap::is_apart(),
        unsearched: search.unsearched(&regions),
    };
    lines.write(&RecordRef::Summary(summary))?;
    Ok(())
}
