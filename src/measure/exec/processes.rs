//! The processes of a program: each has a folder with a journal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::executable::{self, Obstacles};
use crate::analysis::journal::{Journal, Reader};
use crate::analysis::{self, Folding, verdict};
use crate::base::error::Error;
use crate::base::private_folder;
use crate::base::units::sum;
use crate::model::exec::{ExecPlan, Marks, PROCESS_FILE, ProcessRecord};
use crate::model::journal::{self, PROCESSES};

/// The processes while they run.
pub(super) struct Processes {
    folder: PathBuf,
    followed: BTreeMap<PathBuf, Followed>,
    unrecorded: Unrecorded,
}

/// The programs that processes run which cannot be recorded.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    known: Obstacles,
    /// What is in the way of each, in the order in which they were seen.
    pub(super) obstacles: Vec<String>,
}

/// A process that is followed.
struct Followed {
    reader: Reader,
    folding: Folding,
    /// The cycle from which on it is judged again.
    next_analysis: u32,
    /// How many verdicts may still change, and the reason of the worst of them.
    unsettled: Option<(usize, String)>,
}

/// How far the processes have got.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Of the process with the most cycles: the last one, and the live bytes at its boundary.
    pub(super) cycle: u32,
    pub(super) live_bytes: u64,
    /// Its ID; `None` if no process has reached a boundary.
    pub(super) leader: Option<u32>,
    /// How many of its verdicts may still change, and the reason of the worst of them.
    pub(super) unsettled: Option<(usize, String)>,
    /// Whether a process has recorded all cycles that it was to record.
    pub(super) is_done: bool,
}

/// A process that has ended.
pub(super) struct Process {
    pub(super) folder: PathBuf,
    pub(super) record: ProcessRecord,
    pub(super) journal: Journal,
    /// What was taken in of the journal.
    pub(super) folding: Folding,
}

impl Processes {
    /// Creates the folder for the processes in the folder of a run.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(super) fn create(run: &Path) -> Result<Self, Error> {
        let folder = run.join(PROCESSES);
        private_folder::create(&folder).map_err(|e| Error::io("create the folder", &folder, e))?;
        Ok(Self {
            folder,
            followed: BTreeMap::new(),
            unrecorded: Unrecorded::default(),
        })
    }

    /// Looks at the programs that processes run.
    pub(super) fn look_at(&mut self, processes: &[i32]) {
        let Unrecorded { known, obstacles } = &mut self.unrecorded;
        for &process in processes {
            if let Some(obstacle) = executable::obstacle_of(process, known)
                && !obstacles.contains(&obstacle)
            {
                obstacles.push(obstacle);
            }
        }
    }

    /// Reads what was written since the last call. `judges` is whether the process with the most cycles is
    /// judged, as far as it has got.
    ///
    /// # Errors
    /// If a journal cannot be read.
    pub(super) fn poll(&mut self, plan: &ExecPlan, judges: bool) -> Result<State, Error> {
        for folder in folders(&self.folder) {
            let new = || Followed::new(&folder);
            self.followed.entry(folder.clone()).or_insert_with(new);
        }
        let mut state = State::default();
        let mut first = None;
        for process in self.followed.values_mut() {
            // Most processes of a script have ended long ago.
            if !process.has_ended() {
                process.reader.poll()?;
            }
            let Some(journal) = process.reader.journal() else {
                continue;
            };
            let Some(last) = journal.boundaries.last().map(|b| b.counts) else {
                continue;
            };
            // Not that of another process: this one may still search for holders.
            state.is_done |= journal.end.is_some() && last.cycle >= plan.cycles;
            if last.cycle > state.cycle {
                (state.cycle, state.live_bytes) = (last.cycle, last.live_bytes);
                state.leader = Some(journal.start.pid);
                first = Some(process);
            }
        }
        if let Some(process) = first.filter(|_| judges) {
            process.judge(plan.horizon);
            state.unsettled.clone_from(&process.unsettled);
        }
        Ok(state)
    }

    /// Reads the rest, after the program has ended.
    ///
    /// # Errors
    /// If a journal cannot be read.
    pub(super) fn finish(mut self, plan: &ExecPlan) -> Result<(Vec<Process>, Vec<String>), Error> {
        self.poll(plan, false)?;
        let mut all = Vec::new();
        for (folder, process) in self.followed {
            // A process that was killed while it started has no complete record of itself.
            let Some(record) = read_record(&folder) else {
                continue;
            };
            if process.reader.journal().is_some() {
                all.push(Process {
                    journal: process.reader.finish()?,
                    folding: process.folding,
                    folder,
                    record,
                });
            }
        }
        Ok((all, self.unrecorded.obstacles))
    }
}

