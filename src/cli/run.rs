//! `afterdrop run`: measure a workload in a child, and report.

use std::fmt;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::outdir::OutDir;
use super::progress::Bar;
use super::{Outcome, find, print};
use crate::child;
use crate::config;
use crate::cycle::{self, HeapKind, Strategy};
use crate::error::Error;
use crate::heap;
use crate::measure::{self, Request};
use crate::report::{Report, terminal};
use crate::verdict;
use crate::workloads::{Entry, Settings};

/// Run a workload's load / infer / drop cycles and name what they leave behind
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to run: a name that `afterdrop list` shows
    workload: String,

    /// Cycles to run; `auto` goes on until every site is settled
    #[arg(long, value_name = "N|auto", default_value_t)]
    cycles: Cycles,

    /// Cycles that `--cycles auto` runs at most [default: warm-up + 3 horizons]
    #[arg(long, value_name = "N")]
    max_cycles: Option<u32>,

    /// Seconds after which `--cycles auto` begins no further cycle
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    max_time: f64,

    /// First cycles that are set aside
    #[arg(long, value_name = "N", default_value_t = verdict::DEFAULT_WARMUP)]
    warmup: u32,

    /// Cycles after the warm-up beyond which steady growth is called a leak
    ///
    /// A cache that fills, or a sweep that comes, within this many cycles is never called a leak.
    #[arg(long, value_name = "N", default_value_t = verdict::DEFAULT_HORIZON)]
    horizon: u32,

    /// How cycles handle the model: fresh, session, slot, swap or keep
    #[arg(long, default_value = "fresh")]
    strategy: Strategy,

    /// Allocator beneath the ledger: jemalloc, dhat or system
    #[arg(long, default_value_t)]
    heap: HeapKind,

    /// Burn device: ndarray, flex or autodiff [default: ndarray]
    #[arg(long)]
    device: Option<String>,

    /// Format that Burn models are loaded from: bpk or safetensors [default: bpk]
    #[arg(long)]
    format: Option<String>,

    /// Load this file in place of the shipped model
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// Only load and drop
    #[arg(long)]
    no_infer: bool,

    /// Folder for the report and what the heap gives; must be new or empty [default: the next
    /// free one under reports/runs]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// End the run after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    timeout: f64,

    /// Print the report as JSON
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Print the verdict only
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: &Args, workloads: &[Entry]) -> Result<Outcome, Error> {
    let entry = find(workloads, &args.workload)?;
    match child::measured_in() {
        Some(folder) => be_measured(args, entry, folder),
        None => measure(args, entry),
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
                let most = self
                    .warmup
                    .saturating_add(verdict::most_cycles(self.horizon));
                (most, "--horizon")
            }
        }
    }

    fn auto(&self) -> Option<cycle::Auto> {
        (self.cycles == Cycles::Auto).then(|| cycle::Auto {
            horizon: self.horizon,
            time: Duration::try_from_secs_f64(self.max_time).unwrap_or(Duration::MAX),
        })
    }

    fn settings(&self, folder: &Path) -> Settings {
        Settings {
            device: self.device.clone(),
            format: self.format.clone(),
            model: self.model.clone(),
            scratch: folder.join(measure::SCRATCH),
        }
    }

    /// What can be known to be wrong before anything is made or started.
    fn validate(&self) -> Result<Duration, Error> {
        if let (Cycles::Fixed(_), Some(_)) = (self.cycles, self.max_cycles) {
            return Err(Error::usage(
                "--max-cycles goes with --cycles auto: a fixed number is run as it is",
            ));
        }
        let most = heap::MAX_CYCLE;
        for (option, value) in [("--warmup", self.warmup), ("--horizon", self.horizon)] {
            if value > most {
                return Err(Error::usage(format!(
                    "{option} {value} is too many: at most {most}"
                )));
            }
        }
        let fewest = self.warmup.saturating_add(verdict::FEWEST_CYCLES);
        let (cycles, option) = self.cycles();
        if cycles < fewest {
            return Err(Error::usage(format!(
                "{option} {cycles} is too few: with --warmup {} a verdict needs at least {fewest}",
                self.warmup
            )));
        }
        if cycles > most {
            return Err(Error::usage(format!(
                "{option} {cycles} is too many: at most {most} cycles can be told apart"
            )));
        }
        if self.horizon == 0 {
            return Err(Error::usage("--horizon 0 would call every cache a leak"));
        }
        if !self.heap.is_available() {
            return Err(Error::usage(format!(
                "this build has no --heap {}: it was built without the feature `{0}`",
                self.heap
            )));
        }
        let time = |option: &str, seconds: f64| {
            let time = Duration::try_from_secs_f64(seconds).ok();
            time.filter(|t| !t.is_zero()).ok_or_else(|| {
                Error::usage(format!(
                    "{option} {seconds:?} is no time that can be waited"
                ))
            })
        };
        time("--max-time", self.max_time)?;
        time("--timeout", self.timeout)
    }
}

