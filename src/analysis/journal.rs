//! Reads the journal, while it is being written or afterwards.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
#[cfg(feature = "live")]
use std::io::BufRead;
use std::io::Read;
use std::path::PathBuf;

use crate::base::error::Error;
use crate::base::text::count;
use crate::base::units::sum;
use crate::model::block::{CensusEntry, MAX_CYCLE, NO_STACK};
use crate::model::journal::{
    Boundary, Code, End, Files, NUMBER_START, Peak, Purge, Record, SUM_LENGTH, SUM_START, Searched,
    Stack, Start, Threads, VERSION, Witness, sum_of,
};
use crate::model::python::{Interpreter, PythonLocation};

/// Digits of the largest figure of a boundary: a petabyte, or eleven days.
const MOST_DIGITS: usize = 15;

/// What some editors put in front of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The content of a journal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Journal {
    pub(crate) start: Start<String>,
    pub(crate) code: Vec<Code>,
    pub(crate) interpreter: Option<Interpreter>,
    pub(crate) python: Vec<PythonLocation>,
    pub(crate) stacks: HashMap<u32, Stack<Vec<u64>>>,
    pub(crate) boundaries: Vec<Boundary<Vec<CensusEntry>>>,
    /// What was live at the peak so far.
    pub(crate) peak: Option<Peak<Vec<CensusEntry>>>,
    /// A higher one, of the cycle whose boundary comes next.
    next_peak: Option<Peak<Vec<CensusEntry>>>,
    /// How often the child has waited for a reply.
    pub(crate) waits: u32,
    /// The last cycle after which it has waited, or searched for holders.
    reached: u32,
    pub(crate) witness: Option<Vec<Witness>>,
    /// The lists of threads at the baseline and at the end, as far as the run got.
    pub(crate) threads: Vec<Threads>,
    /// What was open and mapped at the baseline and at the end, as far as the run got.
    pub(crate) files: Vec<Files>,
    pub(crate) purge: Option<Purge>,
    pub(crate) searched: Option<Searched<String>>,
    /// What the child could not write, and why.
    pub(crate) unwritten: Vec<String>,
    /// `None` if the child has written no end: it was killed, has aborted, or still runs.
    pub(crate) end: Option<End<String>>,
    /// The last line was incomplete, and is left out.
    pub(crate) tail_cut: bool,
    pub(crate) damage: Damage,
}

/// What of a journal could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Lines that are not records, and are left out.
    pub(crate) lines: u64,
    /// The number of the first of them, and what is wrong with it.
    pub(crate) first: Option<(u64, String)>,
    /// The last cycle before a boundary that is missing or cannot be trusted. A census has only what
    /// changed, so that all later ones are left out.
    pub(crate) gap_after: Option<u32>,
    /// A line behind the last boundary that was read looks like one, and is none, or a line is missing there.
    may_lack_boundary: bool,
    /// Stacks without a line that live blocks have.
    unknown_stacks: u64,
}

impl Damage {
    /// What of the run is not known because of a gap, in words; `None` if there is none.
    pub(crate) fn gap(&self) -> Option<String> {
        let last = self.gap_after?;
        Some(format!(
            "the journal has no readable boundary after that of cycle {last}, and later ones have only what \
             changed: the report covers the cycles up to {last}, and what grew or was freed later is not known"
        ))
    }

    /// What is wrong, in words; `None` if nothing is.
    pub(crate) fn message(&self) -> Option<String> {
        let Some((line, wrong)) = &self.first else {
            let stacks = count(self.unknown_stacks, "stack");
            return (self.unknown_stacks > 0).then(|| {
                format!("the journal lacks {stacks}, so that blocks from there have no call site")
            });
        };
        let left_out = count(self.lines, "line");
        Some(format!(
            "{left_out} of the journal could not be read, the first in line {line}: {wrong}"
        ))
    }
}

/// Reads a journal that may still grow, one complete line at a time.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
    /// The number of complete lines.
    number: u64,
    /// The number that the last line says it has, and how many were read behind it that say none.
    said: (u64, u64),
    damage: Damage,
    journal: Option<Journal>,
}

