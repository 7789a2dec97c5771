//! The finished report, as `report.json` holds it.

use std::fmt;

use super::end::Ended;
use super::frame::{Frame, relevant};
use super::holder::{Holder, HolderSearch, Root};
use super::objects::ObjectGrowth;
use super::peak::{CrateShare, Peak};
use super::process::Process;
use super::profile::{Bin, Excerpt, Generation, Profile};
use super::run::{HeapKind, Phase, Strategy};
use super::sampling::Sampling;
use super::verdict::{Evidence, Verdict};
use crate::base::json::{fields, names};

pub use super::boundary::Boundary;

/// The schema of [`Report`] that this version writes.
pub const SCHEMA: &str = "afterdrop/2";

/// The report's name in the folder of a run.
pub(crate) const FILE: &str = "report.json";

/// What a run found: the contents of `report.json`.
///
/// Bytes are bytes as requested, without the allocator's rounding, unless a field says otherwise. A
/// value that is not known is `null`, never 0.
///
/// A report [displays](fmt::Display) as the terminal shows it:
///
/// ```no_run
/// use std::path::Path;
///
/// let report = afterdrop::Report::read(Path::new("reports/runs/burn-cnn-001/report.json"))?;
/// println!("{report}");
/// # Ok::<(), afterdrop::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Report {
    /// Always [`SCHEMA`].
    #[cfg_attr(feature = "formats", schemars(extend("const" = SCHEMA)))]
    pub schema: String,
    /// Version of afterdrop that wrote it.
    pub version: String,
    /// The workload's name, as `afterdrop list` shows it.
    pub workload: String,
    /// The workload's settings, such as `device=ndarray`.
    pub options: Vec<String>,
    /// Whether this is a program as it is, which `afterdrop exec` ran. It decides itself what a cycle does and
    /// how many there are: `strategy` means nothing then, and `heap` is the C library's.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub exec: bool,
    /// Of a service that was judged while it ran: what a cycle is. `None` for a run.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub live: Option<LiveWindows>,
    /// The allocator that served the blocks.
    pub heap: HeapKind,
    /// How cycles handled the model.
    pub strategy: Strategy,
    /// Cycles requested; at most, if `auto`. A cycle that ran has an entry in `boundaries`.
    pub cycles: u32,
    /// Whether the run was to end as soon as every call site was settled.
    pub auto: bool,
    /// Cycles at the start that are not judged. The baseline is the boundary of the last of them.
    pub warmup: u32,
    /// Cycles after the warm-up beyond which steady growth is a leak.
    pub horizon: u32,
    /// How the measured process ended.
    pub ended: Ended,
    /// The worst verdict on a call site or a part of the process.
    pub verdict: RunVerdict,
    /// The verdict in a sentence.
    pub summary: String,
    /// Growth of all leaking and growing call sites together, 0 if there are none; `None` if it is
    /// not known yet.
    pub bytes_per_cycle: Option<f64>,
    /// Call sites with survivors, the worst first.
    pub call_sites: Vec<CallSite>,
    /// The process at the end of each cycle that ran.
    pub boundaries: Vec<Boundary>,
    /// What was live at the peak; `None` if no cycle has added to what was live before the first.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub peak: Option<Peak>,
    /// What the code of each crate or shared library has allocated, the largest first.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub crates: Vec<CrateShare>,
    /// Objects of Python's that cycles leave behind, by type, the most per cycle first. Empty without Python, or
    /// without a holder search.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub objects: Vec<ObjectGrowth>,
    /// What grows in the process besides the call sites.
    pub process: Process,
    /// Holders, and how much memory each of them alone keeps alive; the most first. Empty if there was
    /// no holder search.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub roots: Vec<Root>,
    /// How the holder search went; `None` if there was none.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub holder_search: Option<HolderSearch>,
    /// How blocks were sampled; `None` if all of them were recorded.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub sampling: Option<Sampling>,
    /// Where the live bytes belong, and what could not be attributed.
    pub attribution: Attribution,
    /// What the measurement itself cost.
    pub cost: Cost,
    /// dhat's counts compared with the ledger's; `None` unless the heap was dhat.
    pub witness: Option<Witness>,
    /// What is live at the last boundary, by backtrace and birth cycle.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub profile: Profile,
    /// jemalloc's size classes in use, the smallest first. Empty unless the heap was jemalloc.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub bins: Vec<Bin>,
    /// What limits the trust in this report. Each says what to do about it.
    pub warnings: Vec<String>,
}

