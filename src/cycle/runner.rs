//! The loop of the measured process: phases marked, a boundary after each cycle, every boundary
//! in the journal before the next cycle begins.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use super::quiet;
use super::spill::Spill;
use super::workload::{Failure, Model, Workload};
use super::{HeapKind, Phase, Strategy};
use crate::census::Census;
use crate::error::Error;
use crate::heap::{self, Birth, MappedVec, OwnCost, Totals};
use crate::journal::{self, Boundary, Code, Counts, End, Record, Site, Start};
use crate::proc;

/// What the measured process is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workload: String,
    pub(crate) heap: HeapKind,
    pub(crate) strategy: Strategy,
    pub(crate) cycles: u32,
    pub(crate) warmup: u32,
    /// Whether cycles infer at all, or only load and drop.
    pub(crate) infer: bool,
    /// The folder that receives the journal and what the heap gives.
    pub(crate) out: PathBuf,
}

/// The journal's name in the folder of a run.
pub(crate) const JOURNAL: &str = "journal.jsonl";
/// The folder of spilled predictions, which the parent removes if the child was killed.
pub(crate) const SPILL: &str = "spill";

/// Runs the cycles, and writes the journal as it goes.
///
/// The outer error is the journal's (it could not be written, so nothing can be reported); a
/// workload that fails or panics is in the journal's end record, and `Ok(false)`.
pub(crate) fn run(plan: &Plan, workload: &mut dyn Workload) -> io::Result<bool> {
    let writer = journal::Writer::create(&plan.out.join(JOURNAL))?;
    let mut runner = Runner::new(plan, writer)?;
    runner.journal.write(&Record::Start(Start {
        version: journal::VERSION,
        workload: &plan.workload,
        heap: plan.heap,
        strategy: plan.strategy,
        cycles: plan.cycles,
        warmup: plan.warmup,
        pid: std::process::id(),
    }))?;
    let failure = caught(|| runner.cycles(workload));
    // What is alive now is the workload's own and the loop's; all has been counted.
    heap::set_now(OUTSIDE);
    let failure = match failure {
        Ok(Ok(())) => None,
        Ok(Err(Stopped::Workload(failure))) => Some(failure),
        Ok(Err(Stopped::Journal(error))) => return Err(error),
        Err(panic) => Some(panic),
    };
    let failure = failure.map(|what| runner.place(&what));
    runner.journal.write(&Record::End(End {
        failure: failure.as_deref(),
    }))?;
    Ok(failure.is_none())
}

/// Checks that this process measures, and with the heap that was asked for.
///
/// # Errors
/// If no [`Heap`](crate::Heap) is installed, or the build does not have the heap.
pub(crate) fn check_heap(asked: HeapKind) -> Result<(), Error> {
    if !heap::is_installed() {
        return Err(
            Error::usage("no Heap is installed, so that nothing can be measured").hint(
                "add `#[global_allocator] static HEAP: afterdrop::Heap = afterdrop::Heap::new();`",
            ),
        );
    }
    match heap::backend() {
        None if heap::is_bare() => Ok(()),
        Some(heap::Backend::Missing) | None => Err(Error::usage(format!(
            "this build cannot measure with heap={asked}"
        ))),
        Some(_) => Ok(()),
    }
}

const OUTSIDE: Birth = Birth {
    cycle: 0,
    phase: Phase::Outside as u8,
};

/// Runs `f`; a panic comes back as its message with its place. The message is kept by a panic
/// hook, because the payload that unwinds does not know the place.
fn caught<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    static MESSAGE: Mutex<String> = Mutex::new(String::new());
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _paused = heap::pause();
        if let Ok(mut message) = MESSAGE.lock() {
            *message = info.to_string().replace('\n', " ");
        }
        previous(info);
    }));
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|_| {
        let message = MESSAGE.lock().map(|m| m.clone()).unwrap_or_default();
        if message.is_empty() {
            "the workload panicked".into()
        } else {
            message
        }
    })
}

/// Why the cycles stopped early.
enum Stopped {
    Workload(String),
    Journal(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Journal(error)
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Workload(failure.to_string())
    }
}

struct Runner<'a> {
    plan: &'a Plan,
    journal: journal::Writer,
    census: Census,
    /// Sites that the journal has, as a bit set by number.
    known_sites: MappedVec<u64>,
    /// Code mappings that the journal has.
    known_code: MappedVec<(u64, u64)>,
    scratch: MappedVec<u8>,
    stack: MappedVec<usize>,
    /// The running cycle, from 1.
    cycle: u32,
    phase: Phase,
    before: Totals,
    /// What the ledger had cost before the first cycle.
    cost_before: OwnCost,
    threads: u64,
    loaded_bytes: u64,
    cycle_nanos: u64,
    #[cfg(feature = "dhat")]
    window: Option<heap::dhat::Window>,
}

