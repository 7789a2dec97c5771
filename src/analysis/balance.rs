//! The balance sheet of a boundary: resident memory, by what it is used for.

use crate::model::process::Balance;

use crate::model::journal::{CHeap, Counts, Memory};
use crate::model::run::HeapKind;

/// The balance of a boundary; `None` if the mappings could not be read.
pub(crate) fn sheet(counts: &Counts, heap: HeapKind) -> Option<Balance> {
    let memory = counts.memory?;
    let r = memory.resident;
    let c = memory.c_heap.unwrap_or_default();
    let resident_bytes = counts.resident_bytes?;
    let common = Balance {
        resident_bytes,
        live_bytes: counts.live_bytes,
        ledger_bytes: r.tool,
        stack_bytes: r.stacks,
        program_bytes: r.program,
        file_bytes: r.files,
        unexplained_bytes: resident_bytes as i64 - r.total as i64,
        ..Balance::default()
    };
    // Large blocks of C code are anonymous mappings of their own.
    let c_mapped = c.mapped.min(r.anonymous);
    let anonymous = r.anonymous - c_mapped;
    let live = counts.live_bytes;
    let parts = match (counts.jemalloc, backend(heap, &memory)) {
        (Some(j), _) => {
            let rust_live = live.saturating_sub(memory.c_bytes);
            let slack_bytes = j.active.saturating_sub(rust_live);
            let kept_bytes = j.resident.saturating_sub(j.active + j.metadata);
            let allocator = rust_live + slack_bytes + kept_bytes + j.metadata;
            let c_live = live - rust_live;
            let c_resident = r.c_heap + c_mapped;
            Balance {
                slack_bytes,
                kept_bytes,
                metadata_bytes: j.metadata,
                untouched_bytes: allocator.saturating_sub(anonymous)
                    + c_live.saturating_sub(c_resident),
                mapped_bytes: anonymous.saturating_sub(allocator),
                c_heap_bytes: c_resident.saturating_sub(c_live),
                ..common
            }
        }
        (None, Backend::CHeap) => {
            let chunks = memory.chunks.min(c.in_use);
            let resident = r.c_heap + c_mapped;
            let all = chunks.max(live) + c.free + (c.in_use - chunks);
            Balance {
                slack_bytes: chunks.saturating_sub(live),
                kept_bytes: c.free,
                c_heap_bytes: c.in_use - chunks + resident.saturating_sub(all),
                untouched_bytes: all.saturating_sub(resident),
                mapped_bytes: anonymous,
                ..common
            }
        }
        (None, Backend::Unknown) => Balance {
            // All anonymous memory is assumed to be the allocator's.
            slack_bytes: anonymous.saturating_sub(live),
            untouched_bytes: live.saturating_sub(anonymous),
            c_heap_bytes: r.c_heap + c_mapped,
            ..common
        },
    };
    Some(parts.without_untouched())
}

/// The allocator that the recorder forwards to, if it is not jemalloc.
pub(crate) enum Backend {
    /// The C library's allocator.
    CHeap,
    /// An allocator without statistics.
    Unknown,
}

/// The allocator that the recorder forwards to: the C library's if its statistics can include the
/// recorded blocks.
pub(crate) fn backend(heap: HeapKind, memory: &Memory) -> Backend {
    let includes_blocks = |c: CHeap| c.in_use >= memory.chunks / 10 * 9;
    match heap {
        HeapKind::Dhat => Backend::CHeap,
        _ if memory.c_heap.is_some_and(includes_blocks) => Backend::CHeap,
        _ => Backend::Unknown,
    }
}

impl Balance {
    /// Subtracts the pages that were never touched from the parts that most likely contain them.
    fn without_untouched(mut self) -> Self {
        let mut left = self.untouched_bytes;
        for part in [
            &mut self.metadata_bytes,
            &mut self.kept_bytes,
            &mut self.slack_bytes,
            &mut self.live_bytes,
            &mut self.c_heap_bytes,
        ] {
            let taken = left.min(*part);
            *part -= taken;
            left -= taken;
        }
        self
    }

    /// The parts with their names, in bytes.
    pub fn parts(&self) -> [(&'static str, u64); 10] {
        [
            ("live", self.live_bytes),
            ("slack", self.slack_bytes),
            ("kept for reuse", self.kept_bytes),
            ("metadata", self.metadata_bytes),
            ("ledger", self.ledger_bytes),
            ("C heap", self.c_heap_bytes),
            ("stacks", self.stack_bytes),
            ("program", self.program_bytes),
            ("files", self.file_bytes),
            ("other mapped", self.mapped_bytes),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::journal::JemallocBytes;
    use crate::model::journal::Resident;

    fn adds_up(b: &Balance) {
        let parts: u64 = b.parts().iter().map(|(_, bytes)| bytes).sum();
        let sum = parts as i64 + b.unexplained_bytes;
        assert_eq!(sum, b.resident_bytes as i64, "{b:?}");
    }

    fn counts(jemalloc: Option<JemallocBytes>, anonymous: u64, c: CHeap) -> Counts {
        let resident = Resident {
            total: anonymous + 1_000 + 200 + 30 + 4_000 + 50_000,
            tool: 1_000,
            stacks: 200,
            c_heap: 30,
            program: 4_000,
            files: 50_000,
            behind_files: 0,
            program_zeroed: 0,
            anonymous,
            mapped: 2 * anonymous,
        };
        Counts {
            live_bytes: 500,
            resident_bytes: Some(resident.total + 7),
            jemalloc,
            memory: Some(Memory {
                resident,
                c_heap: Some(c),
                chunks: 640,
                c_bytes: 20,
                descriptors: 5,
            }),
            ..Counts::default()
        }
    }

    #[test]
    fn the_parts_add_up_for_every_backend() {
        let jemalloc = JemallocBytes {
            allocated: 600,
            active: 900,
            metadata: 100,
            resident: 1_500,
            mapped: 3_000,
            retained: 0,
        };
        let c = CHeap {
            system: 90,
            in_use: 70,
            free: 20,
            mapped: 40,
        };
        for anonymous in [0, 40, 1_000, 1_540, 9_000] {
            let sheet = sheet(&counts(Some(jemalloc), anonymous, c), HeapKind::Jemalloc).unwrap();
            adds_up(&sheet);
            assert_eq!(sheet.mapped_bytes, anonymous.saturating_sub(1_540));
            if anonymous >= 1_540 {
                assert_eq!((sheet.slack_bytes, sheet.kept_bytes), (420, 500));
            }
        }
        let glibc = CHeap {
            system: 2_000,
            in_use: 1_000,
            free: 900,
            mapped: 100,
        };
        for anonymous in [0, 100, 2_000, 9_000] {
            adds_up(&sheet(&counts(None, anonymous, glibc), HeapKind::System).unwrap());
            adds_up(&sheet(&counts(None, anonymous, c), HeapKind::System).unwrap());
            adds_up(&sheet(&counts(None, anonymous, glibc), HeapKind::Dhat).unwrap());
        }
        assert_eq!(sheet(&Counts::default(), HeapKind::System), None);
    }
}
