//! `afterdrop run`: measure a workload in a child, and report.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::outdir::OutDir;
use super::progress::Bar;
use super::what::{self, Form, Run, What};
use super::{Outcome, find, interrupt_flag, print, screen};
use crate::analysis::config;
use crate::analysis::verdict;
use crate::base::error::Error;
use crate::measure;
use crate::measure::memory_limit;
use crate::model::report::Report;
use crate::model::run::{HeapKind, Strategy};
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
    measure(args, &entry)
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
                let most = verdict::most_cycles(self.what.horizon);
                (self.what.warmup.saturating_add(most), "--horizon")
            }
        }
    }

    /// The longest time of a run whose number of cycles is not fixed.
    fn max_time(&self) -> Option<Duration> {
        (self.cycles == Cycles::Auto)
            .then(|| Duration::try_from_secs_f64(self.max_time).unwrap_or(Duration::MAX))
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
    let run = Run {
        strategy: args.strategy,
        cycles: args.cycles().0,
        max_time: args.max_time(),
    };
    let mut request = args
        .what
        .request(&args.form, run, folder, options, config)?;
    request.start.sample_every = args.sample;
    let bar = Bar::new(args.cycles().0, args.quiet);
    let measured = measure::measure(request, &interrupted, bar)?;
    out.keep();
    #[cfg(feature = "formats")]
    let measured = with_paths(args, measured)?;
    let measured = measured.write();
    #[cfg(feature = "formats")]
    let written = write_formats(args, &measured, out.path());
    // The result is shown, whatever could not be written.
    show(args, &measured.report, &out)?;
    #[cfg(feature = "formats")]
    written?;
    let report = measured.check_written()?;
    Ok(Outcome::of(report.verdict, report.ended.is_complete()))
}

/// The run with the paths of its report as the options want them.
#[cfg(feature = "formats")]
fn with_paths(args: &Args, mut measured: measure::Measured) -> Result<measure::Measured, Error> {
    measured.report = args.paths.apply(measured.report)?;
    Ok(measured)
}

/// Writes the formats that were asked for, unless the disk has no room for the report itself.
#[cfg(feature = "formats")]
fn write_formats(
    args: &Args,
    measured: &measure::Measured,
    folder: &std::path::Path,
) -> Result<(), Error> {
    if measured.unwritten.is_some() {
        return Ok(());
    }
    let formats = super::reports::of_names(&args.report)?;
    super::reports::write_all(&measured.report, &formats, folder)
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