impl<'a> Runner<'a> {
    fn new(plan: &'a Plan, journal: journal::Writer) -> io::Result<Self> {
        Ok(Self {
            plan,
            journal,
            census: Census::new(),
            known_sites: MappedVec::new(),
            known_code: MappedVec::new(),
            scratch: MappedVec::new(),
            stack: MappedVec::new(),
            cycle: 0,
            phase: Phase::Outside,
            before: heap::totals(),
            cost_before: heap::own_cost(),
            threads: proc::threads(),
            loaded_bytes: 0,
            cycle_nanos: 0,
            #[cfg(feature = "dhat")]
            window: None,
        })
    }

    fn cycles(&mut self, workload: &mut dyn Workload) -> Result<(), Stopped> {
        let mut kept: Vec<Box<dyn Model>> = Vec::new();
        if self.plan.strategy == Strategy::Keep {
            // So that the registry itself does not grow in a cycle.
            kept.reserve_exact(self.plan.cycles as usize);
        }
        let mut old: Option<Box<dyn Model>> = None;
        let mut spill = match self.plan.strategy {
            Strategy::Slot => Some(Spill::create(&self.plan.out.join(SPILL))?),
            _ => None,
        };
        heap::restart_peak();
        for cycle in 1..=self.plan.cycles {
            self.cycle = cycle;
            let start = Instant::now();
            let mut model = self.load(workload)?;
            // A hot reload: the old model goes once the new one is there.
            self.drop_model(old.take());
            self.infer(&mut *model, spill.as_mut())?;
            match self.plan.strategy {
                Strategy::Fresh | Strategy::Slot => self.drop_model(Some(model)),
                Strategy::Session => {
                    self.drop_model(Some(model));
                    self.enter(Phase::Drop);
                    workload.sync()?;
                    workload.cleanup();
                }
                Strategy::Swap => old = Some(model),
                Strategy::Keep => kept.push(model),
            }
            self.cycle_nanos = start.elapsed().as_nanos() as u64;
            self.enter(Phase::Outside);
            workload.sync()?;
            self.boundary()?;
            if cycle == self.plan.warmup {
                self.baseline()?;
            }
        }
        self.finish()?;
        Ok(())
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        heap::set_now(Birth {
            cycle: self.cycle,
            phase: phase as u8,
        });
    }

    fn load(&mut self, workload: &mut dyn Workload) -> Result<Box<dyn Model>, Stopped> {
        let before = heap::totals().live_bytes;
        self.enter(Phase::Load);
        let model = workload.load()?;
        self.loaded_bytes = heap::totals().live_bytes.saturating_sub(before);
        Ok(model)
    }

    fn infer(&mut self, model: &mut dyn Model, spill: Option<&mut Spill>) -> Result<(), Stopped> {
        if !self.plan.infer {
            return Ok(());
        }
        self.enter(Phase::Infer);
        let prediction = model.infer()?;
        if let Some(spill) = spill {
            // The strategy's own work, not the workload's.
            let _paused = heap::pause();
            spill.write(&prediction)?;
        }
        Ok(())
    }

    fn drop_model(&mut self, model: Option<Box<dyn Model>>) {
        self.enter(Phase::Drop);
        drop(model);
    }

    /// Counts, and writes the line. Nothing here allocates from the heap.
    fn boundary(&mut self) -> io::Result<()> {
        let quiet = quiet::wait(self.threads);
        self.threads = quiet.threads;
        let totals = heap::totals();
        let peak_bytes = heap::peak_bytes().max(totals.live_bytes);
        let out_of_memory = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        self.census.take().map_err(out_of_memory)?;
        self.write_new_sites()?;
        let cost = heap::own_cost();
        let (setup_bytes, setup_blocks) = self.census.setup();
        let counts = Counts {
            cycle: self.cycle,
            live_bytes: totals.live_bytes,
            live_blocks: totals.live_blocks,
            peak_bytes,
            loaded_bytes: self.loaded_bytes,
            allocations: totals.allocations - self.before.allocations,
            allocated_bytes: totals.allocated_bytes - self.before.allocated_bytes,
            setup_bytes,
            setup_blocks,
            resident_bytes: proc::resident_bytes(),
            jemalloc: jemalloc_bytes(),
            threads: self.threads,
            quiet: quiet.reached,
            cycle_nanos: self.cycle_nanos,
            hook_nanos: cost.hook_nanos - self.cost_before.hook_nanos,
            timed_calls: cost.timed_calls - self.cost_before.timed_calls,
            mapped_bytes: cost.mapped_bytes,
            unseen: cost.unseen,
            unknown_frees: totals.unknown_frees,
            refused: totals.refused + cost.refused_sites,
        };
        self.journal.write(&Record::Boundary(Boundary {
            counts,
            census: self.census.changes(),
        }))?;
        self.before = heap::totals();
        heap::restart_peak();
        Ok(())
    }

    /// Writes the stacks of sites that the journal does not have yet.
    fn write_new_sites(&mut self) -> io::Result<()> {
        for i in 0..self.census.changes().len() {
            let site = self.census.changes()[i].site;
            self.write_site(site)?;
        }
        Ok(())
    }

