//! The process at the end of a cycle, as a report has it.

use serde_core::ser::SerializeMap;
use serde_core::{Deserialize, Deserializer, Serialize, Serializer};

use super::journal::JemallocBytes;
use super::process::Balance;
use crate::base::json::fields;
/// The process at the end of a cycle.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
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
    #[cfg_attr(feature = "formats", schemars(flatten))]
    pub jemalloc: Option<JemallocBytes>,
    /// Resident memory by use; `None` where the kernel does not report its mappings.
    pub balance: Option<Balance>,
}

/// An object, with jemalloc's counters among its fields.
impl Serialize for Boundary {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_map(None)?;
        object.serialize_entry("cycle", &self.cycle)?;
        object.serialize_entry("live_bytes", &self.live_bytes)?;
        object.serialize_entry("live_blocks", &self.live_blocks)?;
        object.serialize_entry("peak_bytes", &self.peak_bytes)?;
        object.serialize_entry("resident_bytes", &self.resident_bytes)?;
        object.serialize_entry("peak_resident_bytes", &self.peak_resident_bytes)?;
        object.serialize_entry("allocations", &self.allocations)?;
        object.serialize_entry("allocated_bytes", &self.allocated_bytes)?;
        object.serialize_entry("loaded_bytes", &self.loaded_bytes)?;
        object.serialize_entry("load_peak_bytes", &self.load_peak_bytes)?;
        object.serialize_entry("threads", &self.threads)?;
        object.serialize_entry("quiet", &self.quiet)?;
        object.serialize_entry("seconds", &self.seconds)?;
        if let Some(jemalloc) = &self.jemalloc {
            object.serialize_entry("allocated", &jemalloc.allocated)?;
            object.serialize_entry("active", &jemalloc.active)?;
            object.serialize_entry("metadata", &jemalloc.metadata)?;
            object.serialize_entry("resident", &jemalloc.resident)?;
            object.serialize_entry("mapped", &jemalloc.mapped)?;
            object.serialize_entry("retained", &jemalloc.retained)?;
        }
        object.serialize_entry("balance", &self.balance)?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for Boundary {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Stored::deserialize(from).map(Self::from)
    }
}

/// A boundary as a report stores it.
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

fields! {
    read Stored {
        cycle, live_bytes, live_blocks, peak_bytes, resident_bytes: default,
        peak_resident_bytes: default, allocations, allocated_bytes, loaded_bytes, load_peak_bytes,
        threads, quiet, seconds, allocated: default, active: default, metadata: default,
        resident: default, mapped: default, retained: default, balance: default,
    }
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
