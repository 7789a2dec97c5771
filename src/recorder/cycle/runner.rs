//! The cycle loop. At the boundary after each cycle it takes a census and writes it to the journal
//! before the next cycle begins.

use std::io;
use std::time::Instant;

use super::allocator_stats;
use super::cycle_body::{CycleBody, CycleError};
use super::idle;
use super::panics::catch_panic;
use super::phase_tracker::PhaseTracker;
use super::reply_pipe::ReplyPipe;
use super::stack_writer::StackWriter;
use crate::model::end::Early;
use crate::model::journal::{
    self, Boundary, CHeap, Counts, End, Files, Memory, Peak, Purge, Record, Searched, Start,
    Threads, Waiting,
};
use crate::model::plan::{Plan, Reply, Subject};
#[cfg(feature = "preload")]
use crate::model::python::Interpreter;
#[cfg(feature = "dhat")]
use crate::model::run::HeapKind;
use crate::model::run::Phase;
use crate::recorder::census::Census;
use crate::recorder::counters::Before;
use crate::recorder::heap::{self, MappedVec, NoMemory};
use crate::recorder::holders::{self, RunningSearch};
use crate::recorder::journal::Writer;
use crate::recorder::peak_census::PeakCensus;
use crate::recorder::proc;
use crate::recorder::smaps;

/// Runs the cycles of a plan and writes the journal. Returns `false` if the workload failed or
/// panicked; the end record of the journal has the message.
///
/// # Errors
/// If the journal cannot be written.
pub(crate) fn run(plan: &Plan, body: &mut dyn CycleBody) -> io::Result<bool> {
    let mut runner = Runner::start(plan)?;
    let ended = catch_panic(|| runner.cycles(body));
    let (early, failure) = match ended {
        Ok(Ok(early)) => (early, None),
        Ok(Err(CycleError::Workload(failure))) => (None, Some(failure)),
        Ok(Err(CycleError::Io(error))) => return Err(error),
        Err(panic) => (None, Some(panic)),
    };
    let failure = failure.map(|message| runner.phases.locate(&message));
    runner.end(failure.as_deref(), early)?;
    Ok(failure.is_none())
}

/// Takes the boundaries of a run, and writes its journal.
pub(crate) struct Runner<'a> {
    plan: &'a Plan,
    journal: Writer,
    phases: PhaseTracker,
    census: Census,
    peak: PeakCensus,
    stacks: StackWriter,
    /// Buffer for the text of `/proc/self/smaps`.
    text: MappedVec<u8>,
    before: Before,
    /// Threads of the process at the last boundary.
    threads: u64,
    /// Duration of the last cycle, without its boundary.
    cycle_nanos: u64,
    /// The last cycle after which holders were searched for; 0 before the first search.
    searched_at: u32,
    /// The last cycle that has a boundary.
    ended: u32,
    /// The part of the run that dhat's profile covers: from the baseline to the last boundary.
    #[cfg(feature = "dhat")]
    window: Option<heap::dhat::Window>,
}

