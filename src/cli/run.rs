//! `afterdrop run`: measures a workload in a child process, and shows the report.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::bytes;
use super::input::find_workload;
use super::measure_args::{MeasureArgs, Schedule, Variant, seconds};
use super::outcome::Outcome;
use super::outdir::OutDir;
use super::progress::Bar;
use super::report_args::ReportArgs;
use super::signals::interrupt_flag;
use crate::analysis::config;
use crate::analysis::verdict;
use crate::base::error::Error;
use crate::measure;
use crate::model::run::{HeapKind, Strategy};
use crate::model::sampling::DEFAULT_EVERY;
use crate::workloads::Entry;

/// Run a workload in load / infer / drop cycles, and report what it retains
///
/// The workload runs in a child process. The report names each call site whose blocks outlive their
/// cycle, with a verdict, the bytes per cycle and what keeps the blocks reachable.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    measure: MeasureArgs,

    #[command(flatten)]
    variant: Variant,

    /// Number of cycles, including the warm-up; `auto` ends the run when every verdict is settled
    #[arg(long, value_name = "N|auto", default_value_t)]
    cycles: Cycles,

    /// Maximum number of cycles with --cycles auto [default: the warm-up plus three horizons]
    #[arg(long, value_name = "N")]
    max_cycles: Option<u32>,

    /// Seconds after which --cycles auto begins no further cycle
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    max_time: f64,

    /// How each cycle handles the model: fresh, session, slot, swap or keep
    #[arg(long, default_value = "fresh")]
    strategy: Strategy,

    /// Record only a sample of the blocks, at almost no cost, and estimate the rest. One block is
    /// recorded per BYTES allocated bytes on average. Needs --heap jemalloc [default BYTES: 512KiB]
    #[arg(
        long,
        value_name = "BYTES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEFAULT_EVERY,
        value_parser = bytes::sample_interval
    )]
    sample: Option<u64>,

    #[command(flatten)]
    output: ReportArgs,
}

pub(super) fn run(args: &Args, workloads: &[Entry]) -> Result<Outcome, Error> {
    let entry = find_workload(workloads, &args.measure.workload)?;
    args.validate()?;
    // Errors in the settings are found before a folder or a process is created.
    let options = entry.check(&args.measure.settings_for_checks(&args.variant))?;
    let config = config::load(entry.name())?;
    let mut out = OutDir::create(args.output.out.as_deref(), entry.name())?;
    let folder = out.absolute()?;
    let interrupted = interrupt_flag()?;
    let schedule = Schedule {
        strategy: args.strategy,
        cycles: args.max_cycles().0,
        max_time: args.max_time(),
    };
    let bar = Bar::new(Some(schedule.cycles), args.output.quiet);
    let mut request = args
        .measure
        .request(&args.variant, schedule, folder, options, config)?;
    request.start.sample_every = args.sample;
    let measured = measure::measure(request, &interrupted, bar);
    out.keep_after(&measured);
    let measured = measured?;
    args.output.write_and_show(measured, &out)
}

/// The value of `--cycles`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cycles {
    /// Until every verdict is settled.
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
                .map_err(|_| "must be a positive integer or `auto`".into()),
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
    /// The number of cycles, which is an upper limit with `--cycles auto`, and what has set it.
    fn max_cycles(&self) -> (u32, &'static str) {
        match (self.cycles, self.max_cycles) {
            (Cycles::Fixed(number), _) => (number, "--cycles"),
            (Cycles::Auto, Some(number)) => (number, "--max-cycles"),
            (Cycles::Auto, None) => {
                let most = verdict::max_cycles(self.measure.horizon);
                let cycles = self.measure.warmup.saturating_add(most);
                (cycles, "the number of cycles that --horizon needs")
            }
        }
    }

    /// The time after which no further cycle begins; `None` if the number of cycles is fixed.
    fn max_time(&self) -> Option<Duration> {
        (self.cycles == Cycles::Auto)
            .then(|| Duration::try_from_secs_f64(self.max_time).unwrap_or(Duration::MAX))
    }

    /// Checks the arguments that need no workload.
    fn validate(&self) -> Result<(), Error> {
        if let (Cycles::Fixed(number), Some(_)) = (self.cycles, self.max_cycles) {
            return Err(
                Error::usage(format!("cannot use --max-cycles with --cycles {number}"))
                    .hint("it is the limit of --cycles auto: leave one of the two out"),
            );
        }
        self.measure.validate()?;
        if self.sample.is_some() && self.measure.heap != HeapKind::Jemalloc {
            return Err(Error::usage(format!(
                "cannot use --sample with --heap {}: the estimates are compared with the counters \
                 of jemalloc",
                self.measure.heap
            ))
            .hint("use --heap jemalloc, or leave --sample out"));
        }
        let (cycles, option) = self.max_cycles();
        self.measure.validate_cycles(option, cycles)?;
        seconds("--max-time", self.max_time).map(drop)
    }
}
