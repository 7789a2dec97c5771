//! Pages that an allocator keeps although no block in them is live: not a leak.

use crate::analysis::balance::sheet;
use crate::analysis::journal::Journal;
use crate::base::units::bytes;
use crate::model::journal::Counts;
use crate::model::process::Balance;
use crate::model::run::HeapKind;

/// The growth of kept pages from which it is reported: bytes, and as a fraction of resident memory.
const MIN_BYTES: u64 = 4 << 20;
const MIN_FRACTION: u64 = 10;

/// What to say if live bytes are constant, but the allocator keeps more and more pages.
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
    if is_little || live > growth / 2 {
        return None;
    }
    let purge = match purged {
        Some(purged) => format!(
            "a purge after the run returned {} to the system",
            bytes(purged as f64)
        ),
        None => "it was not purged after the run".into(),
    };
    let remedy = match heap {
        HeapKind::Jemalloc => {
            "`_RJEM_MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0` returns them at once \
             (`MALLOC_CONF` for a jemalloc without prefix), `background_thread:true` after a while"
        }
        _ => "`malloc_trim(0)` returns them, `MALLOC_TRIM_THRESHOLD_=0` as soon as they are free",
    };
    Some(format!(
        "the allocator keeps pages: {} more than at the baseline, without live blocks; {purge}. \
         This is not a leak: {remedy}",
        bytes(growth as f64)
    ))
}