impl Reader {
    /// What was read so far; `None` before the start record.
    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// A reader of a journal that need not exist yet.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
            line: Vec::new(),
            number: 0,
            said: (0, 0),
            damage: Damage::default(),
            journal: None,
        }
    }

    /// Reads what was written since the last call, and returns the journal so far; `None` before
    /// the start record.
    ///
    /// # Errors
    /// If the file cannot be read, or was written by another version.
    pub(crate) fn poll(&mut self) -> Result<Option<&Journal>, Error> {
        let unreadable = |e| Error::io("read the journal", &self.path, e);
        if self.file.is_none() && self.path.exists() {
            self.file = Some(File::open(&self.path).map_err(unreadable)?);
        }
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        let mut new = Vec::new();
        file.read_to_end(&mut new).map_err(unreadable)?;
        self.take_text(&new)?;
        Ok(self.journal.as_ref())
    }

    /// Takes a part of the text.
    fn take_text(&mut self, new: &[u8]) -> Result<(), Error> {
        for part in new.split_inclusive(|&b| b == b'\n') {
            self.line.extend_from_slice(part);
            if part.last() == Some(&b'\n') {
                self.take_line()?;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// Reads a journal that is not in a file, line by line, up to an empty line or the end. `name` is told in errors.
    ///
    /// # Errors
    /// If it cannot be read, was written by another version, or has no start record.
    #[cfg(feature = "live")]
    pub(crate) fn read_from(name: &str, from: &mut impl BufRead) -> Result<Journal, Error> {
        let mut reader = Self::new(name);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = from.read_until(b'\n', &mut line);
            read.map_err(|e| Error::io("read the journal", &reader.path, e))?;
            if matches!(&line[..], b"" | b"\n") {
                break;
            }
            reader.take_text(&line)?;
        }
        reader.close()
    }

    /// Takes a complete line. One that is not a record costs that line, and not the run.
    fn take_line(&mut self) -> Result<(), Error> {
        self.number += 1;
        if self.number == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        if !verify_sum(&mut self.line) {
            self.said.1 += 1;
            self.leave_out("it does not match its checksum".into());
            return Ok(());
        }
        match take_number(&mut self.line) {
            Some(number) => self.take_said_number(number),
            None => self.said.1 += 1,
        }
        let record = match serde_json::from_slice(&self.line) {
            Ok(record) => record,
            Err(error) => {
                self.leave_out(error.to_string());
                return Ok(());
            }
        };
        match (&mut self.journal, record) {
            (None, Record::Start(start)) if start.version == VERSION && !is_plausible(&start) => {
                let wrong = "a figure in its start record is larger than any run has";
                return Err(Error::malformed(&self.path, Some(self.number), wrong));
            }
            (None, Record::Start(start)) if start.version == VERSION => {
                self.journal = Some(Journal::new(start));
            }
            (None, Record::Start(start)) => {
                let wrong = format!("the journal has version {}, not {VERSION}", start.version);
                return Err(Error::malformed(&self.path, Some(self.number), wrong)
                    .hint("record it again with this version of afterdrop"));
            }
            (None, _) => self.leave_out("it is before the start record".into()),
            (_, Record::Boundary(_) | Record::Peak(_) | Record::Purge(_) | Record::Witness(_))
                if has_long_number(&self.line) =>
            {
                self.leave_out("a number in it is larger than any memory or time".into());
            }
            (_, Record::Boundary(boundary)) if has_unborn_blocks(&boundary) => {
                self.leave_out("a block in it is of a later cycle".into());
            }
            (Some(journal), _) if journal.end.is_some() => {
                self.damage("it is behind the end of the run".into());
            }
            (Some(journal), Record::Boundary(boundary)) => {
                if let Err(wrong) = journal.take_boundary(boundary) {
                    self.damage(wrong);
                }
            }
            (Some(journal), record) => {
                if let Err(wrong) = journal.take(record) {
                    self.damage(wrong);
                }
            }
        }
        Ok(())
    }

    /// Notices lines that are missing in front of one that says this number. Those that could not be read may have
    /// been these.
    fn take_said_number(&mut self, number: u64) {
        let (last, unnumbered) = self.said;
        let expected = last.saturating_add(unnumbered).saturating_add(1);
        let missing = number.saturating_sub(expected);
        if missing > 0 {
            let verb = if missing == 1 { "is" } else { "are" };
            self.damage(format!(
                "{} before it {verb} missing",
                count(missing, "line")
            ));
            self.damage.lines = self.damage.lines.saturating_add(missing - 1);
            if let Some(journal) = &mut self.journal {
                journal.damage.may_lack_boundary = true;
            }
        }
        self.said = (last.max(number), 0);
    }

    fn damage(&mut self, wrong: String) {
        self.damage.lines += 1;
        self.damage.first.get_or_insert((self.number, wrong));
    }

    /// Leaves out a line that may have been of any kind.
    fn leave_out(&mut self, wrong: String) {
        self.damage(wrong);
        if let Some(journal) = &mut self.journal {
            let name = b"boundary";
            let is_boundary = self.line.windows(name.len()).take(8).any(|w| w == name);
            journal.damage.may_lack_boundary |= is_boundary;
        }
    }

    /// The journal of a child that has ended, without an incomplete last line.
    ///
    /// # Errors
    /// As [`Reader::poll`], and if there is no journal or no start record.
    pub(crate) fn finish(mut self) -> Result<Journal, Error> {
        self.poll()?;
        if self.file.is_none() {
            let missing = std::io::ErrorKind::NotFound.into();
            return Err(Error::io("read the journal", &self.path, missing));
        }
        self.close()
    }

    fn close(self) -> Result<Journal, Error> {
        let tail_cut = !self.line.is_empty();
        let mut journal = self
            .journal
            .ok_or_else(|| Error::malformed(&self.path, None, "the journal has no start record"))?;
        journal.tail_cut = tail_cut;
        (journal.damage.lines, journal.damage.first) = (self.damage.lines, self.damage.first);
        journal.close();
        Ok(journal)
    }
}

/// Whether the figures of a run are such as a command may state.
fn is_plausible(start: &Start<String>) -> bool {
    let is_cycle = |cycle: u32| cycle <= MAX_CYCLE;
    let is_interval = |bytes: u64| (1..1 << 50).contains(&bytes);
    start.cycles > 0
        && [start.cycles, start.warmup, start.horizon]
            .into_iter()
            .all(is_cycle)
        && start.sampled_every.is_none_or(is_interval)
}

/// Removes the checksum of a line. Returns whether it matches; a line need not have one.
fn verify_sum(line: &mut Vec<u8>) -> bool {
    let text = line.trim_ascii_end();
    let Some(begin) = text.len().checked_sub(SUM_LENGTH) else {
        return true;
    };
    let (record, sum) = text.split_at(begin);
    if !sum.starts_with(SUM_START) {
        return true;
    }
    let matches = *sum == sum_of(record);
    line.truncate(begin);
    line.push(b'}');
    matches
}

/// Removes the number of a line, and returns it; `None` if there is none.
fn take_number(line: &mut Vec<u8>) -> Option<u64> {
    const MOST: usize = 20;
    let digits = line.trim_ascii_end().strip_suffix(b"}")?;
    let from = digits.len().saturating_sub(NUMBER_START.len() + MOST);
    let mut windows = digits[from..].windows(NUMBER_START.len());
    let begin = from + windows.rposition(|w| w == NUMBER_START)?;
    let number = str::from_utf8(&digits[begin + NUMBER_START.len()..]).ok()?;
    let number = number.parse().ok()?;
    line.truncate(begin);
    line.push(b'}');
    Some(number)
}

/// Whether a block of a boundary was allocated after it.
fn has_unborn_blocks(boundary: &Boundary<Vec<CensusEntry>>) -> bool {
    let mut entries = boundary.census.iter();
    entries.any(|entry| entry.birth > boundary.counts.cycle)
}

/// Whether a number has more digits than bytes of memory or nanoseconds of a cycle ever have. Sums of
/// such numbers could overflow.
fn has_long_number(record: &[u8]) -> bool {
    let mut numbers = record.split(|byte| !byte.is_ascii_digit());
    numbers.any(|digits| digits.len() > MOST_DIGITS)
}

impl Journal {
    pub(crate) fn new(start: Start<String>) -> Self {
        Self {
            start,
            code: Vec::new(),
            interpreter: None,
            python: Vec::new(),
            stacks: HashMap::new(),
            boundaries: Vec::new(),
            peak: None,
            next_peak: None,
            waits: 0,
            reached: 0,
            witness: None,
            threads: Vec::new(),
            files: Vec::new(),
            purge: None,
            searched: None,
            unwritten: Vec::new(),
            end: None,
            tail_cut: false,
            damage: Damage::default(),
        }
    }

    /// Takes a record other than a boundary.
    ///
    /// # Errors
    /// If there is another one in its place already, which is kept.
    fn take(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Start(start) => {
                if start != self.start {
                    return Err("it differs from the start record before".into());
                }
            }
            Record::Code(code) => self.code.push(code),
            Record::Interpreter(interpreter) => self.interpreter = Some(interpreter),
            Record::Python(location) => self.python.push(location),
            Record::Stack(stack) => match self.stacks.entry(stack.id) {
                Entry::Vacant(place) => {
                    place.insert(stack);
                }
                Entry::Occupied(_) => {
                    return Err(format!("there is a stack {} already", stack.id));
                }
            },
            // It has its own function, because it may be wrong.
            Record::Boundary(_) => {}
            Record::Peak(peak) => self.next_peak = Some(peak),
            Record::Waiting(waiting) => {
                self.waits += 1;
                self.reached = self.reached.max(waiting.cycle);
            }
            Record::Witness(witness) => self.witness = Some(witness),
            Record::Threads(threads) => self.threads.push(threads),
            Record::Files(files) => self.files.push(files),
            Record::Purge(purge) => self.purge = Some(purge),
            Record::Searched(searched) => {
                self.reached = self.reached.max(searched.cycle);
                self.searched = Some(searched);
            }
            Record::Unwritten(what) => self.unwritten.push(what),
            Record::End(end) => self.end = Some(end),
        }
        Ok(())
    }

    /// Takes a boundary if it is the next one.
    ///
    /// # Errors
    /// If there is one of its cycle already. Where the two differ, neither is trusted.
    fn take_boundary(&mut self, boundary: Boundary<Vec<CensusEntry>>) -> Result<(), String> {
        let cycle = boundary.counts.cycle;
        let last = self.last_cycle();
        if cycle <= last {
            let at = cycle.saturating_sub(1) as usize;
            if cycle == 0 || self.boundaries[at] != boundary {
                self.boundaries.truncate(at);
                self.damage.gap_after = Some(at as u32);
            }
            return Err(format!("there is a boundary of cycle {cycle} already"));
        }
        if self.damage.gap_after.is_some() || cycle != last + 1 {
            self.damage.gap_after.get_or_insert(last);
            return Ok(());
        }
        self.boundaries.push(boundary);
        self.damage.may_lack_boundary = false;
        if let Some(peak) = self.next_peak.take_if(|peak| peak.cycle <= cycle) {
            self.peak = Some(peak);
        }
        Ok(())
    }

    /// Whether objects of Python's are in blocks of an allocator of its own, of which nothing is recorded but
    /// the memory.
    pub(crate) fn lacks_objects(&self) -> bool {
        let allocator = self
            .interpreter
            .as_ref()
            .and_then(|i| i.allocator.as_deref());
        allocator.is_some_and(|name| !name.starts_with("malloc"))
    }

    /// The number of cycles after the warm-up that reached their boundary.
    pub(crate) fn after_warmup(&self) -> u32 {
        let cycles = self.boundaries.iter().map(|b| b.counts.cycle);
        cycles.filter(|&c| c > self.start.warmup).count() as u32
    }

    /// The cycle of the last boundary.
    pub(crate) fn last_cycle(&self) -> u32 {
        self.boundaries.last().map_or(0, |b| b.counts.cycle)
    }

    /// Finds a gap at the end of the journal, and drops what was recorded behind a gap.
    fn close(&mut self) {
        let last = self.last_cycle();
        let is_planned = !self.start.exec;
        let ran_all =
            |end: &End<String>| is_planned && end.failure.is_none() && end.early.is_none();
        let all = self.start.cycles;
        let of_end = self.end.as_ref();
        // The last cycle that should have a boundary, where the journal says it.
        let ended = of_end.and_then(|end| end.cycle.or_else(|| ran_all(end).then_some(all)));
        let lacks_last = match ended {
            Some(cycle) => cycle > last,
            None => self.damage.may_lack_boundary,
        };
        if lacks_last || self.reached > last {
            self.damage.gap_after.get_or_insert(last);
        }
        self.damage.unknown_stacks = self.unknown_stacks();
        if self
            .peak
            .as_ref()
            .is_some_and(|peak| self.has_higher_peak(peak))
        {
            self.peak = None;
        }
        if self.damage.gap_after.is_none() {
            return;
        }
        self.purge = None;
        self.threads.retain(|threads| !threads.at_end);
        self.files.retain(|files| !files.at_end);
        if let Some(searched) = &mut self.searched
            && searched.cycle != last
        {
            let why = "the search was after a cycle whose boundary could not be read";
            searched.failure.get_or_insert_with(|| why.into());
        }
    }

    /// Stacks that boundaries name and that have no line.
    fn unknown_stacks(&self) -> u64 {
        let entries = self.boundaries.iter().flat_map(|b| &b.census);
        let named = entries.map(|entry| entry.stack_id);
        let unknown = named.filter(|id| *id != NO_STACK && !self.stacks.contains_key(id));
        unknown.collect::<HashSet<u32>>().len() as u64
    }

    /// Whether a boundary has a peak that is higher than this one by so much that it had a line of its
    /// own, which could not be read.
    fn has_higher_peak(&self, peak: &Peak<Vec<CensusEntry>>) -> bool {
        let parts = peak.census.iter().map(|entry| entry.bytes);
        let live = sum(parts.chain([peak.setup_bytes, peak.other_bytes]));
        let highest = self.boundaries.iter().map(|b| b.counts.peak_bytes).max();
        self.damage.lines > 0
            && highest.is_some_and(|highest| highest > live + live / 5 + (1 << 20))
    }
}

