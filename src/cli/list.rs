//! `afterdrop list`: the workloads, one per line.

use super::outcome::Outcome;
use super::output::print;
use crate::base::error::Error;
use crate::base::json::fields;
use crate::workloads::{Entry, Truth};

/// List the workloads, each with a description
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print a JSON array of {name, about, truth}; truth is null unless the leak is planted
    #[arg(long)]
    json: bool,
}

struct Row<'a> {
    name: &'a str,
    about: &'a str,
    truth: Option<&'a Truth>,
}

fields! { write Row<'_> { name, about, truth } }

pub(super) fn run(args: &Args, workloads: &[Entry]) -> Result<Outcome, Error> {
    let rows: Vec<Row<'_>> = workloads
        .iter()
        .map(|w| Row {
            name: w.name(),
            about: w.about(),
            truth: w.truth(),
        })
        .collect();
    let text = if args.json {
        // Strings and numbers only: this cannot fail.
        serde_json::to_string_pretty(&rows).unwrap_or_default() + "\n"
    } else {
        table(&rows)
    };
    print(&text)?;
    Ok(Outcome::Clean)
}

fn table(rows: &[Row<'_>]) -> String {
    let width = rows.iter().map(|r| r.name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|r| {
            let truth = r
                .truth
                .map(|t| format!(" ({})", t.verdict))
                .unwrap_or_default();
            format!("{:<width$}  {}{truth}\n", r.name, r.about)
        })
        .collect()
}
