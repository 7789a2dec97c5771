//! What a reader should know before believing a report: each warning says what is the case, what
//! follows, and what to do.

use super::holder_search::SearchResults;
use super::journal::Journal;
use super::totals;
use crate::base::text::count;
use crate::base::text::one_line;
use crate::base::units::{bytes, exact};
use crate::model::block::NO_STACK;
use crate::model::end::{Early, Ended};
use crate::model::process::Process;
use crate::model::report::{Attribution, CallSite, RunVerdict, Witness};
use crate::model::run::{HeapKind, Strategy};
use crate::model::sampling::Sampling;

/// Seconds spent in the recorder from which it is worth saying how it would take fewer.
const SLOW_RECORDING: f64 = 2.0;

/// What warnings are derived from.
pub(super) struct Facts<'a> {
    pub(super) journal: &'a Journal,
    pub(super) ended: &'a Ended,
    pub(super) run: RunVerdict,
    pub(super) call_sites: &'a [CallSite],
    pub(super) process: &'a Process,
    pub(super) attribution: &'a Attribution,
    pub(super) sampling: Option<Sampling>,
    pub(super) witness: Option<&'a Witness>,
    pub(super) holder_search: Option<&'a Result<SearchResults, String>>,
    /// Debug information that was not read, and why.
    pub(super) unread: &'a [String],
}

/// Whether no call site has a line.
pub(super) fn no_lines(sites: &[CallSite]) -> bool {
    !sites.is_empty() && sites.iter().all(|s| s.line.is_none())
}

