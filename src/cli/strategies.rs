//! `afterdrop strategies`: runs a workload with each strategy, each in a child process of its own, and
//! compares the runs in a table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::bytes;
use super::input::find_workload;
use super::measure_args::{MeasureArgs, Schedule, Variant};
use super::outcome::Outcome;
use super::outdir::OutDir;
use super::output::{print, screen};
use super::progress::Bar;
use super::signals::interrupt_flag;
use crate::analysis::config::{self, Config};
use crate::base::error::Error;
use crate::base::files::write_bytes;
use crate::measure;
use crate::measure::memory_limit::MemoryLimit;
use crate::model::end::How;
use crate::model::run::Strategy;
use crate::report::strategies::{self, Comparison, Row};
use crate::workloads::Entry;

/// The file name of the comparison in the output folder.
pub(super) const FILE: &str = "strategies.json";

/// The data types of stored weights, in the order of the table.
const PRECISIONS: [&str; 4] = ["f32", "f16", "bf16", "int8"];

/// Run a workload with every strategy, and compare them in a table
///
/// A strategy is how each cycle handles the model. The table shows the verdict, the memory, the time and
/// the allocations of each.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    measure: MeasureArgs,

    /// Cycles of each run, including the warm-up
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = parse_cycles)]
    cycles: u32,

    /// Burn models: sizes to compare: S, M, L, or multiples of the shipped width
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = parse_size)]
    sizes: Vec<u32>,

    /// Burn models: also compare weights stored as f32, f16, bf16 and int8
    #[arg(long)]
    precision: bool,

    /// Limit the memory of each run, such as to 512M. A run that exceeds the limit fails
    #[arg(long, value_name = "BYTES", value_parser = bytes::memory_limit)]
    memory_limit: Option<u64>,

    /// Output folder, which must be new or empty [default: the next free one in reports/runs]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,

    /// Also write the comparison as a page with charts, strategies.html
    #[cfg(feature = "formats")]
    #[arg(long)]
    html: bool,
}

fn parse_cycles(text: &str) -> Result<u32, String> {
    match text {
        "auto" => {
            Err("must be a number, because all strategies run the same number of cycles".into())
        }
        number => number
            .parse()
            .map_err(|_| "must be a positive integer".into()),
    }
}

fn parse_size(text: &str) -> Result<u32, String> {
    match text.trim() {
        "S" | "s" => Ok(1),
        "M" | "m" => Ok(2),
        "L" | "l" => Ok(4),
        number => number
            .parse()
            .map_err(|_| "must be S, M, L or a positive integer".into()),
    }
}

/// A run of the comparison.
struct Planned {
    strategy: Strategy,
    variant: Variant,
}

impl Planned {
    fn size(&self) -> u32 {
        self.variant.size.unwrap_or(1)
    }

    fn precision(&self) -> &str {
        self.variant.precision.as_deref().unwrap_or(PRECISIONS[0])
    }

    /// The name of its folder.
    fn name(&self) -> String {
        format!("{}-size{}-{}", self.strategy, self.size(), self.precision())
    }
}

/// The settings of each variant as `name=value`, for the reports.
type Options = BTreeMap<Variant, Vec<String>>;

impl Args {
    /// The runs to make. Each size runs with all strategies, and each further precision with `fresh`.
    fn planned(&self) -> Vec<Planned> {
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable();
        sizes.dedup();
        // Without `--sizes` the workload need not have sizes.
        let sizes: Vec<Option<u32>> = match sizes[..] {
            [] => vec![None],
            _ => sizes.into_iter().map(Some).collect(),
        };
        let mut planned = Vec::new();
        for size in sizes {
            let variant = |precision: Option<&str>| Variant {
                size,
                precision: precision.map(str::to_owned),
            };
            planned.extend(Strategy::ALL.map(|strategy| Planned {
                strategy,
                variant: variant(self.precision.then_some(PRECISIONS[0])),
            }));
            if self.precision {
                planned.extend(PRECISIONS[1..].iter().map(|&precision| Planned {
                    strategy: Strategy::Fresh,
                    variant: variant(Some(precision)),
                }));
            }
        }
        planned
    }

    /// Checks the settings of each variant once, because a check may load and run the model.
    fn check_variants(&self, entry: &Entry, planned: &[Planned]) -> Result<Options, Error> {
        let mut checked = Options::new();
        let variants = planned.iter().map(|run| &run.variant);
        for variant in variants.chain([&Variant::default()]) {
            if !checked.contains_key(variant) {
                let options = entry.check(&self.measure.settings_for_checks(variant))?;
                checked.insert(variant.clone(), options);
            }
        }
        Ok(checked)
    }
}

