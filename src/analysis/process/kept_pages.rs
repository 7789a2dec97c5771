//! Pages that an allocator keeps although no block in them is live: not a leak.

use crate::analysis::balance::sheet;
use crate::analysis::journal::Journal;
use crate::base::text::count;
use crate::base::units::bytes;
use crate::model::journal::Counts;
use crate::model::process::Balance;
use crate::model::run::HeapKind;

/// The growth of kept pages from which it is reported: bytes, and as a fraction of resident memory.
const MIN_BYTES: u64 = 4 << 20;
const MIN_FRACTION: u64 = 10;

/// Pages from which it is reported that they are kept, although they do not grow.
const MUCH: u64 = 16 << 20;
const MUCH_FRACTION: u64 = 4;

/// What to say if live bytes are constant, but the allocator keeps more and more pages, or a large part of
/// the resident memory.
pub(super) fn kept_pages(journal: &Journal, purged: Option<u64>) -> Option<String> {
    let heap = journal.start.heap;
    let is_measured = |c: &&Counts| c.cycle >= journal.start.warmup.max(1);
    let counts = journal.boundaries.iter().map(|b| &b.counts);
    let mut counts = counts.filter(is_measured);
    let first = sheet(counts.next()?, heap)?;
    let last = sheet(counts.next_back()?, heap)?;
    let kept = |b: &Balance| (b.slack_bytes + b.kept_bytes).saturating_sub(b.untouched_bytes);
    let growth = kept(&last).saturating_sub(kept(&first));
    let live = last.live_bytes.saturating_sub(first.live_bytes);
    let is_little = growth < MIN_BYTES || growth * MIN_FRACTION < last.resident_bytes;
    let is_much = last.kept_bytes >= MUCH && last.kept_bytes * MUCH_FRACTION >= last.resident_bytes;
    let what = match (is_little || live > growth / 2, is_much) {
        (false, _) => format!(
            "the allocator keeps pages: {} more than at the baseline, without live blocks",
            bytes(growth as f64)
        ),
        (true, true) => format!(
            "the allocator keeps {} of the {} of resident memory for reuse, without live blocks",
            bytes(last.kept_bytes as f64),
            bytes(last.resident_bytes as f64)
        ),
        (true, false) => return None,
    };
    let purge = match purged {
        Some(purged) => format!(
            "a purge after the run returned {} to the system",
            bytes(purged as f64)
        ),
        None => "it was not purged after the run".into(),
    };
    let remedy = remedy(journal);
    Some(format!("{what}; {purge}. This is not a leak: {remedy}"))
}

/// What makes the allocator keep fewer pages.
fn remedy(journal: &Journal) -> String {
    if journal.start.heap == HeapKind::Jemalloc {
        return "`_RJEM_MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0` returns them at once \
                (`MALLOC_CONF` for a jemalloc without prefix), `background_thread:true` after a while"
            .into();
    }
    let arenas = journal.purge.and_then(|purge| purge.arenas);
    let by_threads = arenas.filter(|a| a.count > 2 && a.free_in_others > a.free_in_main);
    let first = match by_threads {
        Some(arenas) => format!(
            "{} of the free bytes are in {} that threads have used, of which `MALLOC_ARENA_MAX=2` \
             allows fewer; ",
            bytes(arenas.free_in_others as f64),
            count(arenas.count - 1, "arena")
        ),
        None => String::new(),
    };
    let by_preload = match journal.start.exec {
        true => ", and jemalloc, as in `LD_PRELOAD=libjemalloc.so.2`, after a while",
        false => "",
    };
    format!(
        "{first}`malloc_trim(0)` returns them, `MALLOC_TRIM_THRESHOLD_=0` as soon as they are free\
         {by_preload}"
    )
}
