//! What is still allocated after `drop`, who allocated it, whether that is a leak, and who holds it.
//!
//! `afterdrop` runs the load / infer / drop cycles of a model (or of anything else) in a process of
//! their own, under a global allocator that records every block, and says for each call site
//! whether what stays is a **leak**, a **cache**, **churn** or **warm-up**: with the line, the bytes
//! per cycle, the phase, and the static, the thread or the reference cycle that keeps it alive.
//!
//! # What you provide
//! 1. The allocator, once in the executable:
//!    ```
//!    #[global_allocator]
//!    static HEAP: afterdrop::Heap = afterdrop::Heap::new();
//!    # fn main() {}
//!    ```
//! 2. A [`Workload`]: how to load, and what a loaded [`Model`] does. Dropping it is the third phase.
//! 3. `fn main`, which hands your workloads to [`main`]: the command `run`, `list` and so on. It
//!    needs the feature `cli`.
//!
//! In a test, a [`Check`] stands for the last two: a closure that is one cycle.
//!
//! # What you get
//! A [`Report`] on the terminal and as `report.json`, in formats for browsers, profilers and CI systems
//! (feature `formats`), the journal of the run, and what the heap itself gives: jemalloc's statistics, or
//! a dhat profile. The exit code is 0 for
//! clean, 1 for a leak or growth, 2 for bad input, 3 if the measured run failed, 4 for undecided.
//!
//! # Words
//! | word | meaning |
//! | --- | --- |
//! | workload | something with `load`, `infer` and `drop` |
//! | cycle, phase | one load, infer, drop; the [`Phase`] is which of the three runs now |
//! | strategy | how cycles handle the model: [`Strategy`] |
//! | boundary | the instant after a cycle's drop, when the workload should hold nothing of that cycle |
//! | block | one live heap allocation: address, size, birth cycle, birth phase, call site |
//! | call site | one interned allocation backtrace; its *blame frame* is the frame a person would go and edit |
//! | survivor | a block alive at a boundary that was born after the baseline |
//! | generation | the survivors of one birth cycle; a call site's count of living generations tells a leak from a cache |
//! | census | per call site, at one boundary: live bytes, blocks, and bytes by generation |
//! | holder | the static, thread-local, thread or block whose pointer keeps a survivor reachable; a survivor without one is *lost* |
//! | verdict | what a call site's series of censuses proves: [`Verdict`] |
//!
//! # How it flows
//! ```text
//!  workload ─► heap (inside alloc/free) ─► census at each boundary ─► journal (a line a boundary)
//!                                                                        │ the measured process ends
//!                                                                        ▼
//!          report (terminal, json, html, …) ◄─ verdict ◄─ symbols ◄─ journal read back
//! ```
//! Behind the last boundary a frozen copy of the measured process looks for holders, and writes them to
//! a file of their own, which the parent reads back with the journal.
//!
//! The measured process does nothing but measure: the parent starts the same executable again, and
//! everything that allocates for itself (symbols, statistics, rendering) happens in the parent. A
//! child that is killed leaves a journal that is whole up to its last boundary, and still reports.
//!
//! # The rule, and its horizon
//! A cache that gains one entry a cycle looks exactly like a leak until it is full, and deferred
//! frees look like one until the sweep. No finite run can tell them apart by their curve. So the
//! rule has a stated *horizon*, 64 cycles after the warm-up unless told otherwise: what still grows
//! beyond it is called a leak, and what stops or is swept within it never is. Growth by whole
//! models (nine tenths of what a load leaves live, kept in every cycle) is called after eight
//! generations, and what is lost in five of them at once: nothing that the program can reach points at
//! it, so that no cache holds it. What comes ever more seldom, as where a cache is asked for keys at
//! random, is waited for. Where the numbers allow two answers the verdict is `undecided`, with the number
//! of cycles that would settle it.
//!
//! # Holders
//! Who holds a call site is found out conservatively: each word of a static, a thread-local, a stack, a
//! register or C code's memory that has the address of a block, or one inside it, counts as a pointer,
//! tags in its low three bits or not. Old words make a block seem held that is not; so a call site's holder is
//! who holds most of its blocks. Pointers that are hidden are not seen, and what only they point at looks
//! lost: [`Check::without_holders`] is for programs that hide them all.
//!
//! # What it is not for
//! - Lines are known of what Rust's global allocator hands out. Of C code's `malloc` and of memory
//!   mapped by hand only growth is seen, and how much of it. jemalloc is prefixed, so that the two do
//!   not mix.
//! - Lines need `debug = "line-tables-only"` or more. Stacks are walked by frame pointers
//!   (`-C force-frame-pointers=yes`); where a build has none, on x86-64, by call frame information,
//!   which is right, too, and slower. The report says which.
//! - It measures repetition. A single large allocation that never repeats is not its question: use
//!   a heap profiler, such as dhat (`--heap dhat` writes its profile) or heaptrack.
//!
//! # Beside other tools
//! dhat and heaptrack record every block, too, and show stacks; which of them leak is for the
//! reader to find out. jemalloc's profiler samples, and so can miss small slow leaks. Neither
//! repeats a scenario or judges one; both profile any program as it is, which this does not.
//!
//! # Features
//! `cli` (the command), `formats` (reports beyond the terminal and JSON), `jemalloc`, `dhat`, `planted`
//! (cases with known truth), `burn` (three models on Burn) and `keras` (Keras files on Burn) are on by
//! default; `flex` adds Burn's flex device, and `tokio` asynchronous checks. Without default features the
//! library needs no C compiler and none of these.

#![deny(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks
)]
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
mod measure;
mod model;
mod recorder;
pub mod report;
pub mod workloads;

pub use report::Report;

/// For this crate's own benches.
#[doc(hidden)]
pub mod bench {
    use crate::analysis::verdict::synthetic;
    pub use crate::analysis::verdict::synthetic::Life;
    pub use crate::base::random::Random;
    use crate::model::verdict::{DEFAULT_HORIZON, Verdict};

    /// The verdict on a call site that sees these blocks in a run of `n` cycles after the warm-up.
    pub fn judge(n: u32, lives: &[Life]) -> Verdict {
        synthetic::judged(n, lives, DEFAULT_HORIZON).verdict
    }

    /// The same in a run that ends by itself, and the cycle in which it does, if the blocks are
    /// born while a model is loaded and so many bytes are live before the drop.
    pub fn judge_until_settled(
        most: u32,
        lives: &[Life],
        loaded_bytes: u64,
    ) -> (u32, Verdict, bool) {
        let (n, judged) =
            synthetic::judged_until_settled(most, lives, DEFAULT_HORIZON, loaded_bytes);
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
