//! Leak tests: what is still allocated after `drop`, who allocated it, is it a leak, and what still
//! holds it?
//!
//! `afterdrop` runs the load / infer / drop cycles of a model, or of any other code, in a child
//! process whose global allocator records every block with its backtrace. For each call site it says
//! whether what stays is a **leak**, a **cache**, **churn** or **warm-up**: with the line, the bytes
//! per cycle, the phase, and the static, thread or reference cycle that keeps the blocks alive.
//!
//! # In a test
//! Install the allocator once in the test executable, and write one cycle as a closure:
//! ```no_run
//! # struct Model; impl Model { fn load(_: &str) -> Self { Model } fn forward(&self) {} }
//! #[global_allocator]
//! static HEAP: afterdrop::Heap = afterdrop::Heap::new();
//!
//! #[test]
//! fn reloading_leaves_nothing() {
//!     afterdrop::Check::new("reload").cycles(20).run(|cycle| {
//!         let model = cycle.load(|| Model::load("m.bpk"));
//!         cycle.infer(|| model.forward());
//!     });
//! }
//! # fn main() {}
//! ```
//! The test fails with a report if anything grows. [`Check`] has limits on memory, known leaks,
//! baselines and async cycles.
//!
//! # As a command
//! 1. Install the allocator in the executable:
//!    ```
//!    #[global_allocator]
//!    static HEAP: afterdrop::Heap = afterdrop::Heap::new();
//!    # fn main() {}
//!    ```
//! 2. Write a [`Workload`], which loads, and a [`Model`], which infers. Dropping the model is the
//!    third phase of a cycle.
//! 3. Pass the workloads to `afterdrop::main` in `fn main`. This is the whole command, `run`, `list`
//!    and so on; it needs the feature `cli`.
//!
//! A run writes a [`Report`] to the terminal and to `report.json`, other formats on request (feature
//! `formats`), its journal, and what the allocator reports of itself: jemalloc's statistics or a dhat
//! profile. The exit code is 0 for clean, 1 for a leak or growth, 2 for wrong usage or input, 3 if the
//! measured process failed, and 4 for undecided.
//!
//! # Words
//! | word | meaning |
//! | --- | --- |
//! | workload | something with load, infer and drop: a [`Workload`] |
//! | cycle, phase | one load, infer and drop; the [`Phase`] is the part that runs now |
//! | strategy | how cycles handle the model: [`Strategy`] |
//! | boundary | the instant after a cycle's drop, when nothing of that cycle should be left |
//! | warm-up, baseline | the first cycles, which are not judged; the boundary after the last of them |
//! | block | one live heap allocation |
//! | stack | one distinct backtrace; its *blame frame* is the frame that a person would go and edit |
//! | call site | all stacks with one blame frame, in one phase |
//! | survivor | a block that is alive at a boundary |
//! | generation | the survivors of one birth cycle |
//! | census | live bytes and blocks by call site and generation, at one boundary |
//! | holder | the static, thread-local, stack or C memory from which a survivor can be reached |
//! | lost | a survivor that cannot be reached from anywhere |
//! | verdict | what the censuses of a call site prove: [`Verdict`] |
//!
//! # How a verdict is made
//! The generations of a leak never die; those of a cache stop coming; those of a buffer die when the
//! next one comes. A cache that gains one entry per cycle looks exactly like a leak until it is full,
//! and deferred frees look like a leak until the sweep. So the rule has a stated *horizon*: 64 cycles
//! after the warm-up, unless set otherwise. What still grows beyond it is called a leak; what stops or
//! is swept within it is not.
//!
//! Two kinds of growth are called a leak earlier: whole models, if at least 90 % of what a load leaves
//! live is kept in each of eight cycles, and lost survivors of five generations, because a cache can
//! be reached. If the numbers allow two verdicts, the verdict is [`Undecided`](Verdict::Undecided),
//! with the number of cycles that would settle it.
//!
//! # How it works
//! ```text
//!  workload ─► recorder (in alloc and free; a census at each boundary) ─► journal
//!  └──────────────────── the measured process ───────────────────────┘      │
//!                                                                           ▼
//!             formats ◄─ report ◄─ verdict, holders ◄─ series ◄─ symbols ◄─ journal
//!             └──────────────────────── the parent ─────────────────────────────┘
//! ```
//! The parent starts the same executable again as the measured child, which does nothing but run the
//! cycles and record. Everything that allocates for itself, such as symbols, statistics and rendering,
//! happens in the parent. A child that is killed leaves a journal that is complete up to its last
//! boundary, and is reported.
//!
//! After the last boundary, a frozen copy of the measured process searches for holders. The search is
//! conservative: a word in a static, a thread-local, a stack, a register or C code's memory counts as
//! a pointer if it has the address of a block or of a byte inside it. Pointers that are hidden
//! (compressed, or tagged in their high bits) are not seen: see [`Check::without_holders`].
//!
//! # What it is not for
//! - **Memory of no allocator.** Of memory that is mapped directly only growth is seen, and how much of
//!   it. The same holds for C code's `malloc` without the feature `c-heap`.
//! - **Builds without line tables.** Lines need `debug = "line-tables-only"` or more. Stacks are
//!   walked by frame pointers (`-C force-frame-pointers=yes`), or, in builds without them, on x86-64,
//!   by call frame information, which is slower.
//! - **A program without cycles.** It measures repetition, and tells the peak of cycles only. Use a heap
//!   profiler, such as dhat (`--heap dhat` writes its profile) or heaptrack.
//! - **Other systems than Linux.** x86-64 is tested; aarch64 should work.
//!
//! # Compared with other tools
//! dhat and heaptrack record every block, too, and show stacks; which of them leak is for the reader
//! to find out. jemalloc's profiler samples, and can miss small slow leaks. None of them repeats a
//! scenario or judges it.
//!
//! # Features
//! None is on by default: the library then needs no C compiler.
//!
//! | feature | brings |
//! | --- | --- |
//! | `cli` | the command |
//! | `formats` | reports for browsers, profilers, CI systems and spreadsheets |
//! | `compressed-debug` | reads compressed debug sections; part of `cli` and of `formats` |
//! | `jemalloc`, `dhat` | other backing allocators |
//! | `jemalloc-dlopen` | jemalloc in a shared library that is opened while the program runs |
//! | `c-heap` | the call sites of C's `malloc` and its like (glibc) |
//! | `exec` | `afterdrop exec`: any program as it is |
//! | `live` | `Live`: the verdict in a service that goes on, with endpoints |
//! | `tokio` | async checks |
//! | `planted` | small programs with known leaks |
//! | `burn`, `keras`, `flex` | three Burn models; Keras files on Burn; Burn's flex device |
//! | `full` | the command as it is shipped: all of these but `live`, `jemalloc-dlopen`, `tokio` and `flex` |
//!
//! More on each of these is in the repository's `docs/` folder.