#[cfg(test)]
impl Journal {
    /// A synthetic journal of a complete run with a warm-up of three cycles.
    pub(crate) fn made(cycles: u32, boundary: impl Fn(u32) -> Boundary<Vec<CensusEntry>>) -> Self {
        Self {
            start: Start {
                version: VERSION,
                workload: "made".into(),
                heap: crate::model::run::HeapKind::System,
                strategy: crate::model::run::Strategy::Fresh,
                cycles,
                warmup: 3,
                horizon: 64,
                auto: false,
                pid: 1,
                by_cfi: false,
                sampled_every: None,
                exec: false,
                live: false,
            },
            code: Vec::new(),
            interpreter: None,
            python: Vec::new(),
            stacks: HashMap::new(),
            boundaries: (1..=cycles).map(boundary).collect(),
            peak: None,
            next_peak: None,
            waits: 0,
            reached: 0,
            witness: None,
            threads: Vec::new(),
            files: Vec::new(),
            purge: None,
            searched: None,
            unwritten: Vec::new(),
            end: Some(End {
                failure: None,
                early: None,
                cycle: None,
            }),
            tail_cut: false,
            damage: Damage::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;
    use crate::model::journal::{Counts, RecordRef};
    use crate::model::run::{HeapKind, Strategy};
    use crate::recorder::journal::Writer;

    impl Journal {
        fn read(path: &Path) -> Result<Self, Error> {
            Reader::new(path).finish()
        }
    }

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
                horizon: 64,
                auto: false,
                pid: 1,
                by_cfi: false,
                sampled_every: None,
                exec: false,
                live: false,
            }),
            Record::Code(Code {
                start: 1,
                end: 2,
                offset: 3,
                path: b"/bin/a b"[..].into(),
            }),
            Record::Stack(Stack {
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
                census: &[CensusEntry {
                    stack_id: 7,
                    birth: 1,
                    phase: 2,
                    bytes: 4096,
                    blocks: 1,
                }],
            }),
            Record::End(End {
                failure: Some("broke"),
                early: None,
                cycle: Some(1),
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
    fn a_journal_survives_writing_and_reading() {
        let (path, _removed) = temporary();
        write_sample(&path);
        let journal = Journal::read(&path).unwrap();
        assert_eq!(journal.start.workload, "planted:\"registry\"\n");
        assert_eq!(journal.code[0].path.as_path(), Path::new("/bin/a b"));
        assert_eq!(journal.stacks[&7].stack, [u64::MAX, 1]);
        assert_eq!(journal.boundaries[0].census[0].bytes, 4096);
        assert_eq!(journal.boundaries[0].counts.resident_bytes, Some(9));
        assert_eq!(journal.end.unwrap().failure.unwrap(), "broke");
        assert!(!journal.tail_cut);
    }

    #[test]
    fn a_path_that_is_not_utf_8_keeps_its_bytes() {
        let path = b"/bin/\xff \"\n";
        let code: RecordRef<'_> = Record::Code(Code {
            start: 1,
            end: 2,
            offset: 3,
            path: path[..].into(),
        });
        let line = serde_json::to_vec(&code).unwrap();
        let record: Record = serde_json::from_slice(&line).unwrap();
        let Record::Code(code) = record else {
            panic!("another record");
        };
        assert_eq!(code.path.as_path().as_os_str().as_bytes(), path);
    }

