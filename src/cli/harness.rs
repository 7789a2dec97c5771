//! The command as a test or bench target of a user's crate (`harness = false`): each workload is a
//! test, under `cargo test`, `cargo bench` and `cargo nextest`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Command, Parser};
use libtest_mimic::{Arguments, Failed, Trial};

use super::outcome::Outcome;
use super::output::usage_message;
use crate::analysis::config;
use crate::analysis::verdict;
use crate::base::error::Error;
use crate::base::private_folder;
use crate::check::output_folder;
use crate::measure::child;
use crate::measure::{self, Request};
use crate::model::plan::{Plan, Subject, WorkloadPlan};
use crate::model::run::{HeapKind, Strategy};
use crate::model::verdict::{DEFAULT_HORIZON, DEFAULT_WARMUP};
use crate::report::terminal;
use crate::workloads::{Entry, Settings};

/// Longest run of one workload.
const TIMEOUT: Duration = Duration::from_secs(300);

/// libtest's arguments: those that libtest-mimic knows, and the rest, most of which have no effect
/// here.
#[derive(Debug, Parser)]
#[command(disable_help_flag = true)]
struct Args {
    #[command(flatten)]
    libtest: Arguments,

    /// libtest takes any number of filters, libtest-mimic takes one
    more_filters: Vec<String>,

    /// Another spelling of `--nocapture`
    #[arg(long)]
    no_capture: bool,
    #[arg(long)]
    shuffle: bool,
    #[arg(long)]
    shuffle_seed: Option<u64>,
    #[arg(long)]
    report_time: bool,
}

impl Args {
    /// The arguments for libtest-mimic to run these trials.
    fn for_trials(self, trials: &[Trial]) -> Arguments {
        let mut args = self.libtest;
        // One at a time, unless parallel runs are asked for: the report states how long each took.
        args.test_threads = args.test_threads.or(Some(1));
        if self.more_filters.is_empty() {
            return args;
        }
        let with_filter = |filter| Arguments {
            filter: Some(filter),
            ..args.clone()
        };
        let filters = args.filter.clone().into_iter().chain(self.more_filters);
        let by_filter: Vec<Arguments> = filters.map(with_filter).collect();
        // In place of several filters: skip, by its whole name, each trial that no filter selects.
        let unwanted = trials
            .iter()
            .filter(|trial| by_filter.iter().all(|args| args.is_filtered_out(trial)));
        args.skip = unwanted.map(|trial| trial.name().to_owned()).collect();
        args.exact = true;
        args.filter = None;
        args
    }
}

/// The arguments without those that cargo adds, and whether they are for the test harness.
///
/// cargo builds test and bench targets into a folder named `deps`. They are the command only if the
/// first argument is a subcommand.
pub(super) fn arguments(command: &Command) -> (Vec<OsString>, bool) {
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().and_then(Path::file_name);
    let is_target = folder == Some(OsStr::new("deps"));
    let all = std::env::args_os();
    let args: Vec<OsString> = all.filter(|a| !is_target || a != "--bench").collect();
    let is_for_the_command = args.get(1).and_then(|a| a.to_str()).is_some_and(|first| {
        let general = ["help", "--help", "-h", "--version", "-V"];
        // `cargo test run` names no workload: `run` is a filter.
        let is_subcommand = || {
            command.find_subcommand(first).is_some()
                && !matches!(command.clone().try_get_matches_from(&args), Err(e) if e.kind() == ErrorKind::MissingRequiredArgument)
        };
        general.contains(&first) || is_subcommand()
    });
    (args, is_target && !is_for_the_command)
}

/// Runs the selected workloads, each in a child process, with the defaults of `run`. The outcome is
/// the worst of theirs.
pub(super) fn run(args: &[OsString], workloads: &[Entry]) -> Result<Outcome, Error> {
    let args = Args::try_parse_from(args).map_err(|e| Error::usage(usage_message(&e)))?;
    let (sender, outcomes) = channel();
    let trials: Vec<Trial> = workloads
        .iter()
        .map(|entry| trial(entry, sender.clone()))
        .collect();
    let args = args.for_trials(&trials);
    let conclusion = libtest_mimic::run(&args, trials);
    let outcomes: Vec<Outcome> = outcomes.try_iter().collect();
    let by_severity = [
        Outcome::GrowthFound,
        Outcome::BadInput,
        Outcome::RunFailed,
        Outcome::Undecided,
    ];
    let worst = by_severity.into_iter().find(|o| outcomes.contains(o));
    Ok(match worst {
        Some(outcome) => outcome,
        // A trial that panicked has sent no outcome.
        None if conclusion.has_failed() => Outcome::RunFailed,
        None => Outcome::Clean,
    })
}

/// A workload as a test. It fails, with the report as its message, unless the workload is clean.
fn trial(entry: &Entry, outcomes: Sender<Outcome>) -> Trial {
    let name = entry.name().to_owned();
    // The entry's own functions may not leave this thread, and the trial may run on another.
    let options = entry.check(&Settings {
        scratch: private_folder::unpredictable_path(),
        ..Settings::default()
    });
    Trial::test(name.clone(), move || {
        let (outcome, message) = match options.and_then(|options| measure(&name, options)) {
            Ok(measured) => measured,
            Err(error) => (Outcome::of_error(&error), format!("afterdrop: {error}")),
        };
        // The receiver lives until all trials have run.
        let _ = outcomes.send(outcome);
        match outcome {
            Outcome::Clean => Ok(()),
            _ => Err(Failed::from(message.trim_end())),
        }
    })
}

/// Measures one workload; returns its outcome and the report as text.
fn measure(name: &str, options: Vec<String>) -> Result<(Outcome, String), Error> {
    let config = config::load(name)?;
    let folder = output_folder("workloads", name)?;
    let (warmup, horizon) = (DEFAULT_WARMUP, DEFAULT_HORIZON);
    let request = Request {
        start: child::Start {
            program: child::this_program()?,
            args: vec!["run".into(), name.into()],
            plan: Plan {
                subject: Subject::Workload(WorkloadPlan {
                    name: name.into(),
                    settings: Settings {
                        scratch: folder.join(measure::SCRATCH),
                        ..Settings::default()
                    },
                    infer: true,
                }),
                heap: HeapKind::default(),
                strategy: Strategy::default(),
                cycles: warmup.saturating_add(verdict::max_cycles(horizon)),
                warmup,
                horizon,
                auto: Some(measure::auto(warmup, horizon, TIMEOUT)),
                holders: true,
                out: folder.clone(),
                replies: None,
            },
            timeout: TIMEOUT,
            memory_limit: None,
            sample_every: None,
        },
        all_holders: false,
        options,
        config,
    };
    let measured = measure::measure(request, &AtomicBool::new(false), ())?;
    let report = measured.write().check_written()?;
    let outcome = Outcome::of(report.verdict, report.ended.is_complete());
    let page = terminal::render(
        &report,
        &folder.to_string_lossy(),
        terminal::Screen::default(),
    );
    Ok((outcome, page))
}
