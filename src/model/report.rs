//! The finished report, as `report.json` has it.

use crate::model::end::Ended;
use crate::model::frame::{Frame, relevant};
use crate::model::holder::Holder;
use crate::model::holder::HolderSearch;
use crate::model::holder::Root;
use crate::model::journal::JemallocBytes;
use crate::model::process::Balance;
use crate::model::process::Process;
use crate::model::profile::Bin;
use crate::model::profile::Excerpt;
use crate::model::profile::Generation;
use crate::model::profile::Profile;
use crate::model::run::HeapKind;
use crate::model::run::Phase;
use crate::model::run::Strategy;
use crate::model::sampling::Sampling;
use crate::model::verdict::Evidence;
use crate::model::verdict::Verdict;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The schema of [`Report`] that this version writes.
pub const SCHEMA: &str = "afterdrop/2";

/// The report's name in the folder of a run.
pub(crate) const FILE: &str = "report.json";

/// All that a run found out: what `report.json` holds.
///
/// Bytes are bytes asked for, without the allocator's rounding, unless a field says otherwise. A
/// value that is not known is `null`, never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Report {
    /// Always [`SCHEMA`].
    #[cfg_attr(feature = "formats", schemars(extend("const" = SCHEMA)))]
    pub schema: String,
    /// Version of afterdrop that wrote it.
    pub version: String,
    /// The workload's name, as `afterdrop list` has it.
    pub workload: String,
    /// What the workload was told besides, such as `device=ndarray`.
    pub options: Vec<String>,
    /// Allocator beneath the ledger.
    pub heap: HeapKind,
    /// How cycles handled the model.
    pub strategy: Strategy,
    /// Cycles that were asked for; with `auto`, at most. Those that ran have a boundary.
    pub cycles: u32,
    /// The run was to end once every call site is settled.
    pub auto: bool,
    /// The first cycles, which were set aside.
    pub warmup: u32,
    /// Cycles after the warm-up beyond which steady growth is called a leak.
    pub horizon: u32,
    /// How the measured process ended.
    pub ended: Ended,
    /// The worst of the call sites' verdicts.
    pub verdict: RunVerdict,
    /// The verdict in a sentence.
    pub summary: String,
    /// Growth of all leaking and growing call sites together, 0 if there are none; `None` if it cannot
    /// be told yet.
    pub bytes_per_cycle: Option<f64>,
    /// Call sites with survivors, the worst first.
    pub call_sites: Vec<CallSite>,
    /// One entry a cycle that ran.
    pub boundaries: Vec<Boundary>,
    /// What grows in the process besides these call sites.
    pub process: Process,
    /// Statics, threads and causes of what is lost, and what would be freed if they were cleared; the
    /// most first. Empty where holders were not looked for.
    #[serde(default)]
    pub roots: Vec<Root>,
    /// How holders were looked for; `None` if they were not.
    #[serde(default)]
    pub holder_search: Option<HolderSearch>,
    /// What it means that only one block in so many bytes was recorded; `None` if all were.
    #[serde(default)]
    pub sampling: Option<Sampling>,
    /// What adds up and what does not.
    pub attribution: Attribution,
    /// What the measurement itself cost.
    pub cost: Cost,
    /// dhat's own count beside the ledger's; `None` unless the heap was dhat.
    pub witness: Option<Witness>,
    /// What is live at the last boundary, by backtrace and birth cycle.
    #[serde(default)]
    pub profile: Profile,
    /// jemalloc's size classes that hold something, the smallest first. Empty unless the heap was
    /// jemalloc.
    #[serde(default)]
    pub bins: Vec<Bin>,
    /// What a reader should know before believing the rest, each with what to do.
    pub warnings: Vec<String>,
}

/// The verdict on a run: the worst of its call sites'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RunVerdict {
    /// No call site grows.
    Clean,
    /// At least one call site cannot be told yet, and none grows.
    Undecided,
    /// At least one call site grew to the end of a run that was too short to call it a leak.
    Growing,
    /// At least one call site leaks.
    Leak,
}