impl<'a> Runner<'a> {
    /// Begins the journal, and chooses how stacks are walked.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub(crate) fn start(plan: &'a Plan) -> io::Result<Self> {
        let mut journal = Writer::create(&plan.out.join(journal::FILE))?;
        let unwinder = {
            let _paused = heap::pause();
            heap::choose_unwinder()
        };
        let start = Record::Start(Start {
            version: journal::VERSION,
            workload: plan.subject.name(),
            heap: plan.heap,
            strategy: plan.strategy,
            cycles: plan.cycles,
            warmup: plan.warmup,
            horizon: plan.horizon,
            auto: plan.auto.is_some(),
            pid: std::process::id(),
            by_cfi: unwinder == heap::Unwinder::Cfi,
            sampled_every: heap::sampled_every(),
            exec: matches!(plan.subject, Subject::Program(_)),
            live: false,
        });
        // Twice, because nothing can be reported without it.
        journal.write(&start)?;
        journal.write(&start)?;
        Ok(Self {
            plan,
            journal,
            phases: PhaseTracker::new(),
            census: Census::new(),
            peak: PeakCensus::new(),
            stacks: StackWriter::new(),
            text: MappedVec::new(),
            before: Before::now(),
            threads: proc::threads(),
            cycle_nanos: 0,
            searched_at: 0,
            ended: 0,
            #[cfg(feature = "dhat")]
            window: None,
        })
    }

    /// Prepares the first cycle.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        if self.plan.warmup == 0 {
            self.baseline()?;
        }
        self.threads = idle::wait_before_first_cycle();
        // The first read touches pages, which would be counted as growth in the first cycle.
        self.memory();
        self.before.totals = heap::totals();
        heap::begin_peaks();
        Ok(())
    }

    /// Begins a cycle.
    pub(crate) fn begin_cycle(&mut self, cycle: u32) {
        self.phases.begin(cycle);
    }

    /// Ends the running cycle, which took this long, with its boundary.
    pub(crate) fn end_cycle(&mut self, nanos: u64) -> io::Result<()> {
        self.phases.enter(Phase::Outside);
        self.cycle_nanos = nanos;
        self.boundary()?;
        self.ended = self.phases.cycle();
        if self.ended == self.plan.warmup {
            self.baseline()?;
        }
        Ok(())
    }

    /// Ends the journal.
    pub(crate) fn end(&mut self, failure: Option<&str>, early: Option<Early>) -> io::Result<()> {
        // What is allocated after the last census belongs to no cycle.
        self.phases.begin(0);
        self.journal.write(&Record::End(End {
            failure,
            early,
            cycle: Some(self.ended),
        }))
    }

    /// Runs the cycles. Returns why the loop ended before the last cycle; `None` if it did not.
    fn cycles(&mut self, body: &mut dyn CycleBody) -> Result<Option<Early>, CycleError> {
        let mut replies = ReplyPipe::open(self.plan.replies);
        let mut next_analysis = self.plan.auto.map(|auto| auto.first_analysis);
        let mut early = None;
        let begun = Instant::now();
        self.prepare()?;
        for cycle in 1..=self.plan.cycles {
            self.begin_cycle(cycle);
            let start = Instant::now();
            body.run_cycle(&mut self.phases)?;
            let nanos = start.elapsed().as_nanos() as u64;
            self.phases.enter(Phase::Outside);
            body.sync()?;
            self.end_cycle(nanos)?;
            let mut is_settled = false;
            if next_analysis == Some(cycle) {
                next_analysis = self.wait_for_analysis(&mut replies)?;
                is_settled = next_analysis.is_none();
            }
            let is_last = cycle == self.plan.cycles;
            let auto = self.plan.auto;
            let is_out_of_time = auto.is_some_and(|auto| begun.elapsed() >= auto.time);
            if !is_last && (is_settled || is_out_of_time) {
                early = Some(match is_settled {
                    true => Early::Settled,
                    false => Early::Time,
                });
                break;
            }
        }
        self.finish(true)?;
        Ok(early)
    }

    /// Takes the census and writes the boundary. Nothing that the recorder counts is allocated here.
    fn boundary(&mut self) -> io::Result<()> {
        let idle = idle::wait(self.threads);
        self.threads = idle.threads;
        let totals = heap::totals();
        let peak_bytes = heap::peak_bytes().max(totals.live_bytes);
        self.census.take()?;
        self.write_new_stacks()?;
        self.write_peak()?;
        let counted = self.before.counts(&totals, peak_bytes);
        let (setup_bytes, setup_blocks) = self.census.setup();
        let counts = Counts {
            cycle: self.phases.cycle(),
            loaded_bytes: self.phases.loaded_bytes(),
            load_peak_bytes: self.phases.load_peak_bytes(),
            setup_bytes,
            setup_blocks,
            jemalloc: allocator_stats::jemalloc_bytes(),
            memory: self.memory(),
            // Read directly after the figures of the single mappings, whose sum it is compared with.
            resident_bytes: proc::resident_bytes(),
            peak_resident_bytes: proc::peak_resident_bytes(),
            threads: self.threads,
            quiet: idle.reached,
            cycle_nanos: self.cycle_nanos,
            ..counted
        };
        self.journal.write(&Record::Boundary(Boundary {
            counts,
            census: self.census.changes(),
        }))?;
        self.before.totals = heap::totals();
        heap::restart_peak();
        Ok(())
    }

    /// What the kernel and the C library report about this process; `None` if `/proc/self/smaps` cannot
    /// be read.
    fn memory(&mut self) -> Option<Memory> {
        let c_heap = heap::c_heap::read().map(|c| CHeap {
            system: c.system,
            in_use: c.in_use,
            free: c.free,
            mapped: c.mapped,
        });
        let descriptors = proc::descriptors(&heap::pause());
        Some(Memory {
            resident: smaps::resident(&mut self.text)?,
            c_heap,
            chunks: self.census.chunks(),
            c_bytes: self.census.c_bytes(),
            descriptors,
        })
    }

    /// Writes the stacks of the census that the journal does not have yet.
    fn write_new_stacks(&mut self) -> io::Result<()> {
        self.stacks.write_code_after_closing(&mut self.journal)?;
        for entry in self.census.changes() {
            self.stacks.write(entry.stack_id, &mut self.journal)?;
        }
        Ok(())
    }

    /// Writes what was live at the peak of the run, if that was in this cycle.
    fn write_peak(&mut self) -> io::Result<()> {
        let Some(counted) = heap::read_new_peak(|peak| {
            self.peak.count(peak)?;
            Ok((peak.now, peak.setup))
        }) else {
            return Ok(());
        };
        let (now, setup_bytes) = counted.map_err(|error: NoMemory| io::Error::from(error))?;
        for entry in self.peak.entries() {
            self.stacks.write(entry.stack_id, &mut self.journal)?;
        }
        self.journal.write(&Record::Peak(Peak {
            cycle: now.cycle,
            phase: now.phase,
            setup_bytes,
            other_bytes: self.peak.other_bytes(),
            census: self.peak.entries(),
        }))
    }

    /// Writes the threads and the open files.
    fn write_threads_and_files(&mut self, at_end: bool) -> io::Result<()> {
        let paused = heap::pause();
        let threads = proc::thread_names(&paused);
        self.journal
            .write(&Record::Threads(Threads { at_end, threads }))?;
        self.journal.write(&Record::Files(Files {
            at_end,
            open: proc::open_files(&paused),
            mapped: smaps::mapped_by_name(&paused),
        }))
    }

    /// Writes what is needed once after the warm-up. Only blocks that are allocated later are judged.
    fn baseline(&mut self) -> io::Result<()> {
        self.write_threads_and_files(false)?;
        self.write_dump("baseline")?;
        #[cfg(feature = "dhat")]
        if self.plan.heap == HeapKind::Dhat {
            let path = self.plan.out.join(journal::DHAT_FILE);
            self.window = Some(heap::dhat::open_window(&path, self.plan.warmup));
        }
        Ok(())
    }

    /// Writes what is needed once after the last boundary. `may_search` is whether holders may be
    /// searched for.
    pub(crate) fn finish(&mut self, may_search: bool) -> io::Result<()> {
        self.write_threads_and_files(true)?;
        self.write_dump("end")?;
        #[cfg(feature = "dhat")]
        if self.window.is_some() {
            self.write_witness()?;
            // Dropping the window writes the profile of dhat.
            self.window = None;
        }
        let search = match may_search {
            true => self.search_for_holders(),
            false => None,
        };
        self.try_to_purge()?;
        self.wait_for_holders(search)
    }

    /// Writes the statistics of the allocator. A program that has given up its rights cannot, which is
    /// no reason to fail.
    fn write_dump(&mut self, when: &str) -> io::Result<()> {
        let Err(error) = allocator_stats::write_dump(self.plan, when) else {
            return Ok(());
        };
        let _paused = heap::pause();
        let what = format!("the statistics of the allocator at the {when} ({error})");
        self.journal.write(&Record::Unwritten(&what))
    }

    /// Waits for the interim analysis of the parent, and searches for holders if the parent asks for
    /// it. Returns the cycle after which to wait again; `None` if no further cycle is needed.
    fn wait_for_analysis(&mut self, replies: &mut ReplyPipe) -> io::Result<Option<u32>> {
        loop {
            let cycle = self.phases.cycle();
            self.journal.write(&Record::Waiting(Waiting { cycle }))?;
            match replies.receive() {
                Reply::Continue { next_analysis } => return Ok(Some(next_analysis)),
                Reply::Stop => return Ok(None),
                Reply::Search => self.search()?,
            }
        }
    }

    /// Searches for holders.
    pub(crate) fn search(&mut self) -> io::Result<()> {
        let search = holders::start_search(&self.plan.out);
        self.wait_for_holders(Some(search))
    }

    /// Writes which interpreter of Python runs in the process.
    #[cfg(feature = "preload")]
    pub(crate) fn write_interpreter(
        &mut self,
        found: &heap::FoundPython,
        collects: bool,
    ) -> io::Result<()> {
        self.journal.write(&Record::Interpreter(Interpreter {
            version: &found.version,
            failure: found.failure,
            allocator: heap::python_allocator(),
            collects,
        }))
    }

    /// Writes the code mappings that the journal does not have, before some of them are removed.
    #[cfg(feature = "preload")]
    pub(crate) fn write_code(&mut self) -> io::Result<()> {
        self.stacks.write_code_before_closing(&mut self.journal)
    }

    /// Starts the holder search; `None` if the plan turns it off, there are no survivors, or there was
    /// a search at this boundary already.
    fn search_for_holders(&mut self) -> Option<Result<RunningSearch, String>> {
        let wanted = self.plan.holders
            && self.census.has_survivors()
            && self.searched_at != self.phases.cycle();
        wanted.then(|| holders::start_search(&self.plan.out))
    }

    /// Waits until the holder search is done, and writes its result to the journal.
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
        self.searched_at = self.phases.cycle();
        self.journal.write(&Record::Searched(Searched {
            cycle: self.searched_at,
            failure: failure.as_ref().err().map(String::as_str),
            pause_nanos,
        }))
    }

    /// Returns free memory to the system, and writes the resident memory before and after. The
    /// difference is memory that the allocator had kept for reuse.
    fn try_to_purge(&mut self) -> io::Result<()> {
        let arenas = heap::c_heap::arenas(&heap::pause());
        let before = proc::resident_bytes();
        allocator_stats::purge();
        if let (Some(before), Some(after)) = (before, proc::resident_bytes()) {
            self.journal.write(&Record::Purge(Purge {
                before,
                after,
                arenas,
            }))?;
        }
        Ok(())
    }

    /// Writes the live bytes and blocks by stack that dhat should report at the end of its window.
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
            self.stacks.write(stack_id, &mut self.journal)?;
        }
        let witness: Vec<journal::Witness> = live
            .into_iter()
            .map(|(stack_id, (bytes, blocks))| (stack_id, bytes, blocks))
            .collect();
        self.journal.write(&Record::Witness(&witness))
    }
}