/// The parent: starts the child, and shows the report of what it wrote.
fn measure(args: &Args, entry: &Entry) -> Result<Outcome, Error> {
    let timeout = args.validate()?;
    // What cannot work is said before anything is made or started.
    let options = entry.check(&args.settings(&std::env::temp_dir()))?;
    let config = config::load(entry.name())?;
    let mut out = OutDir::create(args.out.as_deref(), entry.name())?;
    let folder =
        std::path::absolute(out.path()).map_err(|e| Error::io("find the folder", out.path(), e))?;
    let interrupted = interrupt_flag()?;
    let progress = Bar::new(args.cycles().0, args.quiet);
    let request = Request {
        start: child::Start {
            program: child::this_program()?,
            args: std::env::args_os().skip(1).collect(),
            heap: args.heap,
            out: folder,
            timeout,
            control: None,
            more: Vec::new(),
        },
        horizon: args.horizon,
        options,
        config,
    };
    let measured = measure::measure(request, &interrupted, |how_far| progress.show(how_far))?;
    drop(progress);
    out.keep();
    let report = measured.report;
    show(args, &report, &out)?;
    if let Some(error) = measured.unwritten {
        return Err(error);
    }
    Ok(Outcome::of(report.verdict, report.ended.is_complete()))
}

fn show(args: &Args, report: &Report, out: &OutDir) -> Result<(), Error> {
    if args.json {
        return print(&(report.to_json() + "\n"));
    }
    let color = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
    let look = terminal::Look {
        color,
        width: screen_width(),
    };
    let written = format!("{}/ {}", out.path().display(), out.files().join(" "));
    let text = terminal::render(report, &written, look);
    if args.quiet {
        let first = text.lines().next().unwrap_or_default();
        return print(&format!("{first}\n"));
    }
    print(&text)
}

/// Columns of the terminal; 100 where there is none.
fn screen_width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let measured = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    columns.or_else(measured).unwrap_or(100).clamp(60, 160)
}

/// Set when the user interrupts: the child gets the signal too, and the parent stays to report.
fn interrupt_flag() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|e| Error::usage(format!("cannot watch for interrupts: {e}")))?;
    }
    Ok(flag)
}

/// The child: runs the cycles, and writes nothing but the journal and the heap's own files.
fn be_measured(args: &Args, entry: &Entry, folder: PathBuf) -> Result<Outcome, Error> {
    cycle::check_heap(args.heap)?;
    let workload = entry.make(&args.settings(&folder))?;
    let plan = cycle::Plan {
        workload: entry.name().into(),
        heap: args.heap,
        strategy: args.strategy,
        cycles: args.cycles().0,
        warmup: args.warmup,
        auto: args.auto(),
        out: folder,
    };
    let unwritable = |e| Error::io("write the journal in", &plan.out, e);
    let mut body = cycle::Strategies::new(workload, &plan, !args.no_infer).map_err(unwritable)?;
    let complete = cycle::run(&plan, &mut body).map_err(unwritable)?;
    Ok(if complete {
        Outcome::Clean
    } else {
        Outcome::RunFailed
    })
}
