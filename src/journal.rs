//! What the measured child writes and the parent reads: one JSON record a line.
//!
//! A boundary is one line, written with one call, and its census lists only what changed since the
//! boundary before. The lines that it needs (new sites, newly mapped code) come before it. So a
//! child that is killed leaves a journal that is whole up to its last boundary; a last line that
//! was cut off is left out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cycle::{HeapKind, Strategy};
use crate::error::Error;
use crate::heap::MappedVec;

/// Version of the journal's records.
pub(crate) const VERSION: u32 = 1;

/// The first record: what is going to be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start<S> {
    pub(crate) version: u32,
    pub(crate) workload: S,
    pub(crate) heap: HeapKind,
    pub(crate) strategy: Strategy,
    pub(crate) cycles: u32,
    pub(crate) warmup: u32,
    pub(crate) pid: u32,
    /// Stacks were walked by call frame information, because the build has no frame pointers.
    pub(crate) by_cfi: bool,
}

/// Executable code of a file at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Code<S> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Bytes into the file.
    pub(crate) offset: u64,
    pub(crate) path: S,
}

/// A site seen for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Site<A> {
    pub(crate) id: u32,
    /// The stack had more frames than were kept.
    pub(crate) cut: bool,
    /// Return addresses, innermost first.
    pub(crate) stack: A,
}

/// What is live of one site, birth cycle and birth phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u8, u64, u64)", into = "(u32, u32, u8, u64, u64)")]
pub(crate) struct Row {
    pub(crate) site: u32,
    pub(crate) birth: u32,
    pub(crate) phase: u8,
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
}

impl From<(u32, u32, u8, u64, u64)> for Row {
    fn from((site, birth, phase, bytes, blocks): (u32, u32, u8, u64, u64)) -> Self {
        Self {
            site,
            birth,
            phase,
            bytes,
            blocks,
        }
    }
}

impl From<Row> for (u32, u32, u8, u64, u64) {
    fn from(row: Row) -> Self {
        (row.site, row.birth, row.phase, row.bytes, row.blocks)
    }
}

/// jemalloc's own counters at a boundary, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JemallocBytes {
    /// `stats.allocated`: what the program holds, rounded up to size classes.
    pub allocated: u64,
    /// `stats.active`: pages that hold at least one such block.
    pub active: u64,
    /// `stats.metadata`: jemalloc's own bookkeeping.
    pub metadata: u64,
    /// `stats.resident`: pages that jemalloc believes to be in memory.
    pub resident: u64,
    /// `stats.mapped`: bytes in active extents mapped by jemalloc.
    pub mapped: u64,
    /// `stats.retained`: address space that it keeps without memory behind it.
    pub retained: u64,
}

/// The numbers of one boundary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The cycle that just ended, from 1.
    pub(crate) cycle: u32,
    pub(crate) live_bytes: u64,
    pub(crate) live_blocks: u64,
    /// Highest live bytes since the boundary before, to 4 KiB a thread.
    pub(crate) peak_bytes: u64,
    /// Live bytes born in this cycle's load when the load was done.
    pub(crate) loaded_bytes: u64,
    /// Blocks allocated in this cycle, and their bytes.
    pub(crate) allocations: u64,
    pub(crate) allocated_bytes: u64,
    /// Live bytes that were there before the first cycle, and their blocks.
    pub(crate) setup_bytes: u64,
    pub(crate) setup_blocks: u64,
    /// Resident memory; `None` if the kernel did not tell.
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) jemalloc: Option<JemallocBytes>,
    pub(crate) threads: u64,
    /// The heap came to rest before the boundary was taken.
    pub(crate) quiet: bool,
    /// Nanoseconds of load, infer and drop.
    pub(crate) cycle_nanos: u64,
    /// The ledger's own: nanoseconds inside the hooks since the cycles began (estimated from so
    /// many timed calls), bytes of its mappings, and what it could not record.
    pub(crate) hook_nanos: u64,
    pub(crate) timed_calls: u64,
    pub(crate) mapped_bytes: u64,
    pub(crate) unseen: u64,
    pub(crate) unknown_frees: u64,
    pub(crate) refused: u64,
}