impl RunVerdict {
    /// All verdicts, the mildest first.
    pub const ALL: [Self; 4] = [Self::Clean, Self::Undecided, Self::Growing, Self::Leak];

    /// The worst of some call sites' verdicts.
    pub(crate) fn worst(call_sites: impl IntoIterator<Item = Verdict>) -> Self {
        match call_sites.into_iter().max() {
            Some(Verdict::Leak) => Self::Leak,
            Some(Verdict::Growing) => Self::Growing,
            Some(Verdict::Undecided) => Self::Undecided,
            _ => Self::Clean,
        }
    }

    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Undecided => "undecided",
            Self::Growing => "growing",
            Self::Leak => "leak",
        }
    }
}

impl fmt::Display for RunVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where survivors were allocated: all stacks with one blame frame, in one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct CallSite {
    /// What its censuses prove.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
    /// The blame frame: the one that a person would go and edit. `(not attributed)` for blocks
    /// without a readable stack.
    pub function: String,
    /// The blame frame's file.
    pub file: Option<String>,
    /// The blame frame's line.
    pub line: Option<u32>,
    /// Phase of the allocation.
    pub phase: Phase,
    /// Growth per cycle (Theil-Sen), 0 if it was shown not to grow; `None` if it cannot be told.
    pub bytes_per_cycle: Option<f64>,
    /// 95 % interval of the growth, in bytes per cycle.
    pub bytes_per_cycle_interval: Option<(f64, f64)>,
    /// The same in blocks.
    pub blocks_per_cycle: Option<f64>,
    /// Live bytes at the last boundary, warm-up included.
    pub retained_bytes: u64,
    /// 95 % interval of `retained_bytes`, if they are estimated; see [`Report::sampling`].
    #[serde(default)]
    pub retained_bytes_interval: Option<(u64, u64)>,
    /// Live blocks at the last boundary, warm-up included.
    pub retained_blocks: u64,
    /// Birth cycles that have a survivor at the last boundary.
    pub generations: u32,
    /// Live bytes born after the baseline, at each boundary after it.
    pub series: Vec<u64>,
    /// What became of each birth cycle's survivors, warm-up included. Of the worst call sites: of others, and
    /// where there are too many changes to tell, it is empty.
    #[serde(default)]
    pub lives: Vec<Generation>,
    /// The source around the blame frame, of the worst call sites, where it could be read.
    #[serde(default)]
    pub source: Option<Excerpt>,
    /// The figures behind the verdict.
    pub evidence: Evidence,
    /// Distinct backtraces that are counted here.
    pub stacks: u32,
    /// The backtrace that retains the most, innermost frame first, inlined frames included. Of the worst
    /// call sites: of all of them [`Report::profile`] has those that matter.
    pub stack: Vec<Frame>,
    /// That backtrace had more frames than were kept.
    pub stack_cut: bool,
    /// Those that retain the most after it, as far as they are told apart by frames that matter.
    pub other_stacks: Vec<OtherStack>,
    /// Who keeps its blocks alive; `None` if it was not looked for, or cannot be told.
    #[serde(default)]
    pub holder: Option<Holder>,
    /// Why there is no holder, if it was looked for.
    #[serde(default)]
    pub holder_unknown: Option<String>,
    /// Why its growth is allowed, if a check allows it.
    #[serde(default)]
    pub allowed: Option<String>,
    /// The same for the same bug in other builds: made of functions and files along the blame
    /// path, without addresses and lines.
    pub fingerprint: String,
}

/// A backtrace through the same blame frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct OtherStack {
    /// Live bytes at the last boundary, warm-up included.
    pub retained_bytes: u64,
    /// Its frames, innermost first, without those of the allocator and of the tool.
    pub frames: Vec<Frame>,
}

