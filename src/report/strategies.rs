//! Strategies side by side: the same workload in each of them, a row each, and how the columns grow
//! with the model.

use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::terminal::Screen;
use super::{Report, RunVerdict};
use crate::base::error::Error;
use crate::base::text::one_line;
use crate::base::units::{bytes, exact, rate};
use crate::model::run::Strategy;
use crate::workloads::Facts;

/// The schema of [`Comparison`] that this version writes.
pub const SCHEMA: &str = "afterdrop-strategies/1";

/// What `strategies.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Comparison {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Version of afterdrop that wrote it.
    pub version: String,
    /// The workload's name.
    pub workload: String,
    /// What the workload was told besides, such as `device=ndarray`.
    pub options: Vec<String>,
    /// Cycles of each run.
    pub cycles: u32,
    /// Most memory that a run had, in bytes.
    pub memory_limit: Option<u64>,
    /// How that was kept.
    pub limited: Option<String>,
    /// One row a run.
    pub rows: Vec<Row>,
}

/// One run of the comparison. Bytes are bytes; what a run did not reach is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Row {
    /// How cycles handled the model.
    pub strategy: Strategy,
    /// How many times as wide as the shipped model.
    pub size: u32,
    /// In what the weights were stored.
    pub precision: String,
    /// The verdict on the run.
    pub verdict: RunVerdict,
    /// Whether all cycles ran.
    pub complete: bool,
    /// The first cycle that did not end, if not all did, and why.
    pub died: Option<(u32, String)>,
    /// Bytes that each cycle leaves behind; `None` if it cannot be told.
    pub bytes_per_cycle: Option<f64>,
    /// Highest live bytes within a cycle.
    pub peak_live_bytes: u64,
    /// Highest resident memory.
    pub peak_resident_bytes: Option<u64>,
    /// Resident memory after the last cycle.
    pub end_resident_bytes: Option<u64>,
    /// Seconds of a cycle: the median.
    pub seconds_per_cycle: f64,
    /// Blocks allocated in a cycle: the median.
    pub allocations_per_cycle: u64,
    /// Live bytes that a load adds, and by how much it is more while it loads: medians.
    pub loaded_bytes: u64,
    /// The same at the most while it loads.
    pub load_peak_bytes: u64,
    /// What is known of the model's file.
    pub model: Option<Facts>,
}

impl Row {
    /// The row of a run.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) fn of(report: &Report, size: u32, precision: &str, model: Option<Facts>) -> Self {
        let boundaries = &report.boundaries;
        let of = |value: fn(&super::Boundary) -> f64| report.median(value).unwrap_or(0.0);
        let complete = report.ended.is_complete();
        Self {
            strategy: report.strategy,
            size,
            precision: precision.into(),
            verdict: report.verdict,
            complete,
            died: (!complete).then(|| {
                let why = one_line(&report.ended.to_string());
                (report.cycles_run() + 1, why)
            }),
            bytes_per_cycle: report.bytes_per_cycle,
            peak_live_bytes: boundaries.iter().map(|b| b.peak_bytes).max().unwrap_or(0),
            peak_resident_bytes: boundaries
                .iter()
                .filter_map(|b| b.peak_resident_bytes)
                .max(),
            end_resident_bytes: boundaries.last().and_then(|b| b.resident_bytes),
            seconds_per_cycle: of(|b| b.seconds),
            allocations_per_cycle: of(|b| b.allocations as f64) as u64,
            loaded_bytes: of(|b| b.loaded_bytes as f64) as u64,
            load_peak_bytes: of(|b| b.load_peak_bytes as f64) as u64,
            model,
        }
    }
}

impl Row {
    /// The row of a run that reached no boundary under the limit that it was given.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) fn not_begun(strategy: Strategy, size: u32, precision: &str, why: &str) -> Self {
        Self {
            strategy,
            size,
            precision: precision.into(),
            verdict: RunVerdict::Undecided,
            complete: false,
            died: Some((0, one_line(why))),
            bytes_per_cycle: None,
            peak_live_bytes: 0,
            peak_resident_bytes: None,
            end_resident_bytes: None,
            seconds_per_cycle: 0.0,
            allocations_per_cycle: 0,
            loaded_bytes: 0,
            load_peak_bytes: 0,
            model: None,
        }
    }
}

impl Comparison {
    /// Reads a `strategies.json`.
    ///
    /// # Errors
    /// If it cannot be read, or is not a comparison of this schema.
    #[cfg_attr(not(feature = "formats"), allow(dead_code))]
    pub fn read(path: &Path) -> Result<Self, Error> {
        super::json::read(path, "comparison of strategies", SCHEMA)
    }

    /// The comparison as JSON, indented.
    pub fn to_json(&self) -> String {
        // Every map key is a string and every number finite, so that this cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Rows of the strategies, of whatever size, in `f32`.
    fn strategies(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|r| r.precision == "f32")
    }
}