pub(super) fn run(args: &Args, workloads: &[Entry]) -> Result<Outcome, Error> {
    let entry = find_workload(workloads, &args.measure.workload)?;
    args.measure.validate()?;
    args.measure.validate_cycles("--cycles", args.cycles)?;
    let planned = args.planned();
    let mut options = args.check_variants(&entry, &planned)?;
    let config = config::load(entry.name())?;
    let mut out = OutDir::create(args.out.as_deref(), &format!("strategies-{}", entry.name()))?;
    let folder = out.absolute()?;
    let interrupted = interrupt_flag()?;
    let runs = Runs {
        args,
        entry: &entry,
        folder: &folder,
        config,
        interrupted: &interrupted,
    };
    let mut rows = Vec::new();
    for run in &planned {
        let (row, how) = runs.measure(run, options[&run.variant].clone(), &mut out)?;
        rows.push(row);
        if how == Some(How::Interrupted) {
            break;
        }
    }
    let limit = args.memory_limit.map(MemoryLimit::new);
    let comparison = Comparison {
        schema: strategies::SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        workload: entry.name().into(),
        options: options.remove(&Variant::default()).unwrap_or_default(),
        cycles: args.cycles,
        memory_limit: args.memory_limit,
        limited: limit.map(|limit| limit.describe().into()),
        rows,
    };
    write(args, &comparison, &folder)?;
    show(args, &comparison, &out)?;
    Ok(outcome(&comparison))
}

/// What all runs of the comparison share.
struct Runs<'a> {
    args: &'a Args,
    entry: &'a Entry,
    folder: &'a Path,
    config: Config,
    interrupted: &'a AtomicBool,
}

impl Runs<'_> {
    /// Makes one run. Returns its row, and how it ended; `None` if the memory limit was too low to
    /// reach the first boundary.
    fn measure(
        &self,
        run: &Planned,
        options: Vec<String>,
        out: &mut OutDir,
    ) -> Result<(Row, Option<How>), Error> {
        let args = self.args;
        let facts = match args.precision && run.strategy == Strategy::Fresh {
            true => self
                .entry
                .model_file(&args.measure.settings_for_checks(&run.variant))
                .transpose()?,
            false => None,
        };
        let folder = self.folder.join(run.name());
        fs::create_dir(&folder).map_err(|e| Error::io("create the folder", &folder, e))?;
        let schedule = Schedule {
            strategy: run.strategy,
            cycles: args.cycles,
            max_time: None,
        };
        let config = self.config.clone();
        let mut request = args
            .measure
            .request(&run.variant, schedule, folder, options, config)?;
        request.start.memory_limit = args.memory_limit;
        let bar = Bar::new(Some(args.cycles), false);
        let measured = measure::measure(request, self.interrupted, bar);
        out.keep_after(&measured);
        match measured {
            Ok(measured) => {
                let report = measured.write().check_written()?;
                let row = Row::of(&report, run.size(), run.precision(), facts);
                Ok((row, Some(report.ended.how)))
            }
            Err(e) if e.is_child() && args.memory_limit.is_some() => {
                let why = e.to_string();
                let row = Row::not_begun(run.strategy, run.size(), run.precision(), &why);
                Ok((row, None))
            }
            Err(e) => Err(e.hint(format!("this happened in the run {}", run.name()))),
        }
    }
}

/// Writes the comparison to the output folder.
fn write(args: &Args, comparison: &Comparison, folder: &Path) -> Result<(), Error> {
    let json = comparison.to_json() + "\n";
    write_bytes(&folder.join(FILE), json.as_bytes())?;
    #[cfg(feature = "formats")]
    if args.html {
        let page = crate::report::formats::strategies_page(comparison);
        write_bytes(&folder.join("strategies.html"), page.as_bytes())?;
    }
    #[cfg(not(feature = "formats"))]
    let _ = args;
    Ok(())
}

fn show(args: &Args, comparison: &Comparison, out: &OutDir) -> Result<(), Error> {
    if args.json {
        return print(&(comparison.to_json() + "\n"));
    }
    let table = strategies::render(comparison, screen());
    let file = out.path().join(FILE);
    print(&format!("{table}\nwritten {}\n", file.display()))
}

/// The worst outcome of all runs except those of `keep`, which retains every model by design. Under a
/// memory limit a killed run is a result and no failure, unless no run got beyond its first cycle.
fn outcome(comparison: &Comparison) -> Outcome {
    let died_at_once = |r: &Row| r.died.as_ref().is_some_and(|(cycle, _)| *cycle <= 1);
    if comparison.rows.iter().all(died_at_once) {
        return Outcome::RunFailed;
    }
    let rows = comparison.rows.iter();
    let outcomes: Vec<Outcome> = rows
        .filter(|r| r.strategy != Strategy::Keep)
        .map(|r| Outcome::of(r.verdict, r.complete))
        .collect();
    let by_severity = [Outcome::GrowthFound, Outcome::RunFailed, Outcome::Undecided];
    let counts = |outcome: &Outcome| {
        let is_expected = *outcome == Outcome::RunFailed && comparison.memory_limit.is_some();
        !is_expected && outcomes.contains(outcome)
    };
    let worst = by_severity.into_iter().find(counts);
    worst.unwrap_or(Outcome::Clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_letter_or_a_number() {
        assert_eq!(["S", "m", " L", "7"].map(parse_size), [1, 2, 4, 7].map(Ok));
        assert!(parse_size("XL").is_err() && parse_size("-1").is_err());
    }
}