#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
pub use base::error::Error;
pub use check::{Check, Cycle, CycleResult};
pub use model::run::{HeapKind, Phase, Strategy};
pub use model::verdict::Verdict;
pub use recorder::cycle::{Failure, Model, Prediction, Workload};
pub use recorder::heap::Heap;

#[cfg(feature = "cli")]
pub use cli::main;

mod analysis;
mod base;
mod check;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "live")]
pub mod live;
mod measure;
mod model;
mod recorder;
pub mod report;
#[cfg(feature = "cli")]
pub mod workloads;

#[cfg(feature = "live")]
pub use live::Live;
pub use report::Report;

/// For this crate's own benches and fuzz targets.
#[doc(hidden)]
pub mod bench {
    use crate::analysis::verdict::synthetic;
    pub use crate::analysis::verdict::synthetic::Block;
    pub use crate::base::random::Random;
    #[cfg(feature = "live")]
    pub use crate::live::synthetic::{Difference, Site as LiveSite};
    use crate::model::verdict::{DEFAULT_HORIZON, Verdict};

    /// The verdict on a call site that sees these blocks in a run of `n` cycles after the warm-up.
    pub fn judge(n: u32, blocks: &[Block]) -> Verdict {
        synthetic::judged(n, blocks, DEFAULT_HORIZON).verdict
    }

    /// The same in a run that ends by itself, and the cycle in which it does, if the blocks are
    /// born while a model is loaded and so many bytes are live before the drop.
    pub fn judge_until_settled(
        most: u32,
        blocks: &[Block],
        loaded_bytes: u64,
    ) -> (u32, Verdict, bool) {
        let (n, judged) =
            synthetic::judged_until_settled(most, blocks, DEFAULT_HORIZON, loaded_bytes);
        (n, judged.verdict, judged.settled)
    }

    /// Settles how stacks are walked, as a measured process does before its first cycle, and says
    /// how: `frame pointers` or `cfi`.
    pub fn choose_unwinder() -> &'static str {
        match crate::recorder::heap::choose_unwinder() {
            crate::recorder::heap::Unwinder::FramePointers => "frame pointers",
            crate::recorder::heap::Unwinder::Cfi => "cfi",
        }
    }

    /// Bytes that the tool has mapped for itself in this process.
    pub fn ledger_bytes() -> u64 {
        crate::recorder::heap::mapped_bytes() as u64
    }

    /// Distinct stacks that were recorded in this process.
    pub fn stacks() -> u64 {
        crate::recorder::heap::own_cost().stacks
    }

    /// The plan of a child that runs these cycles of a workload and writes its journal to a folder,
    /// for the environment variable `AFTERDROP_PLAN`.
    pub fn plan(workload: &str, format: &str, cycles: u32, out: &std::path::Path) -> String {
        use crate::model::plan::{Plan, Subject, WorkloadPlan};
        use crate::model::run::{HeapKind, Strategy};
        let settings = crate::model::settings::Settings {
            format: Some(format.to_owned()),
            ..Default::default()
        };
        let subject = Subject::Workload(WorkloadPlan {
            name: workload.to_owned(),
            settings,
            infer: true,
        });
        let plan = Plan {
            subject,
            heap: HeapKind::Jemalloc,
            strategy: Strategy::Fresh,
            cycles,
            warmup: 1,
            horizon: DEFAULT_HORIZON,
            auto: None,
            holders: false,
            out: out.to_owned(),
            replies: None,
        };
        serde_json::to_string(&plan).expect("a plan has no keys that JSON has not")
    }

    /// The report of a folder that has only a journal.
    ///
    /// # Errors
    /// If there is no journal, or it has no readable start.
    #[cfg(feature = "cli")]
    pub fn report_of_journal(folder: &std::path::Path) -> Result<crate::Report, crate::Error> {
        crate::measure::report_of(folder)
    }

    /// Gives the blocks that are allocated from now on to a cycle.
    pub fn begin_cycle(cycle: u32) {
        crate::recorder::heap::set_now(crate::model::block::Birth { cycle, phase: 1 });
    }

    /// Takes a census of this process's ledger, as at its first boundary, and says how long it took.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn census() -> std::time::Duration {
        let mut census = crate::recorder::census::Census::new();
        let start = std::time::Instant::now();
        census.take().expect("memory for the census");
        start.elapsed()
    }
}