    #[test]
    fn a_truncated_journal_keeps_its_complete_lines() {
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
    fn a_journal_can_be_read_byte_by_byte() {
        let (path, _removed) = temporary();
        write_sample(&path);
        let whole = std::fs::read(&path).unwrap();
        let (grown, _removed_too) = temporary();
        let mut reader = Reader::new(&grown);
        assert!(
            reader.poll().unwrap().is_none(),
            "the file does not exist yet"
        );
        for length in 0..=whole.len() {
            std::fs::write(&grown, &whole[..length]).unwrap();
            reader.poll().unwrap();
        }
        assert_eq!(reader.finish().unwrap(), Journal::read(&path).unwrap());
    }

    #[test]
    fn a_line_that_is_not_a_record_costs_that_line() {
        let (path, _removed) = temporary();
        write_sample(&path);
        let whole = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        // The first is the start record, without which nothing can be read.
        for wrong in 1..lines.len() {
            let mut lines = lines.clone();
            lines[wrong] = "\u{1b}{\"boundary\":{}}";
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
            let journal = Journal::read(&path).unwrap();
            let (line, _) = journal.damage.first.clone().unwrap();
            assert_eq!((journal.damage.lines, line), (1, wrong as u64 + 1));
            let says = journal.damage.message().unwrap();
            assert!(
                says.starts_with("1 line of the journal could not be read"),
                "{says}"
            );
        }
    }

    #[test]
    fn a_missing_line_is_noticed() {
        let (path, _removed) = temporary();
        write_sample(&path);
        let whole = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        for (missing, more) in (1..lines.len()).zip([1, 2, 1, 2]) {
            let mut lines = lines.clone();
            lines.drain(missing..(missing + more).min(lines.len()));
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
            let journal = Journal::read(&path).unwrap();
            // Behind the last line there is none that says how many were before it.
            let is_noticed = missing < lines.len();
            let noticed = if is_noticed { more as u64 } else { 0 };
            assert_eq!(journal.damage.lines, noticed, "{missing}");
        }
    }

    #[test]
    fn a_figure_that_no_process_reaches_costs_its_line() {
        let (path, _removed) = temporary();
        write_sample(&path);
        let whole = std::fs::read_to_string(&path).unwrap();
        let huge = whole.replace(",4096,1]", &format!(",{},1]", u64::MAX));
        assert_ne!(huge, whole);
        std::fs::write(&path, huge).unwrap();
        let journal = Journal::read(&path).unwrap();
        assert_eq!((journal.boundaries.len(), journal.damage.lines), (0, 1));
    }

    #[test]
    fn what_is_before_the_start_record_is_left_out() {
        let (path, _removed) = temporary();
        write_sample(&path);
        let whole = std::fs::read_to_string(&path).unwrap();
        let expected = Journal::read(&path).unwrap();
        std::fs::write(&path, format!("hello\n{whole}")).unwrap();
        let journal = Journal::read(&path).unwrap();
        assert_eq!(journal.boundaries, expected.boundaries);
        assert_eq!(journal.damage.lines, 1);
    }

    #[test]
    fn no_boundary_is_read_behind_a_missing_one() {
        let boundary = |cycle| Boundary {
            counts: Counts {
                cycle,
                ..Counts::default()
            },
            census: Vec::new(),
        };
        let mut journal = Journal::made(10, boundary);
        let boundaries = std::mem::take(&mut journal.boundaries);
        for boundary in boundaries.into_iter().filter(|b| b.counts.cycle != 5) {
            journal.take_boundary(boundary).unwrap();
        }
        assert_eq!(journal.boundaries.len(), 4);
        assert_eq!(journal.damage.gap_after, Some(4));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 300,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            ..Default::default()
        })]

        #[test]
        fn a_damaged_journal_is_an_error_or_shorter(
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