fields! {
    Report {
        schema, version, workload, options, exec: default, live: default, heap, strategy, cycles, auto, warmup,
        horizon, ended, verdict, summary, bytes_per_cycle: default, call_sites, boundaries,
        peak: default, crates: default, objects: default, process, roots: default,
        holder_search: default, sampling: default, attribution, cost, witness: default,
        profile: default, bins: default, warnings,
    }
}

impl Report {
    /// Call sites that leak or grow.
    pub fn growing_call_sites(&self) -> impl Iterator<Item = &CallSite> {
        self.call_sites.iter().filter(|s| s.verdict.is_growth())
    }

    /// Whether cycles load and drop a model in a way that [`Report::strategy`] tells.
    pub(crate) fn has_strategy(&self) -> bool {
        !self.exec && self.live.is_none()
    }

    /// Cycles that reached their boundary.
    pub fn cycles_run(&self) -> u32 {
        self.boundaries.len() as u32
    }

    /// The median of a figure over the cycles after the warm-up; `None` if there are none.
    #[cfg(any(feature = "cli", feature = "formats"))]
    pub(crate) fn median(&self, value: fn(&Boundary) -> f64) -> Option<f64> {
        let after = self.boundaries.iter().filter(|b| b.cycle > self.warmup);
        let mut values: Vec<f64> = after.map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

/// What a cycle is in the report of a service: a window of time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LiveWindows {
    /// Seconds of a window, on average.
    pub seconds: f64,
}

fields! { LiveWindows { seconds } }

impl LiveWindows {
    /// What a figure for each window is for each hour.
    pub fn per_hour(self, per_window: f64) -> f64 {
        per_window * 3600.0 / self.seconds.max(1e-9)
    }
}

/// The verdict on a run: the worst of its call sites' verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum RunVerdict {
    /// Nothing grows.
    Clean,
    /// Nothing is known to grow, and at least one call site is undecided.
    Undecided,
    /// At least one call site grew to the end of a run that was too short to call it a leak.
    Growing,
    /// At least one call site leaks.
    Leak,
}

names! { RunVerdict { Clean: "clean", Undecided: "undecided", Growing: "growing", Leak: "leak" } }

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

    /// Its name in reports.
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

/// A call site: all stacks with the same blame frame, in one phase.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CallSite {
    /// The verdict on its series of censuses.
    pub verdict: Verdict,
    /// The reason for the verdict, in words.
    pub reason: String,
    /// Function of the blame frame: the frame that a person would go and edit. `(not attributed)` for
    /// blocks without a readable stack.
    pub function: String,
    /// File of the blame frame.
    pub file: Option<String>,
    /// Line of the blame frame.
    pub line: Option<u32>,
    /// Phase in which the blocks were allocated.
    pub phase: Phase,
    /// Growth per cycle (Theil-Sen slope), 0 if it was shown not to grow; `None` if it is not known.
    pub bytes_per_cycle: Option<f64>,
    /// 95 % confidence interval of `bytes_per_cycle`.
    pub bytes_per_cycle_interval: Option<(f64, f64)>,
    /// Growth per cycle in blocks, as `bytes_per_cycle`.
    pub blocks_per_cycle: Option<f64>,
    /// Live bytes at the last boundary, those of the warm-up included.
    pub retained_bytes: u64,
    /// 95 % confidence interval of `retained_bytes`, if blocks were sampled; see
    /// [`Report::sampling`].
    #[cfg_attr(feature = "formats", schemars(default))]
    pub retained_bytes_interval: Option<(u64, u64)>,
    /// Live blocks at the last boundary, those of the warm-up included.
    pub retained_blocks: u64,
    /// Generations with a survivor at the last boundary.
    pub generations: u32,
    /// Live bytes born after the baseline, at each boundary after it.
    pub series: Vec<u64>,
    /// How the bytes of each generation changed, those of the warm-up included. Only for the worst
    /// call sites; empty for the others, and where there are too many changes.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub lives: Vec<Generation>,
    /// The source around the blame frame. Only for the worst call sites, and where the file could be
    /// read.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub source: Option<Excerpt>,
    /// The figures behind the verdict.
    pub evidence: Evidence,
    /// Number of stacks that belong to it.
    pub stacks: u32,
    /// The stack that retains the most, innermost frame first, with inlined frames. Only for the worst
    /// call sites; [`Report::profile`] has the relevant frames of all of them.
    pub stack: Vec<Frame>,
    /// Whether `stack` had more frames than were recorded.
    pub stack_cut: bool,
    /// The stacks that retain the most after `stack`. Stacks with the same relevant frames are one.
    pub other_stacks: Vec<OtherStack>,
    /// What keeps its blocks alive; `None` if there was no holder search, or if it is not known.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub holder: Option<Holder>,
    /// Why the holder search found none for it.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub holder_unknown: Option<String>,
    /// Objects of Python's among its blocks, by type, the most per cycle first. Only the first types.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub objects: Vec<ObjectGrowth>,
    /// What to know about the pool of a known library that has allocated it, and what makes that keep less;
    /// `None` if it is of none.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub pool: Option<String>,
    /// Why its growth is allowed, if it is.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub allowed: Option<String>,
    /// Hash of the functions and files along the stack, without addresses and lines: the same bug has
    /// the same fingerprint in other builds.
    pub fingerprint: String,
}