    fn write_site(&mut self, site: heap::SiteId) -> io::Result<()> {
        let out_of_memory = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let (word, bit) = (site as usize / 64, 1_u64 << (site % 64));
        while self.known_sites.as_slice().len() <= word {
            self.known_sites.push(0).map_err(out_of_memory)?;
        }
        if site == heap::NO_SITE || self.known_sites.as_slice()[word] & bit != 0 {
            return Ok(());
        }
        self.known_sites.as_mut_slice()[word] |= bit;
        let cut = heap::site_stack(site, &mut self.stack);
        let unmapped = self.stack.as_slice().iter().any(|&address| {
            let known = self.known_code.as_slice().iter();
            !known
                .clone()
                .any(|&(start, end)| (start..end).contains(&(address as u64)))
        });
        if unmapped {
            self.write_new_code()?;
        }
        self.journal.write(&Record::Site(Site {
            id: site,
            cut,
            stack: self.stack.as_slice(),
        }))
    }

    /// Writes where code is mapped that the journal does not have yet.
    fn write_new_code(&mut self) -> io::Result<()> {
        let (known, journal) = (&mut self.known_code, &mut self.journal);
        let mut result = Ok(());
        proc::for_each_code_mapping(&mut self.scratch, |m| {
            let range = (m.start, m.end);
            if result.is_err() || known.as_slice().contains(&range) {
                return;
            }
            result = known
                .push(range)
                .map_err(|_| io::ErrorKind::OutOfMemory.into())
                .and_then(|()| {
                    journal.write(&Record::Code(Code {
                        start: m.start,
                        end: m.end,
                        offset: m.offset,
                        path: m.path,
                    }))
                });
        });
        result
    }

    /// After the warm-up: from here on survivors count.
    fn baseline(&mut self) -> io::Result<()> {
        self.dump_statistics("baseline")?;
        #[cfg(feature = "dhat")]
        if self.plan.heap == HeapKind::Dhat {
            let path = self.plan.out.join(DHAT_FILE);
            self.window = Some(heap::dhat::open_window(&path, self.cycle));
        }
        Ok(())
    }

    /// After the last boundary.
    fn finish(&mut self) -> io::Result<()> {
        self.dump_statistics("end")?;
        #[cfg(feature = "dhat")]
        if self.window.is_some() {
            self.write_witness()?;
            // Closing it writes dhat's file.
            self.window = None;
        }
        Ok(())
    }

    /// Writes what dhat should have at the end of its window, if it counts as the ledger does.
    #[cfg(feature = "dhat")]
    fn write_witness(&mut self) -> io::Result<()> {
        let _paused = heap::pause();
        let mut live = std::collections::BTreeMap::<u32, (u64, u64)>::new();
        heap::dhat::for_each_known_block(|block| {
            let (bytes, blocks) = live.entry(block.site).or_default();
            *bytes += block.size as u64;
            *blocks += 1;
        });
        for &site in live.keys() {
            self.write_site(site)?;
        }
        let witness: Vec<journal::Witness> = live
            .into_iter()
            .map(|(site, (bytes, blocks))| (site, bytes, blocks))
            .collect();
        self.journal.write(&Record::Witness(&witness))
    }

    /// jemalloc's own statistics, as JSON and as text.
    fn dump_statistics(&mut self, when: &str) -> io::Result<()> {
        if self.plan.heap != HeapKind::Jemalloc {
            return Ok(());
        }
        let _paused = heap::pause();
        for (ending, json) in [("json", true), ("txt", false)] {
            let name = format!("jemalloc-stats-{when}.{ending}");
            write_whole(&self.plan.out.join(name), |to| {
                print_jemalloc_stats(to, json)
            })?;
        }
        Ok(())
    }

    /// A failure with the cycle and phase in which it happened.
    fn place(&self, what: &str) -> String {
        match self.phase {
            Phase::Outside if self.cycle == 0 => what.into(),
            phase => format!("cycle {}, {phase}: {what}", self.cycle),
        }
    }
}

/// dhat's file in the folder of a run.
pub(crate) const DHAT_FILE: &str = "dhat-heap.json";

/// Writes a file under a temporary name and renames it, so that no half of it is ever found.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = path.with_extension("part");
    let mut file = BufWriter::new(File::create(&temporary)?);
    write(&mut file)?;
    file.flush()?;
    fs::rename(&temporary, path)
}

#[cfg(feature = "jemalloc")]
fn jemalloc_bytes() -> Option<journal::JemallocBytes> {
    if heap::backend() != Some(heap::Backend::Jemalloc) {
        return None;
    }
    heap::jemalloc::read().map(|c| journal::JemallocBytes {
        allocated: c.allocated,
        active: c.active,
        metadata: c.metadata,
        resident: c.resident,
        mapped: c.mapped,
        retained: c.retained,
    })
}

#[cfg(not(feature = "jemalloc"))]
fn jemalloc_bytes() -> Option<journal::JemallocBytes> {
    None
}

#[cfg(feature = "jemalloc")]
fn print_jemalloc_stats(to: &mut dyn Write, json: bool) -> io::Result<()> {
    heap::jemalloc::print_stats(to, json)
}

#[cfg(not(feature = "jemalloc"))]
fn print_jemalloc_stats(_to: &mut dyn Write, _json: bool) -> io::Result<()> {
    Ok(())
}
