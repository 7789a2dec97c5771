//! Verdicts, and the figures behind them.

use std::fmt;

use crate::base::json::{fields, names};

/// The default horizon, in cycles after the warm-up.
pub(crate) const DEFAULT_HORIZON: u32 = 64;

/// The default warm-up, in cycles.
pub(crate) const DEFAULT_WARMUP: u32 = 3;

/// Cycles that a default run goes on beyond the horizon, so that a leak in every third cycle, or one
/// hidden by churn, is still found.
pub(crate) const DEFAULT_MARGIN: u32 = 16;

/// The fewest cycles after the warm-up that allow a verdict. Five values in rising order are the
/// fewest with a probability below 1 % by chance: 1 in 120.
pub(crate) const FEWEST_CYCLES: u32 = 5;

/// Cycles of a run for which no number was given.
pub(crate) fn default_cycles(warmup: u32, horizon: u32) -> u32 {
    warmup
        .saturating_add(horizon)
        .saturating_add(DEFAULT_MARGIN)
}

/// The verdict on a call site's series of censuses.
///
/// Verdicts are ordered by severity: that on a run is the worst of its call sites'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Verdict {
    /// All survivors were allocated in the warm-up cycles.
    WarmUp,
    /// No generation lives long: each dies when a later one comes, or in a sweep.
    Churn,
    /// It grew and then stopped, or each new entry replaces an old one.
    Cache,
    /// The figures allow more than one verdict. The reason says how many more cycles would decide.
    Undecided,
    /// It grew to the end of the run, which ended before the horizon.
    Growing,
    /// It grew beyond the horizon, or retained whole models, or lost its blocks.
    Leak,
}

names! {
    Verdict {
        WarmUp: "warm-up", Churn: "churn", Cache: "cache", Undecided: "undecided",
        Growing: "growing", Leak: "leak",
    }
}

impl Verdict {
    /// All verdicts, the mildest first.
    pub const ALL: [Self; 6] = [
        Self::WarmUp,
        Self::Churn,
        Self::Cache,
        Self::Undecided,
        Self::Growing,
        Self::Leak,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Churn => "churn",
            Self::Cache => "cache",
            Self::Undecided => "undecided",
            Self::Growing => "growing",
            Self::Leak => "leak",
        }
    }

    /// Whether it is growth, on which a check fails.
    pub const fn is_growth(self) -> bool {
        matches!(self, Self::Growing | Self::Leak)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The rule that decided a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Rule {
    /// The span of the rises exceeds the horizon: a leak.
    Horizon,
    /// A generation survives from every cycle, and together they retain at least 90 % of one load in
    /// every cycle: a leak, without waiting for the horizon.
    ModelSized,
    /// Survivors of several generations are lost, because nothing points at them: a leak, without
    /// waiting for the horizon.
    Lost,
    /// It still rises, and the run ended before the horizon: growing.
    NotYet,
    /// The span of the rises exceeds the horizon, but the growth becomes slower: growing.
    Slower,
    /// It has not risen for as long as the rises took: a cache.
    Stopped,
    /// Each new generation replaces an old one, and several are alive: a cache.
    Replaced,
    /// Generations die young: churn.
    Young,
    /// Nothing was allocated after the baseline: warm-up.
    BeforeBaseline,
    /// The run had fewer cycles than any rule needs: undecided.
    TooFewCycles,
    /// The span of the rises exceeds the horizon, but the growth is within what the C library or the
    /// kernel may keep: undecided.
    TooLittle,
    /// It rises, but is garbage that Python's collector frees when it comes: undecided.
    Garbage,
    /// No rule applies: undecided.
    Open,
}

names! {
    Rule {
        Horizon: "horizon", ModelSized: "model-sized", Lost: "lost", NotYet: "not-yet",
        Slower: "slower", Stopped: "stopped", Replaced: "replaced", Young: "young",
        BeforeBaseline: "before-baseline", TooFewCycles: "too-few-cycles", TooLittle: "too-little",
        Garbage: "garbage", Open: "open",
    }
}

/// What counts as a rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum RisesBy {
    /// A generation that has outlived every generation that died.
    Generations,
    /// A cycle from which on live bytes stay above all earlier values: a block that grows.
    Floor,
    /// A new maximum of the minimum over each window of the longest lifetime: a container that is
    /// copied now and then.
    Troughs,
}

names! { RisesBy { Generations: "generations", Floor: "floor", Troughs: "troughs" } }

/// The figures behind a verdict. Cycles are counted from the baseline.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Evidence {
    /// The rule that decided.
    pub rule: Rule,
    /// What counts as a rise.
    pub rises_by: RisesBy,
    /// Cycles with a rise.
    pub rises: Vec<u32>,
    /// Cycles from the first rise to the last one that has lasted for three boundaries. A leak's span
    /// exceeds the horizon.
    pub span: u32,
    /// Most cycles between two successive rises.
    pub longest_gap: u32,
    /// Cycles since the last rise.
    pub quiet: u32,
    /// Cycles without a rise after which the growth counts as stopped.
    pub quiet_needed: u32,
    /// Longest lifetime, in cycles, of a generation that died.
    pub longest_life: u32,
    /// Probability that a series without a trend rises as much by chance (Mann-Kendall).
    pub chance: f64,
    /// Significance level: the probability below which a rise counts, at this interim analysis.
    pub significance: f64,
    /// Number of interim analyses, this one included; 0 if the run's length was fixed in advance.
    pub analyses: u32,
    /// Fewest further cycles that would decide, if it is not decided yet.
    pub more_cycles: Option<u32>,
}

fields! {
    Evidence {
        rule, rises_by, rises, span, longest_gap, quiet, quiet_needed, longest_life, chance,
        significance, analyses, more_cycles: default,
    }
}
