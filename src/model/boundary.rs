//! The process at the end of a cycle, as a report has it.

use serde::{Deserialize, Serialize};

use super::journal::JemallocBytes;
use super::process::Balance;

/// The process at the end of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(!from))]
#[non_exhaustive]
pub struct Boundary {
    /// The cycle that just ended, from 1.
    pub cycle: u32,
    /// Live bytes in the ledger.
    pub live_bytes: u64,
    /// Live blocks in the ledger.
    pub live_blocks: u64,
    /// Highest live bytes during the cycle, to within 4 KiB for each running thread.
    pub peak_bytes: u64,
    /// Resident memory of the process, afterdrop's own included.
    pub resident_bytes: Option<u64>,
    /// Highest resident memory since the process started, within cycles too.
    pub peak_resident_bytes: Option<u64>,
    /// Blocks allocated in the cycle.
    pub allocations: u64,
    /// Bytes allocated in the cycle.
    pub allocated_bytes: u64,
    /// Live bytes that loading the model added.
    pub loaded_bytes: u64,
    /// Highest live bytes while the model was loaded, less those before; to within 4 KiB.
    pub load_peak_bytes: u64,
    /// Threads of the process.
    pub threads: u64,
    /// Whether other threads had stopped allocating when the census was taken.
    pub quiet: bool,
    /// Seconds of load, infer and drop.
    pub seconds: f64,
    /// jemalloc's own counters; `None` unless the heap was jemalloc.
    #[serde(flatten)]
    pub jemalloc: Option<JemallocBytes>,
    /// Resident memory by use; `None` where the kernel does not report its mappings.
    pub balance: Option<Balance>,
}

/// A boundary as a report stores it. To read it with `serde(flatten)` would keep all of its values a
/// second time, also those that are of no field.
#[derive(Deserialize)]
struct Stored {
    cycle: u32,
    live_bytes: u64,
    live_blocks: u64,
    peak_bytes: u64,
    resident_bytes: Option<u64>,
    peak_resident_bytes: Option<u64>,
    allocations: u64,
    allocated_bytes: u64,
    loaded_bytes: u64,
    load_peak_bytes: u64,
    threads: u64,
    quiet: bool,
    seconds: f64,
    allocated: Option<u64>,
    active: Option<u64>,
    metadata: Option<u64>,
    resident: Option<u64>,
    mapped: Option<u64>,
    retained: Option<u64>,
    balance: Option<Balance>,
}

impl From<Stored> for Boundary {
    fn from(stored: Stored) -> Self {
        Self {
            cycle: stored.cycle,
            live_bytes: stored.live_bytes,
            live_blocks: stored.live_blocks,
            peak_bytes: stored.peak_bytes,
            resident_bytes: stored.resident_bytes,
            peak_resident_bytes: stored.peak_resident_bytes,
            allocations: stored.allocations,
            allocated_bytes: stored.allocated_bytes,
            loaded_bytes: stored.loaded_bytes,
            load_peak_bytes: stored.load_peak_bytes,
            threads: stored.threads,
            quiet: stored.quiet,
            seconds: stored.seconds,
            jemalloc: jemalloc(&stored),
            balance: stored.balance,
        }
    }
}

/// jemalloc's counters, if all of them are there.
fn jemalloc(stored: &Stored) -> Option<JemallocBytes> {
    Some(JemallocBytes {
        allocated: stored.allocated?,
        active: stored.active?,
        metadata: stored.metadata?,
        resident: stored.resident?,
        mapped: stored.mapped?,
        retained: stored.retained?,
    })
}
