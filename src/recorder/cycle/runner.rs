//! The loop of the measured process: a boundary after each cycle, every boundary in the journal
//! before the next cycle begins.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::control::{Control, GO_ON, SEARCH};
use super::dump;
use super::marks::Marks;
use super::quiet;
use super::workload::Failure;
use crate::analysis::verdict;
use crate::base::error::Error;
use crate::model::end::Early;
use crate::model::journal::{
    self, Boundary, CHeap, Code, Counts, End, Memory, Purge, Record, Searched, Stack, Start,
    Threads,
};
use crate::model::run::{HeapKind, Phase, Strategy};
use crate::recorder::census::Census;
use crate::recorder::heap::{self, MappedVec, OwnCost, Totals};
use crate::recorder::holders::{self, RunningSearch};
use crate::recorder::proc;
use crate::recorder::smaps;

/// What the measured process is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workload: String,
    pub(crate) heap: HeapKind,
    pub(crate) strategy: Strategy,
    /// Cycles to run; with `auto`, at most.
    pub(crate) cycles: u32,
    pub(crate) warmup: u32,
    /// Ends the run once the parent has seen enough.
    pub(crate) auto: Option<Auto>,
    /// Who holds the survivors is looked for, after the last boundary.
    pub(crate) holders: bool,
    /// The folder that receives the journal and what the heap gives.
    pub(crate) out: PathBuf,
}

/// When a run that ends by itself ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Auto {
    /// Says, with the warm-up, at which boundaries the parent looks.
    pub(crate) horizon: u32,
    /// No further cycle begins after this time.
    pub(crate) time: Duration,
}

/// dhat's file in the folder of a run.
pub(crate) const DHAT_FILE: &str = "dhat-heap.json";
/// The journal's name in the folder of a run.
pub(crate) const JOURNAL: &str = "journal.jsonl";
/// The folder of spilled predictions, which the parent removes if the child was killed.
pub(crate) const SPILL: &str = "spill";

/// What a cycle does.
pub(crate) trait Body {
    /// Runs one cycle, marking its phases.
    fn cycle(&mut self, marks: &mut Marks) -> Result<(), Stopped>;

