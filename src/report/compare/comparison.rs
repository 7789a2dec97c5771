//! The comparison as data, and the words for its values.

use crate::base::json::{fields, names};
use crate::base::units::{bytes, exact, rate};
use crate::report::json;
use crate::report::wording::heading;

/// The schema of [`Comparison`]'s JSON.
pub const SCHEMA: &str = "afterdrop-compare/1";

/// How a call site changed from one run to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Became {
    /// It grows now, and did not before.
    New,
    /// It grew before and grows faster now: the confidence intervals do not overlap.
    Worse,
    /// Not known: one of the runs is undecided about it, or could not have seen it.
    Open,
    /// It grew before and grows more slowly now.
    Better,
    /// It grew before and does not now.
    Fixed,
    /// It grows as fast as before.
    Same,
}

names! {
    write Became {
        New: "new", Worse: "worse", Open: "open", Better: "better", Fixed: "fixed", Same: "same",
    }
}

impl Became {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::New,
        Self::Worse,
        Self::Open,
        Self::Better,
        Self::Fixed,
        Self::Same,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Worse => "worse",
            Self::Open => "open",
            Self::Better => "better",
            Self::Fixed => "fixed",
            Self::Same => "unchanged",
        }
    }
}

/// A call site or a part of the process that grows in one of the runs, or may.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// How it changed.
    pub became: Became,
    /// Function of the call site, or name of the part of the process.
    pub function: String,
    /// The call site's `file:line`, of the later run if it is in both. Empty for a part of the
    /// process.
    pub location: String,
    /// Phase of the allocation; `None` for a part of the process.
    pub phase: Option<&'static str>,
    /// Growth per cycle before, in bytes, threads or descriptors; `None` if it did not grow.
    pub before: Option<f64>,
    /// Growth per cycle now.
    pub after: Option<f64>,
    /// Why its growth is allowed, if it is.
    pub allowed: Option<String>,
    /// The call site's fingerprint, of the later run if it is in both.
    pub fingerprint: Option<String>,
    /// Whether growth is in bytes.
    pub in_bytes: bool,
}

fields! {
    write Change {
        became, function, location, phase, before, after, allowed, fingerprint, in_bytes,
    }
}

impl Change {
    /// The growth before and now, in words.
    pub(in crate::report) fn rates(&self) -> String {
        let shown = |value: f64| match self.in_bytes {
            true => bytes(value),
            false => rate(value),
        };
        match (self.before, self.after) {
            (Some(b), Some(a)) if self.became != Became::Same => {
                format!("{} -> {}/cycle", shown(b), shown(a))
            }
            (Some(rate), None) if self.became == Became::Fixed => format!("{} -> 0", shown(rate)),
            (_, Some(rate)) | (Some(rate), None) => format!("{}/cycle", shown(rate)),
            (None, None) => String::new(),
        }
    }
}

/// A figure of the whole run, in both runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// Its value before; `None` if it is not known.
    pub before: Option<f64>,
    /// Its value now; `None` if it is not known.
    pub after: Option<f64>,
    /// Its unit: `B`, `ms`, or empty for a number of things.
    pub unit: &'static str,
}

fields! { write Figure { name, before, after, unit } }

impl Figure {
    fn shown(&self, value: Option<f64>) -> String {
        match (value, self.unit) {
            (None, _) => "?".into(),
            (Some(v), "B") => bytes(v),
            (Some(v), "ms") if v < 10.0 => format!("{v:.3} ms"),
            (Some(v), "ms") => format!("{v:.1} ms"),
            (Some(v), _) => exact(v as u64),
        }
    }

    /// The value before, the value now, and the change, in words.
    pub(in crate::report) fn words(&self) -> [String; 3] {
        let change = match (self.before, self.after) {
            (Some(b), Some(a)) if a == b => "=".to_owned(),
            (Some(b), Some(a)) if b > 0.0 && a / b >= 10.0 => format!("x {:.0}", a / b),
            (Some(b), Some(a)) if b > 0.0 => format!("{:+.1} %", 100.0 * (a / b - 1.0)),
            _ => String::new(),
        };
        [self.shown(self.before), self.shown(self.after), change]
    }
}

/// Two runs compared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Comparison {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Workload of the earlier and of the later run.
    pub workloads: [String; 2],
    /// Verdict on the earlier and on the later run.
    pub verdicts: [&'static str; 2],
    /// What grows or grew, the worst change first.
    pub changes: Vec<Change>,
    /// Memory and time.
    pub figures: Vec<Figure>,
    /// What limits the trust in this comparison.
    pub warnings: Vec<String>,
}

fields! { write Comparison { schema, workloads, verdicts, changes, figures, warnings } }

impl Comparison {
    /// Number of changes of a kind, without those that are allowed.
    pub fn count(&self, became: Became) -> usize {
        let counted = self.changes.iter().filter(|c| c.allowed.is_none());
        counted.filter(|c| c.became == became).count()
    }

    /// The workload, or both if the runs differ in it.
    pub fn workload(&self) -> String {
        match &self.workloads {
            [before, after] if before == after => heading(after),
            [before, after] => format!("{} and {}", heading(before), heading(after)),
        }
    }

    /// Number of changes of each kind, in words: `1 new, 2 fixed`.
    pub fn summary(&self) -> String {
        let counts: Vec<String> = Became::ALL
            .into_iter()
            .map(|b| (self.count(b), b))
            .filter(|&(n, b)| n > 0 || matches!(b, Became::New | Became::Fixed))
            .map(|(n, b)| format!("{n} {}", b.name()))
            .collect();
        counts.join(", ")
    }

    /// The comparison as indented JSON.
    pub fn to_json(&self) -> String {
        json::indented(self)
    }
}
