//! `afterdrop strategies`: the same workload in each strategy, each in a child of its own, and the
//! table that answers whether loading models again and again leaks memory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::outdir::OutDir;
use super::progress::Bar;
use super::what::{Form, What};
use super::{Outcome, find, interrupt_flag, print, screen};
use crate::analysis::config;
use crate::base::error::Error;
use crate::base::files::write_bytes;
use crate::measure;
use crate::measure::memory_limit::{self, MemoryLimit};
use crate::model::run::Strategy;
use crate::report::strategies::{self, Comparison, Row};
use crate::workloads::Entry;

/// The comparison's name in its folder.
pub(super) const FILE: &str = "strategies.json";

/// What the weights are stored in, in the order of the table.
const PRECISIONS: [&str; 4] = ["f32", "f16", "bf16", "int8"];

/// Run a workload in every strategy and compare them in one table
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    what: What,

    /// Cycles of each run
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = parse_cycles)]
    cycles: u32,

    /// Sizes of a Burn model to sweep over: S, M, L, or multiples of the shipped width
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = parse_size)]
    sizes: Vec<u32>,

    /// Compare weights stored as f32, f16, bf16 and int8 as well
    #[arg(long)]
    precision: bool,

    /// Most memory that a run may have, such as 512M: which strategies survive?
    #[arg(long, value_name = "BYTES", value_parser = memory_limit::parse)]
    memory_limit: Option<u64>,

    /// Folder for the table and the reports; must be new or empty [default: the next free one
    /// under reports/runs]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print the table as JSON
    #[arg(long)]
    json: bool,

    /// Write the table as a page with charts, strategies.html, too
    #[cfg(feature = "formats")]
    #[arg(long)]
    html: bool,
}

fn parse_cycles(text: &str) -> Result<u32, String> {
    match text {
        "auto" => Err("strategies are compared over one number of cycles, such as 100".into()),
        number => number.parse().map_err(|_| "no number of cycles".into()),
    }
}

fn parse_size(text: &str) -> Result<u32, String> {
    match text.trim() {
        "S" | "s" => Ok(1),
        "M" | "m" => Ok(2),
        "L" | "l" => Ok(4),
        number => number
            .parse()
            .map_err(|_| "neither S, M or L nor a multiple of the shipped width".into()),
    }
}

/// One run that is to be made.
struct Planned {
    strategy: Strategy,
    form: Form,
}

impl Planned {
    fn size(&self) -> u32 {
        self.form.size.unwrap_or(1)
    }

    fn precision(&self) -> &str {
        self.form.precision.as_deref().unwrap_or(PRECISIONS[0])
    }

    /// The name of its folder.
    fn name(&self) -> String {
        format!("{}-size{}-{}", self.strategy, self.size(), self.precision())
    }
}

impl Args {
    fn planned(&self) -> Vec<Planned> {
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable();
        sizes.dedup();
        // Without a sweep a workload need not know of sizes.
        let sizes: Vec<Option<u32>> = match sizes[..] {
            [] => vec![None],
            _ => sizes.into_iter().map(Some).collect(),
        };
        let mut planned = Vec::new();
        for size in sizes {
            let form = |precision: Option<&str>| Form {
                size,
                precision: precision.map(str::to_owned),
            };
            planned.extend(Strategy::ALL.map(|strategy| Planned {
                strategy,
                form: form(self.precision.then_some(PRECISIONS[0])),
            }));
            if self.precision {
                planned.extend(PRECISIONS[1..].iter().map(|&precision| Planned {
                    strategy: Strategy::Fresh,
                    form: form(Some(precision)),
                }));
            }
        }
        planned
    }
}