    /// Waits for work that was queued elsewhere.
    fn sync(&mut self) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Runs the cycles, and writes the journal as it goes.
///
/// The outer error is the journal's (it could not be written, so nothing can be reported); a
/// workload that fails or panics is in the journal's end record, and `Ok(false)`.
pub(crate) fn run(plan: &Plan, body: &mut dyn Body) -> io::Result<bool> {
    let writer = crate::recorder::journal::Writer::create(&plan.out.join(JOURNAL))?;
    let unwinder = {
        let _paused = heap::pause();
        heap::choose_unwinder()
    };
    let mut runner = Runner::new(plan, writer);
    runner.journal.write(&Record::Start(Start {
        version: journal::VERSION,
        workload: &plan.workload,
        heap: plan.heap,
        strategy: plan.strategy,
        cycles: plan.cycles,
        warmup: plan.warmup,
        auto: plan.auto.is_some(),
        pid: std::process::id(),
        by_cfi: unwinder == heap::Unwinder::Cfi,
        sampled_every: heap::sampled_every(),
    }))?;
    let ended = caught(|| runner.cycles(body));
    let (early, failure) = match ended {
        Ok(Ok(early)) => (early, None),
        Ok(Err(Stopped::Workload(failure))) => (None, Some(failure)),
        Ok(Err(Stopped::Journal(error))) => return Err(error),
        Err(panic) => (None, Some(panic)),
    };
    let failure = failure.map(|what| runner.marks.place(&what));
    // What is alive now is the workload's own and the loop's; all has been counted.
    runner.marks.begin(0);
    runner.journal.write(&Record::End(End {
        failure: failure.as_deref(),
        early,
    }))?;
    Ok(failure.is_none())
}

/// The error where no [`Heap`](crate::Heap) is installed, with the two lines to add.
pub(crate) fn no_heap() -> Error {
    Error::usage("no Heap is installed, so that nothing can be measured").hint(
        "add `#[global_allocator]` and, below it, \
         `static HEAP: afterdrop::Heap = afterdrop::Heap::new();`",
    )
}

/// Checks that this process measures, and with the heap that was asked for.
///
/// # Errors
/// If no [`Heap`](crate::Heap) is installed, or the build does not have the heap.
pub(crate) fn check_heap(asked: HeapKind) -> Result<(), Error> {
    if !heap::is_installed() {
        return Err(no_heap());
    }
    match heap::backend() {
        None if heap::is_bare() => Ok(()),
        Some(heap::Backend::Missing) | None => Err(Error::usage(format!(
            "this build cannot measure with heap={asked}"
        ))),
        Some(_) => Ok(()),
    }
}

/// Runs `f`; a panic comes back as its message with its place. The message is kept by a panic
/// hook, because the payload that unwinds does not know the place.
fn caught<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    static MESSAGE: Mutex<String> = Mutex::new(String::new());
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _paused = heap::pause();
        if let Ok(mut message) = MESSAGE.lock() {
            *message = info.to_string();
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
pub(crate) enum Stopped {
    /// The workload could not go on.
    Workload(String),
    /// The journal, or a file beside it, could not be written.
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
    journal: crate::recorder::journal::Writer,
    marks: Marks,
    census: Census,
    /// Stacks that the journal has, as a bit set by number.
    known_stacks: MappedVec<u64>,
    /// Code mappings that the journal has.
    known_code: MappedVec<(u64, u64)>,
    scratch: MappedVec<u8>,
    stack: MappedVec<usize>,
    before: Totals,
    /// What the ledger had cost before the first cycle.
    cost_before: OwnCost,
    threads: u64,
    cycle_nanos: u64,
    /// The last cycle behind which holders were looked for.
    searched_at: u32,
    #[cfg(feature = "dhat")]
    window: Option<heap::dhat::Window>,
}

fn out_of_memory(_: heap::NoMemory) -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

impl<'a> Runner<'a> {
    fn new(plan: &'a Plan, journal: crate::recorder::journal::Writer) -> Self {
        Self {
            plan,
            journal,
            marks: Marks::new(),
            census: Census::new(),
            known_stacks: MappedVec::new(),
            known_code: MappedVec::new(),
            scratch: MappedVec::new(),
            stack: MappedVec::new(),
            before: heap::totals(),
            cost_before: heap::own_cost(),
            threads: proc::threads(),
            cycle_nanos: 0,
            searched_at: 0,
            #[cfg(feature = "dhat")]
            window: None,
        }
    }

    /// Runs the cycles, and says why they were not all.
    fn cycles(&mut self, body: &mut dyn Body) -> Result<Option<Early>, Stopped> {
        let mut control = Control::open();
        let mut early = None;
        let begun = Instant::now();
        if self.plan.warmup == 0 {
            self.baseline()?;
        }
        self.threads = quiet::wait_for_start();
        // The first look touches pages of its own.
        self.memory();
        self.before = heap::totals();
        heap::restart_peak();
        for cycle in 1..=self.plan.cycles {
            self.marks.begin(cycle);
            let start = Instant::now();
            body.cycle(&mut self.marks)?;
            self.cycle_nanos = start.elapsed().as_nanos() as u64;
            self.marks.enter(Phase::Outside);
            body.sync()?;
            self.boundary()?;
            if cycle == self.plan.warmup {
                self.baseline()?;
            }
            if let Some(auto) = self.plan.auto {
                let after_warmup = cycle.saturating_sub(self.plan.warmup);
                if verdict::is_interim(after_warmup, auto.horizon) && !self.goes_on(&mut control)? {
                    early = Some(Early::Settled);
                } else if begun.elapsed() >= auto.time {
                    early = Some(Early::Time);
                }
                if early.is_some() && cycle < self.plan.cycles {
                    break;
                }
                early = None;
            }
        }
        self.finish()?;
        Ok(early)
    }

    /// Counts, and writes the line. Nothing here allocates from the heap.
    fn boundary(&mut self) -> io::Result<()> {
        let quiet = quiet::wait(self.threads);
        self.threads = quiet.threads;
        let totals = heap::totals();
        let peak_bytes = heap::peak_bytes().max(totals.live_bytes);
        self.census.take().map_err(out_of_memory)?;
        self.write_new_stacks()?;
        let cost = heap::own_cost();
        let (setup_bytes, setup_blocks) = self.census.setup();
        let counts = Counts {
            cycle: self.marks.cycle(),
            live_bytes: totals.live_bytes,
            live_blocks: totals.live_blocks,
            peak_bytes,
            loaded_bytes: self.marks.loaded_bytes(),
            load_peak_bytes: self.marks.load_peak_bytes(),
            allocations: totals.allocations - self.before.allocations,
            allocated_bytes: totals.allocated_bytes - self.before.allocated_bytes,
            setup_bytes,
            setup_blocks,
            jemalloc: dump::jemalloc_bytes(),
            memory: self.memory(),
            // Last, and right behind the mappings' own figures.
            resident_bytes: proc::resident_bytes(),
            peak_resident_bytes: proc::peak_resident_bytes(),
            threads: self.threads,
            quiet: quiet.reached,
            cycle_nanos: self.cycle_nanos,
            hook_nanos: cost.hook_nanos - self.cost_before.hook_nanos,
            timed_calls: cost.timed_calls - self.cost_before.timed_calls,
            mapped_bytes: cost.mapped_bytes,
            unseen: cost.unseen,
            unknown_frees: totals.unknown_frees,
            refused: totals.refused + cost.refused_stacks,
        };
        self.journal.write(&Record::Boundary(Boundary {
            counts,
            census: self.census.changes(),
        }))?;
        self.before = heap::totals();
        heap::restart_peak();
        Ok(())
    }

    fn memory(&mut self) -> Option<Memory> {
        let c_heap = heap::c_heap::read().map(|c| CHeap {
            system: c.system,
            in_use: c.in_use,
            free: c.free,
            mapped: c.mapped,
        });
        let descriptors = proc::descriptors(&heap::pause());
        Some(Memory {
            resident: smaps::resident(&mut self.scratch)?,
            c_heap,
            chunks: self.census.chunks(),
            descriptors,
        })
    }

    /// Writes the stacks of stacks that the journal does not have yet.
    fn write_new_stacks(&mut self) -> io::Result<()> {
        for i in 0..self.census.changes().len() {
            let stack_id = self.census.changes()[i].stack_id;
            self.write_stack(stack_id)?;
        }
        Ok(())
    }

    fn write_stack(&mut self, stack_id: crate::model::block::StackId) -> io::Result<()> {
        let (word, bit) = (stack_id as usize / 64, 1_u64 << (stack_id % 64));
        while self.known_stacks.as_slice().len() <= word {
            self.known_stacks.push(0).map_err(out_of_memory)?;
        }
        if stack_id == crate::model::block::NO_STACK
            || self.known_stacks.as_slice()[word] & bit != 0
        {
            return Ok(());
        }
        self.known_stacks.as_mut_slice()[word] |= bit;
        let cut = heap::stack_frames(stack_id, &mut self.stack);
        let unmapped = self.stack.as_slice().iter().any(|&address| {
            let known = self.known_code.as_slice().iter();
            !known
                .clone()
                .any(|&(start, end)| (start..end).contains(&(address as u64)))
        });
        if unmapped {
            self.write_new_code()?;
        }
        self.journal.write(&Record::Stack(Stack {
            id: stack_id,
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

    fn write_threads(&mut self, at_end: bool) -> io::Result<()> {
        let paused = heap::pause();
        let threads = proc::thread_names(&paused);
        self.journal
            .write(&Record::Threads(Threads { at_end, threads }))
    }

    /// After the warm-up: from here on survivors count.
    fn baseline(&mut self) -> io::Result<()> {
        self.write_threads(false)?;
        dump::statistics(self.plan, "baseline")?;
        #[cfg(feature = "dhat")]
        if self.plan.heap == HeapKind::Dhat {
            let path = self.plan.out.join(DHAT_FILE);
            self.window = Some(heap::dhat::open_window(&path, self.plan.warmup));
        }
        Ok(())
    }

    /// After the last boundary.
    fn finish(&mut self) -> io::Result<()> {
        self.write_threads(true)?;
        dump::statistics(self.plan, "end")?;
        #[cfg(feature = "dhat")]
        if self.window.is_some() {
            self.write_witness()?;
            // Closing it writes dhat's file.
            self.window = None;
        }
        let search = self.search_for_holders();
        self.try_to_purge()?;
        self.wait_for_holders(search)
    }

    /// Asks the parent whether to go on, and looks for holders before if it wants that.
    fn goes_on(&mut self, control: &mut Control) -> io::Result<bool> {
        loop {
            match control.answer() {
                SEARCH => {
                    let search = holders::start_search(&self.plan.out);
                    self.wait_for_holders(Some(search))?;
                }
                answer => return Ok(answer == GO_ON),
            }
        }
    }

    /// Starts the search for whoever holds the survivors, if there are any, and it was not made here
    /// already; `None` if there is none.
    fn search_for_holders(&mut self) -> Option<Result<RunningSearch, String>> {
        let wanted = self.plan.holders
            && self.census.has_survivors()
            && self.searched_at != self.marks.cycle();
        wanted.then(|| holders::start_search(&self.plan.out))
    }

    fn wait_for_holders(
        &mut self,
        search: Option<Result<RunningSearch, String>>,
    ) -> io::Result<()> {
        let Some(search) = search else {
            return Ok(());
        };
        let _paused = heap::pause();
        let mut pause_nanos = 0;
        let failure = search.and_then(|search| {
            pause_nanos = search.pause().as_nanos() as u64;
            search.wait()
        });
        self.searched_at = self.marks.cycle();
        self.journal.write(&Record::Searched(Searched {
            cycle: self.searched_at,
            failure: failure.as_ref().err().map(String::as_str),
            pause_nanos,
        }))
    }

    /// Asks the allocator to give back what it keeps, so that a report on that need not guess.
    fn try_to_purge(&mut self) -> io::Result<()> {
        let before = proc::resident_bytes();
        dump::purge();
        if let (Some(before), Some(after)) = (before, proc::resident_bytes()) {
            self.journal
                .write(&Record::Purge(Purge { before, after }))?;
        }
        Ok(())
    }

    /// Writes what dhat should have at the end of its window, if it counts as the ledger does.
    #[cfg(feature = "dhat")]
    fn write_witness(&mut self) -> io::Result<()> {
        let _paused = heap::pause();
        let mut live = std::collections::BTreeMap::<u32, (u64, u64)>::new();
        heap::dhat::for_each_known_block(|block| {
            let (bytes, blocks) = live.entry(block.stack_id).or_default();
            *bytes += block.size as u64;
            *blocks += 1;
        });
        for &stack_id in live.keys() {
            self.write_stack(stack_id)?;
        }
        let witness: Vec<journal::Witness> = live
            .into_iter()
            .map(|(stack_id, (bytes, blocks))| (stack_id, bytes, blocks))
            .collect();
        self.journal.write(&Record::Witness(&witness))
    }
}