/// The process at the end of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Boundary {
    /// The cycle that just ended, from 1.
    pub cycle: u32,
    /// Live bytes in the ledger.
    pub live_bytes: u64,
    /// Live blocks in the ledger.
    pub live_blocks: u64,
    /// Highest live bytes during the cycle, exact to 4 KiB for each running thread.
    pub peak_bytes: u64,
    /// Resident memory of the process, the tool's own included.
    pub resident_bytes: Option<u64>,
    /// The highest that resident memory ever was, within cycles too.
    pub peak_resident_bytes: Option<u64>,
    /// Blocks allocated in the cycle.
    pub allocations: u64,
    /// Bytes allocated in the cycle.
    pub allocated_bytes: u64,
    /// Live bytes that the cycle's load added.
    pub loaded_bytes: u64,
    /// By how much live bytes were higher at the most while it was loading, exact to 4 KiB.
    pub load_peak_bytes: u64,
    /// Threads of the process.
    pub threads: u64,
    /// Whether the heap came to rest before the boundary was taken.
    pub quiet: bool,
    /// Seconds of load, infer and drop.
    pub seconds: f64,
    /// jemalloc's own counters; `None` unless the heap was jemalloc.
    #[serde(flatten)]
    pub jemalloc: Option<JemallocBytes>,
    /// Resident memory, accounted for; `None` where the kernel did not tell.
    pub balance: Option<Balance>,
}

/// What adds up: the ledger's live bytes, by where they belong, and what could not be attributed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Attribution {
    /// Live bytes at the last boundary, all of them.
    pub live_bytes: u64,
    /// Of these, born before the first cycle: set-up of the process and of the workload.
    pub setup_bytes: u64,
    /// Of these, counted under a call site.
    pub call_site_bytes: u64,
    /// Of these, without a readable stack. Part of `site_bytes`.
    pub unattributed_bytes: u64,
    /// Call sites whose stack was cut at the outer end.
    pub cut_stacks: u32,
    /// jemalloc's `allocated` less the ledger's live bytes: rounding to size classes, and blocks
    /// in other threads' caches. `None` unless the heap was jemalloc.
    pub allocator_difference: Option<i64>,
    /// Calls that were not recorded because their thread was inside a hook.
    pub unseen_calls: u64,
    /// Frees of blocks that the ledger did not have.
    pub unknown_frees: u64,
    /// Blocks or stacks that found no room in the ledger.
    pub refused: u64,
}

/// What the measurement itself cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Cost {
    /// Seconds inside the hooks, the allocator's own time included: one call in 255 is timed.
    /// `None` if too few were to tell.
    pub hook_seconds: Option<f64>,
    /// Seconds of load, infer and drop, all cycles together.
    pub cycle_seconds: f64,
    /// Bytes of the tool's own mappings at the end.
    pub ledger_bytes: u64,
}

/// dhat's profile compared with the ledger, call site by call site: what is live at the end of the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Witness {
    /// Whether every call site has the same bytes and blocks in both.
    pub agrees: bool,
    /// Stacks compared.
    pub stacks: u32,
    /// Live bytes that the ledger has.
    pub ledger_bytes: u64,
    /// Live bytes that dhat has.
    pub dhat_bytes: u64,
    /// Live blocks that the ledger has.
    pub ledger_blocks: u64,
    /// Live blocks that dhat has.
    pub dhat_blocks: u64,
    /// Call sites that differ, in words.
    pub differences: Vec<String>,
}

impl CallSite {
    /// The frames that matter of the backtrace that retains the most, innermost first.
    pub fn frames(&self) -> std::slice::Iter<'_, Frame> {
        relevant(&self.stack).iter()
    }

    /// Whether a frame is the blame frame.
    pub(crate) fn is_blame(&self, frame: &Frame) -> bool {
        (&frame.function, &frame.file, frame.line) == (&self.function, &self.file, self.line)
    }

    /// The blame frame as `file:line`, as far as it is known.
    pub fn location(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            _ => "(unknown place)".into(),
        }
    }
}
