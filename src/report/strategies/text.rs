//! The comparison as tables for a terminal.

use std::fmt::Write;

use super::comparison::{Comparison, Row};
use crate::base::text::{count, tail};
use crate::base::units::{bytes, exact, rate};
use crate::model::run::Strategy;
use crate::report::screen::{Canvas, DIM, PLAIN, Screen};
use crate::report::wording::heading;

/// Columns of a name. Those of a comparison that a run has written are shorter.
const WIDTH: usize = 20;

/// Draws the tables.
pub fn render(comparison: &Comparison, screen: Screen) -> String {
    let mut canvas = Canvas::new(screen);
    let settings = comparison.options.join(" ");
    let cycles = count(u64::from(comparison.cycles), "cycle");
    let head = match settings.is_empty() {
        true => format!("{}  {cycles}", heading(&comparison.workload)),
        false => format!("{}  {settings}; {cycles}", heading(&comparison.workload)),
    };
    canvas.line(&head, PLAIN);
    if let (Some(limit), Some(what)) = (comparison.memory_limit, &comparison.limited) {
        canvas.line(&format!("limited to {} B of {what}", exact(limit)), PLAIN);
    }
    let mut sizes: Vec<u32> = comparison.strategies().map(|r| r.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for &size in &sizes {
        canvas.end_line();
        let rows: Vec<&Row> = comparison.strategies().filter(|r| r.size == size).collect();
        if sizes.len() > 1 {
            let loaded = rows.iter().map(|r| r.loaded_bytes).max().unwrap_or(0);
            let model = bytes(loaded as f64);
            canvas.line(&format!("size {size}: a loaded model takes {model}"), PLAIN);
        }
        table(&mut canvas, &strategy_columns(comparison, &rows));
        deaths(&mut canvas, &rows);
    }
    if sizes.len() > 1 {
        canvas.end_line();
        canvas.line(
            "growth with the size of the model, as an exponent (1 is linear, 0 is none)",
            PLAIN,
        );
        table(&mut canvas, &growth_columns(comparison));
    }
    let with_model = comparison.rows.iter().filter(|r| r.model.is_some());
    let with_model: Vec<&Row> = with_model.collect();
    if with_model.iter().any(|r| r.precision != "f32") {
        canvas.end_line();
        canvas.line(
            "the same weights in other precisions, strategy fresh",
            PLAIN,
        );
        table(&mut canvas, &precision_columns(&with_model));
    }
    canvas.into_text()
}

/// When and why runs ended early.
fn deaths(canvas: &mut Canvas, rows: &[&Row]) {
    for row in rows {
        if let Some((cycle, why)) = &row.died {
            let when = match cycle {
                0 => "before its first cycle".to_owned(),
                n => format!("in cycle {n}"),
            };
            canvas.line(&format!("  {} died {when}: {why}", row.strategy), PLAIN);
        }
    }
}

/// The heading and the cells of a column.
type Column = (&'static str, Vec<String>);

fn column(heading: &'static str, rows: &[&Row], cell: impl Fn(&Row) -> String) -> Column {
    (heading, rows.iter().map(|r| cell(r)).collect())
}

/// Empty if the value is not known: a 0 would read as measured.
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
            Some((cycle, _)) => count(u64::from(cycle.saturating_sub(1)), "cycle"),
        }));
    }
    columns
}

/// For each strategy and figure the exponent of its growth with the size of the model, from the
/// smallest size to the largest.
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
        column("precision", rows, |r| tail(&r.precision, WIDTH)),
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

/// Columns side by side. The first is aligned to the left, the others to the right.
fn table(canvas: &mut Canvas, columns: &[Column]) {
    let width = |(heading, cells): &Column| {
        let cells = cells.iter().map(|c| c.chars().count());
        cells.chain([heading.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let rows = columns.first().map_or(0, |c| c.1.len());
    for row in 0..=rows {
        let mut line = String::from(" ");
        for (i, (column, &width)) in columns.iter().zip(&widths).enumerate() {
            let cell = match row {
                0 => column.0,
                n => &column.1[n - 1],
            };
            // Writing to a `String` cannot fail.
            let _ = match i {
                0 => write!(line, " {cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        canvas.line(&line, if row == 0 { DIM } else { PLAIN });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::model_file::ModelFile;
    use crate::model::report::RunVerdict;
    use crate::report::strategies::SCHEMA;

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
    fn strategies_are_side_by_side() {
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
    fn a_name_is_not_wider_than_a_table() {
        let mut long = row(Strategy::Fresh, 1);
        long.precision = "f".repeat(100_000);
        long.model = Some(ModelFile {
            file_bytes: 4_200,
            error: 0.0,
        });
        let text = render(&comparison(vec![long]), Screen::default());
        assert!(
            text.lines().all(|line| line.chars().count() <= 120),
            "{text}"
        );
    }

    #[test]
    fn sizes_and_precisions_have_tables_of_their_own() {
        let sizes = [1, 4].map(|n| [row(Strategy::Fresh, n), row(Strategy::Keep, n)]);
        let mut rows = sizes.concat();
        for (precision, error) in [("f32", 0.0), ("f16", 0.000_42)] {
            rows.push(Row {
                precision: precision.into(),
                model: Some(ModelFile {
                    file_bytes: 4_200,
                    error,
                }),
                ..row(Strategy::Fresh, 1)
            });
        }
        // The `f32` row of the precisions is that of the strategy `fresh`.
        rows.remove(0);
        insta::assert_snapshot!(render(&comparison(rows), Screen::default()));
    }
}