/// Draws the tables.
pub fn render(comparison: &Comparison, screen: Screen) -> String {
    let mut text = String::new();
    let mut setting = comparison.options.clone();
    setting.push(format!("{} cycles", comparison.cycles));
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{}  {}", comparison.workload, setting.join(" "));
    if let (Some(limit), Some(how)) = (comparison.memory_limit, &comparison.limited) {
        let _ = writeln!(text, "limited to {} B of {how}", exact(limit));
    }
    let mut sizes: Vec<u32> = comparison.strategies().map(|r| r.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for &size in &sizes {
        let rows: Vec<&Row> = comparison.strategies().filter(|r| r.size == size).collect();
        let loaded = rows.iter().map(|r| r.loaded_bytes).max().unwrap_or(0);
        text.push('\n');
        if sizes.len() > 1 {
            let held = bytes(loaded as f64);
            let _ = writeln!(text, "size {size}: a model holds {held}");
        }
        text += &table(&strategy_columns(comparison, &rows), screen);
        for row in rows {
            if let Some((cycle, why)) = &row.died {
                let when = match cycle {
                    0 => "before its first cycle".to_owned(),
                    n => format!("in cycle {n}"),
                };
                let _ = writeln!(text, "  {} died {when}: {why}", row.strategy);
            }
        }
    }
    if sizes.len() > 1 {
        let _ = write!(
            text,
            "\nhow each column grows with the model (1 is in proportion, 0 not at all)\n{}",
            table(&growth_columns(comparison), screen)
        );
    }
    let precise: Vec<&Row> = comparison
        .rows
        .iter()
        .filter(|r| r.model.is_some())
        .collect();
    if precise.iter().any(|r| r.precision != "f32") {
        let _ = write!(
            text,
            "\nthe same weights stored otherwise, strategy fresh\n{}",
            table(&precision_columns(&precise), screen)
        );
    }
    text
}

/// A column: its heading and its cells.
type Column = (&'static str, Vec<String>);

fn column(heading: &'static str, rows: &[&Row], cell: impl Fn(&Row) -> String) -> Column {
    (heading, rows.iter().map(|r| cell(r)).collect())
}

/// A cell for what is not known is empty: a 0 would read as measured.
fn optional(value: Option<f64>) -> String {
    value.map(bytes).unwrap_or_default()
}

fn strategy_columns(comparison: &Comparison, rows: &[&Row]) -> Vec<Column> {
    let mut columns = vec![
        column("strategy", rows, |r| r.strategy.to_string()),
        column("verdict", rows, |r| match r.complete {
            true => r.verdict.to_string(),
            false => "died".into(),
        }),
        column("leaked/cycle", rows, |r| optional(r.bytes_per_cycle)),
        column("peak live", rows, |r| bytes(r.peak_live_bytes as f64)),
        column("peak resident", rows, |r| {
            optional(r.peak_resident_bytes.map(|b| b as f64))
        }),
        column("at the end", rows, |r| {
            optional(r.end_resident_bytes.map(|b| b as f64))
        }),
        column("ms/cycle", rows, |r| match r.seconds_per_cycle > 0.0 {
            true => format!("{:.2}", r.seconds_per_cycle * 1e3),
            false => String::new(),
        }),
        column("blocks/cycle", rows, |r| exact(r.allocations_per_cycle)),
    ];
    if comparison.memory_limit.is_some() {
        columns.push(column("survived", rows, |r| match &r.died {
            None => "yes".into(),
            Some((cycle, _)) => format!("{} cycles", cycle.saturating_sub(1)),
        }));
    }
    columns
}

/// For each strategy and column the exponent by which it grows with the bytes of a model, between
/// the smallest and the largest size.
fn growth_columns(comparison: &Comparison) -> Vec<Column> {
    let ends: Vec<(&Row, &Row)> = Strategy::ALL
        .iter()
        .filter_map(|&strategy| {
            let rows = || {
                let all = comparison.strategies();
                all.filter(move |r| r.strategy == strategy && r.complete)
            };
            let small = rows().min_by_key(|r| r.size)?;
            let large = rows().max_by_key(|r| r.size)?;
            (small.size < large.size).then_some((small, large))
        })
        .collect();
    let exponent = |heading: &'static str, of: fn(&Row) -> f64| -> Column {
        let cells = ends.iter().map(|(small, large)| {
            let model = large.loaded_bytes as f64 / small.loaded_bytes as f64;
            let grown = of(large) / of(small);
            let exponent = grown.ln() / model.ln();
            if exponent.is_finite() {
                format!("{exponent:.2}")
            } else {
                String::new()
            }
        });
        (heading, cells.collect())
    };
    vec![
        (
            "strategy",
            ends.iter().map(|(r, _)| r.strategy.to_string()).collect(),
        ),
        exponent("leaked/cycle", |r| r.bytes_per_cycle.unwrap_or(f64::NAN)),
        exponent("peak live", |r| r.peak_live_bytes as f64),
        exponent("peak resident", |r| {
            r.peak_resident_bytes.map_or(f64::NAN, |b| b as f64)
        }),
        exponent("at the end", |r| {
            r.end_resident_bytes.map_or(f64::NAN, |b| b as f64)
        }),
        exponent("ms/cycle", |r| r.seconds_per_cycle),
        exponent("blocks/cycle", |r| r.allocations_per_cycle as f64),
    ]
}

fn precision_columns(rows: &[&Row]) -> Vec<Column> {
    vec![
        column("precision", rows, |r| r.precision.clone()),
        column("size", rows, |r| r.size.to_string()),
        column("on disk", rows, |r| {
            optional(r.model.map(|m| m.file_bytes as f64))
        }),
        column("peak loading", rows, |r| bytes(r.load_peak_bytes as f64)),
        column("live serving", rows, |r| bytes(r.loaded_bytes as f64)),
        column("ms/cycle", rows, |r| match r.seconds_per_cycle > 0.0 {
            true => format!("{:.2}", r.seconds_per_cycle * 1e3),
            false => String::new(),
        }),
        column("error", rows, |r| {
            let error = r.model.map(|m| m.error);
            error
                .map(|e| {
                    if e == 0.0 {
                        rate(0.0)
                    } else {
                        format!("{e:.1e}")
                    }
                })
                .unwrap_or_default()
        }),
        column("verdict", rows, |r| r.verdict.to_string()),
    ]
}

/// Columns side by side: the first to the left, the others to the right.
fn table(columns: &[Column], screen: Screen) -> String {
    let width = |(heading, cells): &Column| {
        let cells = cells.iter().map(|c| c.chars().count());
        cells.chain([heading.len()]).max().unwrap_or(0)
    };
    let rows = columns.first().map_or(0, |c| c.1.len());
    let mut text = String::new();
    for row in 0..=rows {
        let mut line = String::from(" ");
        for (i, column) in columns.iter().enumerate() {
            let cell = match row {
                0 => column.0,
                n => &column.1[n - 1],
            };
            let width = width(column);
            let _ = match i {
                0 => write!(line, " {cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        if row == 0 && screen.color {
            let dim = anstyle::Style::new().dimmed();
            let _ = writeln!(text, "{dim}{line}{dim:#}");
        } else {
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(strategy: Strategy, size: u32) -> Row {
        let model = 1_000 * u64::from(size * size);
        let keeps = strategy == Strategy::Keep;
        Row {
            strategy,
            size,
            precision: "f32".into(),
            verdict: if keeps {
                RunVerdict::Leak
            } else {
                RunVerdict::Clean
            },
            complete: true,
            died: None,
            bytes_per_cycle: Some(if keeps { model as f64 } else { 0.0 }),
            peak_live_bytes: 2 * model,
            peak_resident_bytes: Some(10_000_000),
            end_resident_bytes: None,
            seconds_per_cycle: 0.002_5,
            allocations_per_cycle: 1_234,
            loaded_bytes: model,
            load_peak_bytes: 3 * model / 2,
            model: None,
        }
    }

    fn comparison(rows: Vec<Row>) -> Comparison {
        Comparison {
            schema: SCHEMA.into(),
            version: "0.1.0".into(),
            workload: "mine".into(),
            options: vec!["device=ndarray".into()],
            cycles: 100,
            memory_limit: None,
            limited: None,
            rows,
        }
    }

    #[test]
    fn strategies_stand_side_by_side() {
        let mut rows = vec![row(Strategy::Fresh, 1), row(Strategy::Keep, 1)];
        rows[1].complete = false;
        rows[1].died = Some((37, "was killed by SIGKILL".into()));
        let limited = Comparison {
            memory_limit: Some(64 << 20),
            limited: Some("resident memory".into()),
            ..comparison(rows)
        };
        insta::assert_snapshot!(render(&limited, Screen::default()));
    }

    #[test]
    fn sizes_and_precisions_have_tables_of_their_own() {
        let sizes = [1, 4].map(|n| [row(Strategy::Fresh, n), row(Strategy::Keep, n)]);
        let mut rows = sizes.concat();
        for (precision, error) in [("f32", 0.0), ("f16", 0.000_42)] {
            rows.push(Row {
                precision: precision.into(),
                model: Some(Facts {
                    file_bytes: 4_200,
                    error,
                }),
                ..row(Strategy::Fresh, 1)
            });
        }
        // The row of `f32` is one of the strategies', too.
        rows.remove(0);
        insta::assert_snapshot!(render(&comparison(rows), Screen::default()));
    }
}