/// A boundary: its numbers, and the rows that differ from the boundary before. A row with no
/// blocks is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boundary<R> {
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) census: R,
}

/// How the workload ended on its own account. A child that was killed leaves none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End<S> {
    /// `None` if all cycles ran; else what went wrong in which cycle and phase.
    pub(crate) failure: Option<S>,
}

/// A block's bytes and blocks that dhat should have under a site.
pub(crate) type Witness = (u32, u64, u64);

/// One line of the journal. The writer's is over borrowed parts, so that writing allocates
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Record<S = String, A = Vec<u64>, R = Vec<Row>, W = Vec<Witness>> {
    Start(Start<S>),
    Code(Code<S>),
    Site(Site<A>),
    Boundary(Boundary<R>),
    /// At the end of a dhat window: live `(site, bytes, blocks)` as dhat should have them.
    Witness(W),
    End(End<S>),
}

pub(crate) type RecordRef<'a> = Record<&'a str, &'a [usize], &'a [Row], &'a [Witness]>;

/// The writing end. Buffers are mappings of its own, so that writing leaves the heap alone.
pub(crate) struct Writer {
    file: File,
    line: MappedVec<u8>,
}

impl Writer {
    /// # Errors
    /// If the file cannot be made; an old file is never overwritten.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::options().write(true).create_new(true).open(path)?,
            line: MappedVec::new(),
        })
    }

    /// Writes one record as one line, with one call to the system.
    ///
    /// # Errors
    /// If the file cannot be written, or there is no memory for the line.
    pub(crate) fn write(&mut self, record: &RecordRef<'_>) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(LineWriter(&mut self.line), record)?;
        LineWriter(&mut self.line).write_all(b"\n")?;
        self.file.write_all(self.line.as_slice())
    }
}

