//! The loop of the measured process. After each cycle comes a boundary, which is in the journal
//! before the next cycle begins.

use std::io;
use std::time::Instant;

use super::body::{Body, Stopped};
use super::dump;
use super::marks::Marks;
use super::panics::catch_panic;
use super::quiet;
use super::replies::Replies;
use super::stacks::Stacks;
use crate::model::end::Early;
use crate::model::journal::{
    self, Boundary, CHeap, Counts, End, Memory, Purge, Record, Searched, Start, Threads, Waiting,
};
use crate::model::plan::{Plan, Reply};
use crate::model::run::{HeapKind, Phase};
use crate::recorder::census::Census;
use crate::recorder::heap::{self, MappedVec, OwnCost, Totals};
use crate::recorder::holders::{self, RunningSearch};
use crate::recorder::journal::Writer;
use crate::recorder::proc;
use crate::recorder::smaps;

/// Runs the cycles of a plan and writes the journal. Returns whether the workload ran to its end;
/// why it did not is in the journal's end record.
///
/// # Errors
/// If the journal cannot be written, so that nothing can be reported.
pub(crate) fn run(plan: &Plan, body: &mut dyn Body) -> io::Result<bool> {
    let writer = Writer::create(&plan.out.join(journal::FILE))?;
    let unwinder = {
        let _paused = heap::pause();
        heap::choose_unwinder()
    };
    let mut runner = Runner::new(plan, writer);
    runner.journal.write(&Record::Start(Start {
        version: journal::VERSION,
        workload: plan.subject.name(),
        heap: plan.heap,
        strategy: plan.strategy,
        cycles: plan.cycles,
        warmup: plan.warmup,
        auto: plan.auto.is_some(),
        pid: std::process::id(),
        by_cfi: unwinder == heap::Unwinder::Cfi,
        sampled_every: heap::sampled_every(),
    }))?;
    let ended = catch_panic(|| runner.cycles(body));
    let (early, failure) = match ended {
        Ok(Ok(early)) => (early, None),
        Ok(Err(Stopped::Workload(failure))) => (None, Some(failure)),
        Ok(Err(Stopped::Journal(error))) => return Err(error),
        Err(panic) => (None, Some(panic)),
    };
    let failure = failure.map(|what| runner.marks.place(&what));
    // The last census is taken: what is dropped from here on belongs to no cycle.
    runner.marks.begin(0);
    runner.journal.write(&Record::End(End {
        failure: failure.as_deref(),
        early,
    }))?;
    Ok(failure.is_none())
}

struct Runner<'a> {
    plan: &'a Plan,
    journal: Writer,
    marks: Marks,
    census: Census,
    stacks: Stacks,
    /// Text of the /proc files.
    text: MappedVec<u8>,
    /// At the boundary before.
    before: Totals,
    /// Before the first cycle.
    cost_before: OwnCost,
    /// Threads at the boundary before.
    threads: u64,
    cycle_nanos: u64,
    /// The last cycle after which holders were searched for; 0 before the first search.
    searched_at: u32,
    #[cfg(feature = "dhat")]
    window: Option<heap::dhat::Window>,
}

impl<'a> Runner<'a> {
    fn new(plan: &'a Plan, journal: Writer) -> Self {
        Self {
            plan,
            journal,
            marks: Marks::new(),
            census: Census::new(),
            stacks: Stacks::new(),
            text: MappedVec::new(),
            before: heap::totals(),
            cost_before: heap::own_cost(),
            threads: proc::threads(),
            cycle_nanos: 0,
            searched_at: 0,
            #[cfg(feature = "dhat")]
            window: None,
        }
    }