impl Facts<'_> {
    /// All warnings, the most important first.
    pub(super) fn warnings(&self) -> Vec<String> {
        let of_run = [
            self.ended_early(),
            self.journal.damage.message(),
            self.journal.damage.gap(),
            self.unwritten(),
            self.out_of_time(),
            self.keeps_every_model(),
            self.busy_threads(),
            self.unseen_calls(),
            self.refused(),
            self.dhat_in_c_heap(),
            self.no_mappings(),
            self.slow_unwinding(),
            self.sampled(),
            self.no_stacks(),
            self.unread_python(),
            self.own_python_allocator(),
            self.uncollected_garbage(),
            self.witness_disagrees(),
            self.no_code().or_else(|| self.no_line_tables()),
        ];
        let mut warnings: Vec<String> = of_run.into_iter().flatten().collect();
        warnings.extend(self.unread.iter().map(|why| one_line(why)));
        if self.run != RunVerdict::Leak {
            warnings.extend(self.process.doubts());
        }
        warnings.extend(self.holder_doubts());
        warnings
    }

    fn unread_python(&self) -> Option<String> {
        let python = self.journal.interpreter.as_ref()?;
        let why = python.failure.as_deref()?;
        Some(format!(
            "Python {} is in the process, but the stacks have no lines of it: {}; they have those of native \
             code",
            one_line(&python.version),
            one_line(why)
        ))
    }

    fn own_python_allocator(&self) -> Option<String> {
        let python = self.journal.interpreter.as_ref()?;
        let allocator = python.allocator.as_deref()?;
        if !self.journal.lacks_objects() {
            return None;
        }
        let what = match allocator {
            "mimalloc" => "this build of Python has no allocator whose blocks are recorded",
            _ => {
                "PYTHONMALLOC=malloc makes each object a block; it is set, unless the program's environment has \
                 another value, or Python ignores its environment (-I, -E)"
            }
        };
        Some(format!(
            "Python takes its small objects from its own allocator, {}, so that they are not recorded, and what \
             they leak is only seen as memory of the process: {what}",
            one_line(allocator)
        ))
    }

    fn uncollected_garbage(&self) -> Option<String> {
        let python = self.journal.interpreter.as_ref()?;
        (self.run != RunVerdict::Clean && !python.collects).then(|| {
            "objects of Python that refer to each other stay until its collector of garbage runs, and may be \
             among those that grow; --collect runs it at the begin of each cycle"
                .into()
        })
    }

    /// The number of boundaries that were reached.
    fn reached(&self) -> u32 {
        self.journal.boundaries.len() as u32
    }

    fn ended_early(&self) -> Option<String> {
        (!self.ended.is_complete()).then(|| {
            let (reached, all) = (self.reached(), totals::cycles(self.journal));
            let how = one_line(&self.ended.to_string());
            match reached < all {
                true => format!(
                    "the run ended early ({how}): only {reached} of {all} boundaries were reached, and the \
                     report covers only these"
                ),
                // Nobody knows how many cycles a program as it is would have run.
                false => format!(
                    "the run ended early ({how}), and the report covers the {} before",
                    count(reached, "cycle")
                ),
            }
        })
    }

    fn unwritten(&self) -> Option<String> {
        let what = &self.journal.unwritten;
        (!what.is_empty()).then(|| format!("could not be written: {}", one_line(&what.join("; "))))
    }

    fn out_of_time(&self) -> Option<String> {
        let early = self.journal.end.as_ref().and_then(|e| e.early);
        (early == Some(Early::Time)).then(|| {
            format!(
                "the run reached its time limit after {}; a higher limit gives it more",
                count(self.reached(), "cycle")
            )
        })
    }

    fn keeps_every_model(&self) -> Option<String> {
        (self.journal.start.strategy == Strategy::Keep).then(|| {
            "the strategy `keep` itself retains every model, and that is what the report shows"
                .into()
        })
    }

    fn busy_threads(&self) -> Option<String> {
        let busy = self.journal.boundaries.iter().filter(|b| !b.counts.quiet);
        let busy = busy.count();
        let (waited, hint) = match self.journal.start.exec {
            false => ("after 100 ms", "; wait for them in `sync`"),
            true => ("after 5 ms", ""),
        };
        (busy > 0).then(|| {
            format!(
                "at {busy} of {} boundaries other threads were still allocating {waited}, so that \
                 blocks that they were about to free may be counted{hint}",
                self.reached()
            )
        })
    }

    fn unseen_calls(&self) -> Option<String> {
        let unseen = self.attribution.unseen_calls;
        let verb = if unseen == 1 { "was" } else { "were" };
        (unseen > 0).then(|| {
            format!(
                "{} {verb} not recorded, because the thread was inside the allocator already, as in \
                 a signal handler that allocates",
                count(unseen, "allocator call")
            )
        })
    }

    fn refused(&self) -> Option<String> {
        let refused = self.attribution.refused;
        let what = if refused == 1 {
            "block or stack"
        } else {
            "blocks or stacks"
        };
        (refused > 0).then(|| {
            format!(
                "{} {what} could not be recorded: the system refused more memory, or there were more \
                 than 16 million stacks, or as many combinations of stack and phase with live \
                 blocks; see the documented limits",
                exact(refused)
            )
        })
    }

    fn dhat_in_c_heap(&self) -> Option<String> {
        (self.journal.start.heap == HeapKind::Dhat).then(|| {
            "memory of C code is not judged under dhat, because dhat's own data is part of it; \
             over jemalloc it is judged"
                .into()
        })
    }

    fn no_mappings(&self) -> Option<String> {
        let mut boundaries = self.journal.boundaries.iter();
        let lacks_some = boundaries.any(|b| b.counts.memory.is_none());
        (lacks_some && !self.journal.start.live).then(|| {
            "the mappings of this process cannot be read (/proc/self/smaps), so only blocks are \
             judged, and not C code, mapped memory, threads and file descriptors"
                .into()
        })
    }

    /// That recording took long, and would take less time with frame pointers.
    fn slow_unwinding(&self) -> Option<String> {
        let seconds = totals::cost(self.journal).hook_seconds?;
        let start = &self.journal.start;
        (start.by_cfi && !start.exec && !start.live && seconds > SLOW_RECORDING).then(|| {
            format!(
                "recording took {seconds:.1} s, because stacks were walked by call frame \
                 information: this build has no frame pointers, or AFTERDROP_UNWIND=cfi is set; \
                 RUSTFLAGS=\"-C force-frame-pointers=yes\" makes it several times as fast"
            )
        })
    }

    fn sampled(&self) -> Option<String> {
        let windows = self.reached();
        self.sampling.map(|s| match self.journal.start.live {
            true => format!(
                "all figures are estimates, from one sample in {}: of a leak of less than {} in each of these \
                 {} nothing may be seen; AFTERDROP_LIVE sets another number of bytes",
                bytes(s.every_bytes as f64),
                bytes(s.missed_below),
                count(windows, "window"),
            ),
            false => format!(
                "one byte in {} was sampled, and only the blocks with such bytes were recorded, so \
                 all figures are estimates: a leak of {} per cycle is missed in one of twenty runs, \
                 a smaller one more often; the same program is sampled in the same way again; \
                 without --sample every block is recorded",
                bytes(s.every_bytes as f64),
                bytes(s.missed_below)
            ),
        })
    }

    fn no_stacks(&self) -> Option<String> {
        let any_stack = self.journal.stacks.keys().any(|&id| id != NO_STACK);
        let hint = match self.journal.start.exec {
            true => {
                "its code has no call frame information that can be read, or runs on stacks of its own, such as \
                 coroutines'"
            }
            false => "build with frame pointers: RUSTFLAGS=\"-C force-frame-pointers=yes\"",
        };
        (!any_stack && self.attribution.unattributed_bytes > 0)
            .then(|| format!("no allocation has a readable stack; {hint}"))
    }

    fn witness_disagrees(&self) -> Option<String> {
        let witness = self.witness.filter(|w| !w.agrees)?;
        Some(format!(
            "dhat and the recorder disagree at {}: see `witness` in report.json",
            count(witness.differences.len() as u64, "stack")
        ))
    }

    /// That calls have no names, because it is not known where their code was mapped.
    fn no_code(&self) -> Option<String> {
        let journal = self.journal;
        let is_mapped = |address: u64| {
            let mut code = journal.code.iter();
            // A call at the end of a mapping returns behind it.
            code.any(|code| (code.start..=code.end).contains(&address))
        };
        let mut addresses = journal.stacks.values().flat_map(|stack| &stack.stack);
        let is_lacking = journal.damage.lines > 0 && addresses.any(|&address| !is_mapped(address));
        is_lacking.then(|| {
            "what the journal has of mapped code could not be read as a whole, so call sites there have \
             neither functions nor lines: run it again"
                .into()
        })
    }

    fn no_line_tables(&self) -> Option<String> {
        let has_none = no_lines(self.call_sites) && self.unread.is_empty();
        let what_to_do = match self.journal.start.exec {
            true => {
                "this program has no line tables, so call sites have functions at best: compile it with \
                 `-g`, or install the debug symbols of its package"
            }
            false => {
                "this build has no line tables, so call sites have functions at best: set `debug = \
                 \"line-tables-only\"` for its profile in Cargo.toml, without `strip`"
            }
        };
        has_none.then(|| what_to_do.into())
    }

    /// Why holders are not known, or why blocks that seem lost may not be.
    fn holder_doubts(&self) -> Option<String> {
        let done = match self.holder_search? {
            Err(why) => return Some(format!("holders are not known: {}", one_line(why))),
            Ok(results) => results.summary?,
        };
        let is_lost = |s: &CallSite| {
            let holder = s.holder.as_ref();
            holder.is_some_and(|h| h.kind.has_no_root() || h.lost_blocks > 0)
        };
        if !self.call_sites.iter().any(is_lost) {
            return None;
        }
        if done.missed_threads > 0 {
            return Some(format!(
                "the stacks of {} were not searched, because no signal could suspend them, as where \
                 a thread blocks all signals or waits for them: blocks that seem lost may be held \
                 there",
                count(done.missed_threads, "thread")
            ));
        }
        if !done.unsearched.is_none() {
            return Some(format!(
                "not all memory was searched: {}; blocks that seem lost may be held there",
                done.unsearched.reasons().join(", ")
            ));
        }
        (!done.searched_c_memory).then(|| {
            "memory of C code was not searched, nor memory that was mapped directly, because the \
             system's allocator uses both: blocks that seem lost may be held there; over jemalloc \
             both are searched"
                .into()
        })
    }
}
