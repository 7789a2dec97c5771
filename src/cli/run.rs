//! `afterdrop run`: measure a workload in a child, and report.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::outdir::OutDir;
use super::progress::Bar;
use super::what::{self, Form, What};
use super::{Outcome, find, interrupt_flag, print, screen};
use crate::analysis::config;
use crate::analysis::verdict;
use crate::base::error::Error;
use crate::measure;
use crate::measure::child;
use crate::measure::memory_limit;
use crate::model::report::Report;
use crate::model::run::{HeapKind, Strategy};
use crate::recorder::cycle::{self};
use crate::report::terminal;
use crate::workloads::Entry;

/// Run a workload's load / infer / drop cycles and name what they leave behind
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    what: What,

    #[command(flatten)]
    form: Form,

    /// Cycles to run; `auto` goes on until every call site is settled
    #[arg(long, value_name = "N|auto", default_value_t)]
    cycles: Cycles,

    /// Cycles that `--cycles auto` runs at most [default: warm-up + 3 horizons]
    #[arg(long, value_name = "N")]
    max_cycles: Option<u32>,

    /// Seconds after which `--cycles auto` begins no further cycle
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    max_time: f64,

    /// How cycles handle the model: fresh, session, slot, swap or keep
    #[arg(long, default_value = "fresh")]
    strategy: Strategy,

    /// Record one block in so many bytes (512KiB, if no number is given), for next to nothing, and
    /// estimate the rest; needs --heap jemalloc
    #[arg(
        long,
        value_name = "BYTES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = crate::model::sampling::DEFAULT_EVERY,
        value_parser = every
    )]
    sample: Option<u64>,

    /// Folder for the report and what the heap gives; must be new or empty [default: the next
    /// free one under reports/runs]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Formats to write besides report.json, such as html,flame: see `afterdrop report --help`
    #[cfg(feature = "formats")]
    #[arg(
        long,
        value_name = "FORMATS",
        value_delimiter = ',',
        value_parser = super::reports::names(),
        hide_possible_values = true
    )]
    report: Vec<String>,

    #[cfg(feature = "formats")]
    #[command(flatten)]
    paths: super::reports::Paths,

    /// Print the report as JSON
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Print the verdict only
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: &Args, workloads: &[Entry]) -> Result<Outcome, Error> {
    let entry = find(workloads, &args.what.workload)?;
    match child::measured_in() {
        Some(folder) => be_measured(args, &entry, folder),
        None => measure(args, &entry),
    }
}

/// Bytes of which one is drawn.
fn every(text: &str) -> Result<u64, String> {
    // Beyond this the weight of a block of one byte is no number of blocks.
    const MOST: u64 = 1 << 30;
    match memory_limit::parse_bytes(text)? {
        0 => Err("one in 0 bytes is none: leave --sample out to record every block".into()),
        bytes if bytes > MOST => Err("one in more than 1G finds nothing".into()),
        bytes => Ok(bytes),
    }
}

/// How many cycles a run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cycles {
    /// As many as it takes.
    #[default]
    Auto,
    Fixed(u32),
}

impl FromStr for Cycles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            number => number
                .parse()
                .map(Self::Fixed)
                .map_err(|_| "neither a number of cycles nor `auto`".into()),
        }
    }
}

impl fmt::Display for Cycles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(number) => write!(f, "{number}"),
        }
    }
}

impl Args {
    /// Cycles to run, at most, and the option that says so.
    fn cycles(&self) -> (u32, &'static str) {
        match (self.cycles, self.max_cycles) {
            (Cycles::Fixed(number), _) => (number, "--cycles"),
            (Cycles::Auto, Some(number)) => (number, "--max-cycles"),
            (Cycles::Auto, None) => {
                let most = verdict::max_cycles(self.what.horizon);
                (self.what.warmup.saturating_add(most), "--horizon")
            }
        }
    }

    fn auto(&self) -> Option<cycle::Auto> {
        (self.cycles == Cycles::Auto).then(|| cycle::Auto {
            horizon: self.what.horizon,
            time: Duration::try_from_secs_f64(self.max_time).unwrap_or(Duration::MAX),
        })
    }