fields! {
    CallSite {
        verdict, reason, function, file: default, line: default, phase, bytes_per_cycle: default,
        bytes_per_cycle_interval: default, blocks_per_cycle: default, retained_bytes,
        retained_bytes_interval: default, retained_blocks, generations, series, lives: default,
        source: default, evidence, stacks, stack, stack_cut, other_stacks, holder: default,
        holder_unknown: default, objects: default, pool: default, allowed: default, fingerprint,
    }
}

impl CallSite {
    /// The relevant frames of the stack that retains the most, innermost first: without those of the
    /// allocator, the standard library and afterdrop.
    pub fn frames(&self) -> std::slice::Iter<'_, Frame> {
        relevant(&self.stack).iter()
    }

    /// Whether a frame is the blame frame.
    pub(crate) fn is_blame(&self, frame: &Frame) -> bool {
        (&frame.function, &frame.file, frame.line) == (&self.function, &self.file, self.line)
    }

    /// The blame frame as `file:line`, as far as it is known; else `(unknown location)`.
    pub fn location(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            _ => "(unknown location)".into(),
        }
    }
}

/// A further stack of a call site.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OtherStack {
    /// Live bytes at the last boundary, those of the warm-up included.
    pub retained_bytes: u64,
    /// Its relevant frames, innermost first.
    pub frames: Vec<Frame>,
}

fields! { OtherStack { retained_bytes, frames } }

/// The ledger's live bytes by where they belong, and what could not be attributed.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Attribution {
    /// Live bytes at the last boundary. `setup_bytes` and `call_site_bytes` add up to it.
    pub live_bytes: u64,
    /// Live bytes that were allocated before the first cycle, while the process and the workload
    /// were set up.
    pub setup_bytes: u64,
    /// Live bytes of all call sites.
    pub call_site_bytes: u64,
    /// Live bytes without a readable stack. Part of `call_site_bytes`.
    pub unattributed_bytes: u64,
    /// Call sites with a stack that had more frames than were recorded.
    pub cut_stacks: u32,
    /// jemalloc's `allocated` less the ledger's live bytes: rounding to size classes, and blocks
    /// in thread caches. `None` unless the heap was jemalloc.
    pub allocator_difference: Option<i64>,
    /// Calls that were not recorded because their thread was inside a hook.
    pub unseen_calls: u64,
    /// Frees of blocks that were not in the ledger.
    pub unknown_frees: u64,
    /// Blocks and stacks for which the ledger had no room.
    pub refused: u64,
}

fields! {
    Attribution {
        live_bytes, setup_bytes, call_site_bytes, unattributed_bytes, cut_stacks,
        allocator_difference: default, unseen_calls, unknown_frees, refused,
    }
}

/// What the measurement itself cost.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Cost {
    /// Seconds in the hooks, the allocator's own time included, estimated from one call in 255.
    /// `None` if too few calls were timed.
    pub hook_seconds: Option<f64>,
    /// Seconds of load, infer and drop in all cycles.
    pub cycle_seconds: f64,
    /// Bytes that afterdrop mapped for itself, at the end.
    pub ledger_bytes: u64,
}

fields! { Cost { hook_seconds: default, cycle_seconds, ledger_bytes } }

/// dhat's profile compared with the ledger, stack by stack.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Witness {
    /// Whether every stack has the same bytes and blocks in both.
    pub agrees: bool,
    /// Stacks compared.
    pub stacks: u32,
    /// Live bytes in the ledger.
    pub ledger_bytes: u64,
    /// Live bytes in dhat's profile.
    pub dhat_bytes: u64,
    /// Live blocks in the ledger.
    pub ledger_blocks: u64,
    /// Live blocks in dhat's profile.
    pub dhat_blocks: u64,
    /// Stacks that differ, in words.
    pub differences: Vec<String>,
}

fields! {
    Witness {
        agrees, stacks, ledger_bytes, dhat_bytes, ledger_blocks, dhat_blocks, differences,
    }
}