    /// Runs the cycles. Returns why it ended before the last one, if it did.
    fn cycles(&mut self, body: &mut dyn Body) -> Result<Option<Early>, Stopped> {
        let mut replies = Replies::open(self.plan.replies);
        let mut next_analysis = self.plan.auto.map(|auto| auto.first_analysis);
        let mut early = None;
        let begun = Instant::now();
        if self.plan.warmup == 0 {
            self.baseline()?;
        }
        self.threads = quiet::wait_for_start();
        // The first read touches pages that would otherwise count as growth of the first cycle.
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
            let mut stops = false;
            if next_analysis == Some(cycle) {
                next_analysis = self.wait_for_analysis(&mut replies)?;
                stops = next_analysis.is_none();
            }
            let is_last = cycle == self.plan.cycles;
            let is_late = self
                .plan
                .auto
                .is_some_and(|auto| begun.elapsed() >= auto.time);
            if !is_last && (stops || is_late) {
                early = Some(if stops { Early::Settled } else { Early::Time });
                break;
            }
        }
        self.finish()?;
        Ok(early)
    }

    /// Takes the census and writes the boundary. Nothing here allocates from the heap.
    fn boundary(&mut self) -> io::Result<()> {
        let quiet = quiet::wait(self.threads);
        self.threads = quiet.threads;
        let totals = heap::totals();
        let peak_bytes = heap::peak_bytes().max(totals.live_bytes);
        self.census.take()?;
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
            // Read right after the figures of the single mappings, with which it is compared.
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
        let descriptors = {
            let _paused = heap::pause();
            proc::descriptors()
        };
        Some(Memory {
            resident: smaps::resident(&mut self.text)?,
            c_heap,
            chunks: self.census.chunks(),
            descriptors,
        })
    }

    /// Writes the stacks of the census that the journal does not have yet.
    fn write_new_stacks(&mut self) -> io::Result<()> {
        for entry in self.census.changes() {
            self.stacks.write(entry.stack_id, &mut self.journal)?;
        }
        Ok(())
    }

    fn write_threads(&mut self, at_end: bool) -> io::Result<()> {
        let _paused = heap::pause();
        let threads = proc::thread_names();
        self.journal
            .write(&Record::Threads(Threads { at_end, threads }))
    }

    /// Runs at the boundary after the warm-up. Blocks that are born later are judged.
    fn baseline(&mut self) -> io::Result<()> {
        self.write_threads(false)?;
        dump::statistics(self.plan, "baseline")?;
        #[cfg(feature = "dhat")]
        if self.plan.heap == HeapKind::Dhat {
            let path = self.plan.out.join(journal::DHAT_FILE);
            self.window = Some(heap::dhat::open_window(&path, self.plan.warmup));
        }
        Ok(())
    }

    /// Runs after the last boundary.
    fn finish(&mut self) -> io::Result<()> {
        self.write_threads(true)?;
        dump::statistics(self.plan, "end")?;
        #[cfg(feature = "dhat")]
        if self.window.is_some() {
            self.write_witness()?;
            // Dropping the window writes dhat's file.
            self.window = None;
        }
        let search = self.search_for_holders();
        self.try_to_purge()?;
        self.wait_for_holders(search)
    }

    /// Waits while the parent judges the run so far, and searches for holders if it asks for that.
    /// Returns the cycle after which to wait again; `None` if no further cycle is needed.
    fn wait_for_analysis(&mut self, replies: &mut Replies) -> io::Result<Option<u32>> {
        loop {
            let cycle = self.marks.cycle();
            self.journal.write(&Record::Waiting(Waiting { cycle }))?;
            match replies.next() {
                Reply::Continue { next_analysis } => return Ok(Some(next_analysis)),
                Reply::Stop => return Ok(None),
                Reply::Search => {
                    let search = holders::start_search(&self.plan.out);
                    self.wait_for_holders(Some(search))?;
                }
            }
        }
    }

    /// Starts the search for holders. `None` if the plan has none, nothing survives, or it was made at
    /// this boundary already.
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

    /// Has the allocator return its free pages to the system, which tells what it keeps from what
    /// leaks.
    fn try_to_purge(&mut self) -> io::Result<()> {
        let before = proc::resident_bytes();
        dump::purge();
        if let (Some(before), Some(after)) = (before, proc::resident_bytes()) {
            self.journal
                .write(&Record::Purge(Purge { before, after }))?;
        }
        Ok(())
    }

    /// Writes what dhat should report at the end of its window, by stack.
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
