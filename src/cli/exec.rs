//! `afterdrop exec`: runs a program as it is, records what C's allocator is asked for, and shows the report.

use std::ffi::OsString;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::bytes;
use super::measure_args::seconds;
use super::outcome::Outcome;
use super::outdir::OutDir;
use super::progress::Bar;
use super::report_args::ReportArgs;
use super::signals::interrupt_flags;
use crate::analysis::config;
use crate::base::error::Error;
use crate::measure::{self, ExecRequest, Lengths, Program, Stop};
use crate::model::block::MAX_CYCLE;
use crate::model::exec::{ExecPlan, Marks};
use crate::model::sampling::DEFAULT_EVERY;
use crate::model::verdict::{DEFAULT_HORIZON, DEFAULT_WARMUP};

/// Run any program as it is, and report what its cycles retain
///
/// The program runs with a library that records every block of C's allocator (malloc, free and their like,
/// which C++, Python and Rust use by default). A cycle is from one mark to the next. Without marks the
/// command says which files were opened again and again, and could be marks. Needs glibc; a statically
/// linked program, or one with an allocator of its own, cannot be recorded.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What begins a cycle: open:FILE, call, call:FUNCTION, or every:SECONDS
    ///
    /// open:FILE is the opening of a file of this name, or of a pattern with * and ?; with a slash it is
    /// compared with the whole path. Several openings within one load count once. call is a call of the
    /// function afterdrop_cycle; call:FUNCTION one of a function of Python's, such as keras.models.load_model, or
    /// of one of the script by its name. every:30s is time: s, m and h are seconds, minutes and hours.
    #[arg(long, value_name = "MARK")]
    cycle_at: Option<Mark>,

    /// Cycles to record, including the warm-up; then the program is asked to end
    /// [default: until the program ends]
    #[arg(long, value_name = "N")]
    cycles: Option<u32>,

    /// Warm-up cycles at the start, which are not judged
    #[arg(long, value_name = "N", default_value_t = DEFAULT_WARMUP)]
    warmup: u32,

    /// Cycles after the warm-up beyond which steady growth is a leak
    #[arg(long, value_name = "N", default_value_t = DEFAULT_HORIZON)]
    horizon: u32,

    /// Record only a sample of the blocks, one per BYTES allocated bytes on average, and estimate the rest
    /// [default BYTES: 512KiB]
    #[arg(
        long,
        value_name = "BYTES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEFAULT_EVERY,
        value_parser = bytes::sample_interval
    )]
    sample: Option<u64>,

    /// Do not search for what keeps retained blocks reachable
    #[arg(long)]
    no_holders: bool,

    /// Collect Python's garbage at the begin of each cycle
    #[arg(long)]
    collect: bool,

    /// The process to report, by its number or a part of its command line [default: the one that ran the
    /// most cycles]
    #[arg(long, value_name = "PROCESS")]
    process: Option<String>,

    /// Ask the program to end after this many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,

    #[command(flatten)]
    output: ReportArgs,

    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    command: Vec<OsString>,
}

/// The value of `--cycle-at`.
#[derive(Clone, Debug, PartialEq)]
struct Mark(Marks);

impl FromStr for Mark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be open:FILE, call, or every:SECONDS".to_owned();
        let marks = match text.split_once(':') {
            None if text == "call" => Marks::Call,
            Some(("call", name)) if is_dotted(name) => Marks::Function(name.into()),
            Some(("call", _)) => {
                return Err("must name a function of Python's: call:module.function".into());
            }
            Some(("open", "")) => return Err("must name a file: open:FILE".into()),
            Some(("open", pattern)) => Marks::Open(pattern.into()),
            Some(("every", time)) => Marks::Every(milliseconds(time)?),
            _ => return Err(wrong()),
        };
        Ok(Self(marks))
    }
}

/// Whether this is a dotted name of Python's.
fn is_dotted(name: &str) -> bool {
    name.split('.').all(|part| {
        let mut letters = part.chars();
        letters
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_')
            && letters.all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// A time such as `30s` or `0.5m`; without a unit it is in seconds.
fn milliseconds(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|n| n * factor);
    let milliseconds = seconds.filter(|s| (0.001..1e9).contains(s));
    milliseconds
        .map(|s| (s * 1000.0) as u64)
        .ok_or_else(|| "must be a positive time, such as 30s, 5m or 1h".into())
}

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    let timeout = args.validate()?;
    let name = args
        .command
        .first()
        .map(Path::new)
        .and_then(Path::file_name);
    let name = name.unwrap_or_default().to_string_lossy();
    let config = config::load(&name)?;
    let mut out = OutDir::create(args.output.out.as_deref(), &name)?;
    let [interrupted, terminated] = interrupt_flags()?;
    let marks = args
        .cycle_at
        .as_ref()
        .map_or(Marks::None, |mark| mark.0.clone());
    let cycles = args.cycles.unwrap_or(MAX_CYCLE);
    let bar = Bar::new(args.cycles, args.output.quiet);
    let request = ExecRequest {
        program: Program {
            command: args.command.clone(),
            timeout,
        },
        plan: ExecPlan {
            out: out.absolute()?,
            marks,
            cycles,
            warmup: args.warmup,
            horizon: args.horizon,
            holders: !args.no_holders,
            collect: args.collect,
            sample_every: args.sample,
        },
        wanted: args.process.clone(),
        options: args.options(),
        config,
    };
    let stop = Stop {
        interrupted: &interrupted,
        terminated: &terminated,
    };
    let measured = measure::exec(request, stop, bar);
    out.keep_after(&measured);
    args.output.write_and_show(measured?, &out)
}

impl Args {
    /// Checks the arguments, and returns the time-out.
    fn validate(&self) -> Result<Option<Duration>, Error> {
        Lengths {
            cycles: self.cycles.unwrap_or(MAX_CYCLE),
            set_by: "--cycles",
            warmup: self.warmup,
            horizon: self.horizon,
            prefix: "--",
        }
        .check()?;
        self.timeout.map(|s| seconds("--timeout", s)).transpose()
    }

    /// What marks the cycles, for the report.
    fn options(&self) -> Vec<String> {
        let mark = self.cycle_at.as_ref().map(|mark| match &mark.0 {
            Marks::Open(pattern) => format!("cycle-at=open:{pattern}"),
            Marks::Call => "cycle-at=call".into(),
            Marks::Function(name) => format!("cycle-at=call:{name}"),
            Marks::Every(milliseconds) => format!("cycle-at=every:{}s", *milliseconds as f64 / 1e3),
            Marks::None => String::new(),
        });
        let collect = self.collect.then(|| "collect".to_owned());
        mark.into_iter().chain(collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_parsed() {
        let parsed = |text: &str| text.parse::<Mark>().map(|mark| mark.0);
        assert_eq!(parsed("open:*.onnx"), Ok(Marks::Open("*.onnx".into())));
        assert_eq!(parsed("open:a:b"), Ok(Marks::Open("a:b".into())));
        assert_eq!(parsed("call"), Ok(Marks::Call));
        let name = "keras.models.load_model";
        let function = Marks::Function(name.into());
        assert_eq!(parsed(&format!("call:{name}")), Ok(function));
        assert_eq!(parsed("every:30s"), Ok(Marks::Every(30_000)));
        assert_eq!(parsed("every:0.5m"), Ok(Marks::Every(30_000)));
        assert_eq!(parsed("every:2"), Ok(Marks::Every(2_000)));
        for wrong in [
            "open",
            "open:",
            "every:",
            "every:0",
            "every:-3s",
            "every:xs",
            "call:",
            "call:a.",
            "call:a b",
            "",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