    /// What can be known to be wrong before anything is made or started.
    fn validate(&self) -> Result<(), Error> {
        if let (Cycles::Fixed(_), Some(_)) = (self.cycles, self.max_cycles) {
            return Err(Error::usage(
                "--max-cycles goes with --cycles auto: a fixed number is run as it is",
            ));
        }
        self.what.validate()?;
        if self.sample.is_some() && self.what.heap != HeapKind::Jemalloc {
            return Err(Error::usage(format!(
                "--sample goes with --heap jemalloc, whose own counters stand beside the estimates, \
                 not with {}",
                self.what.heap
            )));
        }
        let (cycles, option) = self.cycles();
        self.what.validate_cycles(option, cycles)?;
        what::seconds("--max-time", self.max_time).map(drop)
    }

    fn child_args(&self) -> Vec<OsString> {
        let mut line = self.what.command_line(&self.form);
        let mut add = |option: &str, value: String| line.extend([option.into(), value.into()]);
        add("--strategy", self.strategy.name().into());
        add("--cycles", self.cycles.to_string());
        if let Some(cycles) = self.max_cycles {
            add("--max-cycles", cycles.to_string());
        }
        add("--max-time", self.max_time.to_string());
        line
    }
}

/// The parent: starts the child, and shows the report of what it wrote.
fn measure(args: &Args, entry: &Entry) -> Result<Outcome, Error> {
    args.validate()?;
    // What cannot work is said before anything is made or started.
    let options = entry.check(&args.what.settings_of_parent(&args.form))?;
    let config = config::load(entry.name())?;
    let mut out = OutDir::create(args.out.as_deref(), entry.name())?;
    let folder = out.absolute()?;
    let interrupted = interrupt_flag()?;
    let progress = Bar::new(args.cycles().0, args.quiet);
    let mut request = args
        .what
        .request(args.child_args(), folder, options, config)?;
    if let Some(every) = args.sample {
        let variable = child::sample_variable();
        request.start.more.push((variable, every.to_string()));
    }
    let measured = measure::measure(request, &interrupted, |how_far| progress.show(how_far))?;
    drop(progress);
    out.keep();
    #[cfg(feature = "formats")]
    let (measured, written) = in_formats(args, measured, out.path());
    // What was found is said, whatever could not be written.
    show(args, &measured.report, &out)?;
    #[cfg(feature = "formats")]
    written?;
    let report = measured.check_written()?;
    Ok(Outcome::of(report.verdict, report.ended.is_complete()))
}

/// Shows paths as they are wanted, and writes the formats that are.
#[cfg(feature = "formats")]
fn in_formats(
    args: &Args,
    mut measured: measure::Measured,
    folder: &std::path::Path,
) -> (measure::Measured, Result<(), Error>) {
    let written = args.paths.apply(measured.report.clone()).and_then(|shown| {
        let changed = shown != measured.report;
        measured.report = shown;
        // Where the report could not be written, this cannot be, either.
        if measured.unwritten.is_some() {
            return Ok(());
        }
        if changed {
            measured
                .report
                .write(&folder.join(crate::model::report::FILE))?;
        }
        let formats = super::reports::of_names(&args.report)?;
        super::reports::write_all(&measured.report, &formats, folder)
    });
    (measured, written)
}

fn show(args: &Args, report: &Report, out: &OutDir) -> Result<(), Error> {
    if args.json {
        return print(&(report.to_json() + "\n"));
    }
    let screen = screen();
    let written = format!("{}/ {}", out.path().display(), out.files().join(" "));
    let text = terminal::render(report, &written, screen);
    if args.quiet {
        let first = text.lines().next().unwrap_or_default();
        return print(&format!("{first}\n"));
    }
    print(&text)
}

/// The child: runs the cycles, and writes nothing but the journal and the heap's own files.
fn be_measured(args: &Args, entry: &Entry, folder: PathBuf) -> Result<Outcome, Error> {
    cycle::check_heap(args.what.heap)?;
    let workload = entry.make(&args.what.settings(&args.form, &folder))?;
    let plan = cycle::Plan {
        workload: entry.name().into(),
        heap: args.what.heap,
        strategy: args.strategy,
        cycles: args.cycles().0,
        warmup: args.what.warmup,
        auto: args.auto(),
        holders: !args.what.no_holders,
        out: folder,
    };
    let unwritable = |e| Error::io("write the journal in", &plan.out, e);
    let mut body =
        cycle::Strategies::new(workload, &plan, !args.what.no_infer).map_err(unwritable)?;
    let complete = cycle::run(&plan, &mut body).map_err(unwritable)?;
    Ok(if complete {
        Outcome::Clean
    } else {
        Outcome::RunFailed
    })
}
