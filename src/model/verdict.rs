//! The words of the verdict, and the figures behind it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Default horizon, in cycles after the warm-up.
pub(crate) const DEFAULT_HORIZON: u32 = 64;

/// Default warm-up, in cycles.
pub(crate) const DEFAULT_WARMUP: u32 = 3;

/// Cycles beyond the horizon that the default run adds, so that a leak every third cycle, or one
/// under churn, is still called.
pub(crate) const DEFAULT_MARGIN: u32 = 16;

/// Fewest cycles after the warm-up about which anything can be said: five rising values are the
/// fewest that chance alone gives in less than 1 % of all cases (1 in 120 orders).
pub(crate) const FEWEST_CYCLES: u32 = 5;

/// Cycles of a run that was given no number, for a warm-up and a horizon.
pub(crate) fn default_cycles(warmup: u32, horizon: u32) -> u32 {
    warmup
        .saturating_add(horizon)
        .saturating_add(DEFAULT_MARGIN)
}

/// What a call site's series of censuses proves.
///
/// The order is that of severity: a run's verdict is the worst of its call sites'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Born in the warm-up cycles only.
    WarmUp,
    /// Survivors are always young: each generation dies when a later one comes, or in sweeps.
    Churn,
    /// It grew, then stopped; or every new entry replaces an old one.
    Cache,
    /// The numbers allow two of these. The reason says what would settle it.
    Undecided,
    /// It grew to the end, but the run ended before the horizon.
    Growing,
    /// It grew beyond the horizon, or by whole models.
    Leak,
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

    /// The word for it in reports.
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

    /// Whether memory grows for all that is known: a check fails on it.
    pub const fn is_growth(self) -> bool {
        matches!(self, Self::Growing | Self::Leak)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Rises went on for longer than the horizon: a leak.
    Horizon,
    /// A generation stayed in every cycle, and together they are all that a cycle loads: a leak
    /// without waiting for the horizon.
    ModelSized,
    /// Survivors of several generations are lost, because nothing points at them: a leak without waiting
    /// for the horizon.
    Lost,
    /// Rises go on, and the run ended before the horizon: growing.
    NotYet,
    /// Rises stopped, for as long as they took: a cache.
    Stopped,
    /// Each new generation replaces an old one, and several are alive: a cache.
    Replaced,
    /// Generations die young: churn.
    Young,
    /// Nothing was born after the baseline: warm-up.
    BeforeBaseline,
    /// Fewer cycles than any rule needs.
    TooFewCycles,
    /// Rises went on for longer than the horizon, but by no more than what the system itself may
    /// keep: undecided.
    TooLittle,
    /// No rule holds.
    Open,
}

/// What rises, if anything does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RisesBy {
    /// A generation that outlives everything that died came to stay.
    Generations,
    /// All live bytes that follow are more than all that were before: a block that grows.
    Floor,
    /// The least live bytes of a stretch as long as the longest life are more than those of any
    /// before: what is kept is copied now and then.
    Troughs,
}

/// The figures behind a verdict. Cycles are counted from the baseline on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Evidence {
    /// The rule that decided.
    pub rule: Rule,
    /// What the rises are.
    pub rises_by: RisesBy,
    /// Cycles in which something came to stay.
    pub rises: Vec<u32>,
    /// Cycles from the first rise to the last that has outlived three boundaries: what is held
    /// against the horizon.
    pub span: u32,
    /// Longest wait between two rises, in cycles.
    pub longest_gap: u32,
    /// Cycles since the last rise.
    pub quiet: u32,
    /// Cycles without a rise after which it counts as stopped.
    pub quiet_needed: u32,
    /// Longest life, in cycles, of a generation that died.
    pub longest_life: u32,
    /// Probability that a series without trend rises as much as this one (Mann-Kendall).
    pub chance: f64,
    /// The chance below which a rise is believed, at this interim analysis.
    pub significance: f64,
    /// Interim analyses up to this one; 0 if its length was fixed beforehand.
    pub analyses: u32,
    /// Further cycles that it takes at least, where it cannot be told yet.
    pub more_cycles: Option<u32>,
}