pub(super) fn run(args: &Args, workloads: &[Entry]) -> Result<Outcome, Error> {
    let entry = find(workloads, &args.what.workload)?;
    args.what.validate()?;
    args.what.validate_cycles("--cycles", args.cycles)?;
    let planned = args.planned();
    // To look may be to load a model and to run it: once for each form.
    let mut looked: BTreeMap<Form, Vec<String>> = BTreeMap::new();
    let forms = planned.iter().map(|run| &run.form);
    for form in forms.chain([&Form::default()]) {
        if !looked.contains_key(form) {
            let options = entry.check(&args.what.settings_of_parent(form))?;
            looked.insert(form.clone(), options);
        }
    }
    let config = config::load(entry.name())?;
    let mut out = OutDir::create(args.out.as_deref(), &format!("strategies-{}", entry.name()))?;
    let folder = out.absolute()?;
    let interrupted = interrupt_flag()?;
    let mut rows = Vec::new();
    for run in &planned {
        let facts = match args.precision && run.strategy == Strategy::Fresh {
            true => entry
                .model_file(&args.what.settings_of_parent(&run.form))
                .transpose()?,
            false => None,
        };
        let folder = folder.join(run.name());
        std::fs::create_dir(&folder).map_err(|e| Error::io("make the folder", &folder, e))?;
        let mut line = args.what.command_line(&run.form);
        line.extend(["--strategy".into(), run.strategy.name().into()]);
        line.extend(["--cycles".into(), args.cycles.to_string().into()]);
        let options = looked[&run.form].clone();
        let mut request = args.what.request(line, folder, options, config.clone())?;
        request.start.memory_limit = args.memory_limit;
        let bar = Bar::new(args.cycles, false);
        let measured = measure::measure(request, &interrupted, |how_far| bar.show(how_far));
        drop(bar);
        out.keep();
        let measured = match measured {
            Ok(measured) => measured,
            // A limit may be less than a process needs to begin: that is an answer, too.
            Err(e) if e.is_child() && args.memory_limit.is_some() => {
                let why = e.to_string();
                rows.push(Row::not_begun(
                    run.strategy,
                    run.size(),
                    run.precision(),
                    &why,
                ));
                continue;
            }
            Err(e) => return Err(e.hint(format!("it was the run {}", run.name()))),
        };
        let report = measured.check_written()?;
        rows.push(Row::of(&report, run.size(), run.precision(), facts));
        if report.ended.how == crate::model::end::How::Interrupted {
            break;
        }
    }
    let limited = args
        .memory_limit
        .map(|b| MemoryLimit::of(b).describe().into());
    let comparison = Comparison {
        schema: strategies::SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        workload: entry.name().into(),
        options: looked.remove(&Form::default()).unwrap_or_default(),
        cycles: args.cycles,
        memory_limit: args.memory_limit,
        limited,
        rows,
    };
    let json = comparison.to_json() + "\n";
    write_bytes(&folder.join(FILE), json.as_bytes())?;
    #[cfg(feature = "formats")]
    if args.html {
        let page = crate::report::formats::strategies_page(&comparison);
        write_bytes(&folder.join("strategies.html"), page.as_bytes())?;
    }
    if args.json {
        print(&json)?;
    } else {
        let table = strategies::render(&comparison, screen());
        let place = out.path().join(FILE);
        print(&format!("{table}\nwritten {}\n", place.display()))?;
    }
    Ok(outcome(&comparison))
}

/// The worst of all runs but those of `keep`, which keeps every model by design. That a run died
/// under the limit it was given is what was asked.
fn outcome(comparison: &Comparison) -> Outcome {
    let rows = || {
        let all = comparison.rows.iter();
        all.filter(|r| r.strategy != Strategy::Keep)
    };
    let outcomes = || rows().map(|r| Outcome::of(r.verdict, r.complete));
    let by_weight = [Outcome::GrowthFound, Outcome::RunFailed, Outcome::Undecided];
    // A limit under which nothing reached a boundary has answered nothing.
    if comparison
        .rows
        .iter()
        .all(|r| r.died.as_ref().is_some_and(|(cycle, _)| *cycle <= 1))
    {
        return Outcome::RunFailed;
    }
    let counts = |o: &Outcome| {
        let limited = *o == Outcome::RunFailed && comparison.memory_limit.is_some();
        !limited && outcomes().any(|of| of == *o)
    };
    by_weight.into_iter().find(counts).unwrap_or(Outcome::Clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_letters_and_numbers() {
        assert_eq!(["S", "m", " L", "7"].map(parse_size), [1, 2, 4, 7].map(Ok));
        assert!(parse_size("XL").is_err() && parse_size("-1").is_err());
    }
}