struct LineWriter<'a>(&'a mut MappedVec<u8>);

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.extend_from_slice(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A journal read back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Journal {
    pub(crate) start: Start<String>,
    pub(crate) code: Vec<Code<String>>,
    pub(crate) sites: BTreeMap<u32, Site<Vec<u64>>>,
    pub(crate) boundaries: Vec<Boundary<Vec<Row>>>,
    pub(crate) witness: Option<Vec<Witness>>,
    /// `None` if the child wrote no end: it was killed, aborted or is still running.
    pub(crate) end: Option<End<String>>,
    /// A last line without its newline was left out.
    pub(crate) tail_cut: bool,
}

impl Journal {
    /// Reads a journal, a cut-off tail included.
    ///
    /// # Errors
    /// If it cannot be read, has no start, or a whole line is not a record.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::io("read the journal", path, e))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut number = 0;
        let mut journal: Option<Self> = None;
        let mut tail_cut = false;
        loop {
            line.clear();
            reader
                .read_until(b'\n', &mut line)
                .map_err(|e| Error::io("read the journal", path, e))?;
            if line.is_empty() {
                break;
            }
            number += 1;
            if line.last() != Some(&b'\n') {
                tail_cut = true;
                break;
            }
            let record: Record = serde_json::from_slice(&line)
                .map_err(|e| Error::malformed(path, Some(number), format!("not a record: {e}")))?;
            match (&mut journal, record) {
                (None, Record::Start(start)) if start.version == VERSION => {
                    journal = Some(Self::begun(start));
                }
                (None, Record::Start(start)) => {
                    let wrong = format!("written in version {} of the journal", start.version);
                    return Err(Error::malformed(path, Some(number), wrong)
                        .hint("record it again with this version of afterdrop"));
                }
                (None, _) => {
                    return Err(Error::malformed(path, Some(number), "has no start record"));
                }
                (Some(journal), record) => journal.take(record),
            }
        }
        let mut journal = journal
            .ok_or_else(|| Error::malformed(path, None, "the journal ends before its start"))?;
        journal.tail_cut = tail_cut;
        Ok(journal)
    }

    fn begun(start: Start<String>) -> Self {
        Self {
            start,
            code: Vec::new(),
            sites: BTreeMap::new(),
            boundaries: Vec::new(),
            witness: None,
            end: None,
            tail_cut: false,
        }
    }

    fn take(&mut self, record: Record) {
        match record {
            // A second start cannot be written; the first one stands.
            Record::Start(_) => {}
            Record::Code(code) => self.code.push(code),
            Record::Site(site) => {
                self.sites.insert(site.id, site);
            }
            Record::Boundary(boundary) => self.boundaries.push(boundary),
            Record::Witness(witness) => self.witness = Some(witness),
            Record::End(end) => self.end = Some(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_sample(path: &Path) {
        let mut writer = Writer::create(path).unwrap();
        let records: [RecordRef<'_>; 5] = [
            Record::Start(Start {
                version: VERSION,
                workload: "planted:\"registry\"\n",
                heap: HeapKind::System,
                strategy: Strategy::Fresh,
                cycles: 20,
                warmup: 3,
                pid: 1,
                by_cfi: false,
            }),
            Record::Code(Code {
                start: 1,
                end: 2,
                offset: 3,
                path: "/bin/a b",
            }),
            Record::Site(Site {
                id: 7,
                cut: true,
                stack: &[usize::MAX, 1],
            }),
            Record::Boundary(Boundary {
                counts: Counts {
                    cycle: 1,
                    live_bytes: 4096,
                    resident_bytes: Some(9),
                    ..Counts::default()
                },
                census: &[Row {
                    site: 7,
                    birth: 1,
                    phase: 2,
                    bytes: 4096,
                    blocks: 1,
                }],
            }),
            Record::End(End {
                failure: Some("broke"),
            }),
        ];
        for record in &records {
            writer.write(record).unwrap();
        }
    }

    fn temporary() -> (std::path::PathBuf, Removed) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("afterdrop-journal-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        (path.clone(), Removed(path))
    }

    struct Removed(std::path::PathBuf);
    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn what_was_written_reads_back() {
        let (path, _removed) = temporary();
        write_sample(&path);
        let journal = Journal::read(&path).unwrap();
        assert_eq!(journal.start.workload, "planted:\"registry\"\n");
        assert_eq!(journal.code[0].path, "/bin/a b");
        assert_eq!(journal.sites[&7].stack, [u64::MAX, 1]);
        assert_eq!(journal.boundaries[0].census[0].bytes, 4096);
        assert_eq!(journal.boundaries[0].counts.resident_bytes, Some(9));
        assert_eq!(journal.end.unwrap().failure.unwrap(), "broke");
        assert!(!journal.tail_cut);
    }

    #[test]
    fn a_journal_cut_anywhere_keeps_its_whole_lines() {
        let (path, _removed) = temporary();
        write_sample(&path);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let lines = whole[..length].iter().filter(|&&b| b == b'\n').count();
            match Journal::read(&path) {
                Ok(journal) => {
                    assert_eq!(journal.boundaries.len(), usize::from(lines >= 4));
                    assert_eq!(journal.tail_cut, whole[length - 1] != b'\n');
                }
                Err(_) => assert_eq!(lines, 0, "cut at {length}"),
            }
        }
    }

    #[test]
    fn a_broken_line_is_named() {
        let (path, _removed) = temporary();
        write_sample(&path);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"boundary\":{}}\n");
        std::fs::write(&path, text).unwrap();
        let error = Journal::read(&path).unwrap_err().to_string();
        assert!(error.contains(":6: not a record"), "{error}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 300,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            ..Default::default()
        })]

        #[test]
        fn a_damaged_journal_is_an_error_or_a_shorter_one(
            changes in proptest::collection::vec((0_usize..1000, 0_u8..=255), 1..8),
        ) {
            let (path, _removed) = temporary();
            write_sample(&path);
            let mut bytes = std::fs::read(&path).unwrap();
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            std::fs::write(&path, bytes).unwrap();
            if let Ok(journal) = Journal::read(&path) {
                proptest::prop_assert!(journal.boundaries.len() <= 2);
            }
        }
    }

    #[test]
    fn an_existing_file_is_not_overwritten() {
        let (path, _removed) = temporary();
        std::fs::write(&path, "mine").unwrap();
        assert!(Writer::create(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