impl Followed {
    fn new(folder: &Path) -> Self {
        Self {
            reader: Reader::new(folder.join(journal::FILE)),
            folding: Folding::default(),
            next_analysis: 0,
            unsettled: None,
        }
    }

    fn has_ended(&self) -> bool {
        let journal = self.reader.journal();
        journal.is_some_and(|journal| journal.end.is_some())
    }

    /// Judges what was read, if enough cycles have passed since the last time.
    fn judge(&mut self, horizon: u32) {
        let Some(journal) = self.reader.journal() else {
            return;
        };
        let cycle = journal.boundaries.last().map_or(0, |b| b.counts.cycle);
        if cycle < self.next_analysis {
            return;
        }
        self.folding.catch_up(journal);
        let judgements = analysis::judge(&self.folding.series(journal), journal, horizon);
        let unsettled = || judgements.iter().filter(|j| !j.settled);
        let worst = unsettled().max_by_key(|j| j.verdict);
        self.unsettled = worst.map(|j| (unsettled().count(), j.reason.clone()));
        let warmup = journal.start.warmup;
        let next = verdict::next_interim(cycle.saturating_sub(warmup), horizon);
        self.next_analysis = warmup.saturating_add(next);
    }
}

impl Process {
    /// What a person calls it: its program and its number.
    pub(super) fn name(&self) -> String {
        let program = self.record.arguments.first().map_or("", String::as_str);
        format!("{program} (process {})", self.record.pid)
    }

    /// Whether this is its number, or a part of its command line.
    pub(super) fn is_called(&self, wanted: &str) -> bool {
        self.record.pid.to_string() == wanted || self.journal.start.workload.contains(wanted)
    }

    /// Whether it has ended neither by itself nor by executing another program: it was killed.
    pub(super) fn was_killed(&self) -> bool {
        let has_ended = self.journal.end.is_some() || self.folder.join(journal::EXITED).exists();
        !has_ended && !self.has_executed_another() && !is_running(self.record.pid)
    }

    /// Whether a later program of the same process has a folder.
    fn has_executed_another(&self) -> bool {
        let name = self.folder.file_name().and_then(|n| n.to_str());
        let numbers = name.and_then(|name| name.split_once('-'));
        let next = numbers
            .and_then(|(_, number)| number.parse::<u32>().ok())
            .unwrap_or(0)
            + 1;
        let next = format!("{}-{next}", self.record.pid);
        self.folder.with_file_name(next).exists()
    }

    /// Cycles that it ran.
    pub(super) fn cycles(&self) -> usize {
        self.journal.boundaries.len()
    }

    /// Bytes that it allocated in them.
    pub(super) fn allocated(&self) -> u64 {
        let boundaries = self.journal.boundaries.iter();
        sum(boundaries.map(|b| b.counts.allocated_bytes))
    }
}

/// The process to report, with its index: the one that ran the most cycles. Where time marks them in every
/// process, it is the one of those with at least half as many that allocated the most. Of several, the one that
/// was there last.
pub(super) fn busiest<'a>(
    processes: impl Iterator<Item = (usize, &'a Process)> + Clone,
    marks: &Marks,
) -> Option<(usize, &'a Process)> {
    let most = processes.clone().map(|(_, p)| p.cycles()).max()?;
    let work = |p: &Process| match marks {
        Marks::Every(_) if 2 * p.cycles() >= most => p.allocated(),
        Marks::Every(_) => 0,
        _ => p.cycles() as u64,
    };
    processes.max_by_key(|(_, p)| (work(p), p.folder.clone()))
}

/// Removes the folders of processes that ran no cycle, and what is left of the reported one.
pub(super) fn remove_empty(run: &Path) {
    let processes = run.join(PROCESSES);
    for folder in folders(&processes) {
        let journal = fs::read(folder.join(journal::FILE)).unwrap_or_default();
        let boundary = b"{\"boundary\"";
        if !journal.windows(boundary.len()).any(|part| part == boundary) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
    // This fails if there is another process with cycles.
    let _ = fs::remove_dir(processes);
}

fn folders(processes: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(processes).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.sort_unstable();
    folders
}

/// Whether a process runs, or has ended and was not waited for.
fn is_running(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

fn read_record(folder: &Path) -> Option<ProcessRecord> {
    serde_json::from_slice(&fs::read(folder.join(PROCESS_FILE)).ok()?).ok()
}
