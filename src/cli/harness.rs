//! The command as the test or bench target of a user's crate (`harness = false`): each workload is
//! a test, under `cargo test`, `cargo bench` and `cargo nextest` alike.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Command, Parser};

use super::outcome::Outcome;
use super::output::{print, usage_message};
use crate::analysis::config;
use crate::analysis::verdict;
use crate::base::error::Error;
use crate::check::output_folder;
use crate::measure::child;
use crate::measure::{self, Request};
use crate::model::plan::{Plan, Subject};
use crate::model::run::{HeapKind, Strategy};
use crate::model::verdict::{DEFAULT_HORIZON, DEFAULT_WARMUP};
use crate::report::terminal;
use crate::workloads::{Entry, Settings};

/// Longest run of one workload.
const TIMEOUT: Duration = Duration::from_secs(300);

/// libtest's arguments, as far as they make a difference here.
#[derive(Debug, Parser)]
#[command(name = "afterdrop", disable_help_flag = true)]
struct Args {
    /// Run only workloads whose names contain one of these
    filters: Vec<String>,

    /// Filters are whole names
    #[arg(long)]
    exact: bool,

    /// Leave out workloads whose names contain this
    #[arg(long)]
    skip: Vec<String>,

    /// List the workloads as libtest lists tests
    #[arg(long)]
    list: bool,

    /// Run ignored tests only: there are none
    #[arg(long)]
    ignored: bool,

    #[arg(long, short)]
    quiet: bool,
    #[arg(long)]
    include_ignored: bool,
    #[arg(long, alias = "no-capture")]
    nocapture: bool,
    #[arg(long)]
    show_output: bool,
    #[arg(long)]
    test: bool,
    #[arg(long)]
    format: Option<String>,
    #[arg(long)]
    color: Option<String>,
    #[arg(long)]
    test_threads: Option<String>,
    #[arg(short = 'Z')]
    unstable: Vec<String>,
    #[arg(long)]
    logfile: Option<String>,
    #[arg(long)]
    shuffle: bool,
    #[arg(long)]
    shuffle_seed: Option<u64>,
    #[arg(long)]
    report_time: bool,
}

/// The arguments without what cargo adds, and whether they are those of a test or bench target:
/// cargo builds such targets into a folder `deps`, and gives them no subcommand.
pub(super) fn arguments(command: &Command) -> (Vec<OsString>, bool) {
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().and_then(Path::file_name);
    let is_target = folder == Some(OsStr::new("deps"));
    let all = std::env::args_os();
    let args: Vec<OsString> = all.filter(|a| !is_target || a != "--bench").collect();
    let for_the_command = args.get(1).and_then(|a| a.to_str()).is_some_and(|first| {
        let asks = ["help", "--help", "-h", "--version", "-V"];
        // `cargo test run` has no workload: it filters tests by the word.
        let is_subcommand = || {
            command.find_subcommand(first).is_some()
                && !matches!(command.clone().try_get_matches_from(&args), Err(e) if e.kind() == ErrorKind::MissingRequiredArgument)
        };
        asks.contains(&first) || is_subcommand()
    });
    (args, is_target && !for_the_command)
}

/// Runs the workloads that are asked for, each in a child, with the defaults of `run`.
pub(super) fn run(args: &[OsString], workloads: &[Entry]) -> Result<Outcome, Error> {
    let args = Args::try_parse_from(args).map_err(|e| Error::usage(usage_message(&e)))?;
    let chosen: Vec<&Entry> = workloads.iter().filter(|w| args.chooses(w)).collect();
    if args.list {
        return list(&chosen);
    }
    print(&format!("\nrunning {} workloads\n", chosen.len()))?;
    let mut outcomes = Vec::new();
    let mut pages = String::new();
    for entry in &chosen {
        print(&format!("test {} ... ", entry.name()))?;
        let (outcome, said, page) = match measure(entry) {
            Ok((outcome, page)) if outcome == Outcome::Clean => (outcome, "ok", page),
            Ok((outcome, page)) => (outcome, "FAILED", page),
            Err(error) => (
                Outcome::RunFailed,
                "FAILED",
                format!("afterdrop: {error}\n"),
            ),
        };
        print(&format!("{said}\n"))?;
        if outcome != Outcome::Clean {
            pages += &format!("\n---- {} ----\n{page}", entry.name());
        }
        outcomes.push(outcome);
    }
    let passed = outcomes.iter().filter(|&&o| o == Outcome::Clean).count();
    let failed = outcomes.len() - passed;
    print(&format!(
        "{pages}\ntest result: {}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {} \
         filtered out\n\n",
        if failed == 0 { "ok" } else { "FAILED" },
        workloads.len() - chosen.len()
    ))?;
    let by_weight = [Outcome::GrowthFound, Outcome::RunFailed, Outcome::Undecided];
    let worst = by_weight.into_iter().find(|o| outcomes.contains(o));
    Ok(worst.unwrap_or(Outcome::Clean))
}

impl Args {
    fn chooses(&self, entry: &Entry) -> bool {
        let named = |filter: &String| {
            if self.exact {
                entry.name() == filter
            } else {
                entry.name().contains(filter)
            }
        };
        let wanted = self.filters.is_empty() || self.filters.iter().any(named);
        wanted && !self.ignored && !self.skip.iter().any(named)
    }
}

fn list(workloads: &[&Entry]) -> Result<Outcome, Error> {
    let lines = workloads.iter().map(|w| format!("{}: test\n", w.name()));
    print(&lines.collect::<String>())?;
    Ok(Outcome::Clean)
}

/// Runs one workload and gives its page.
fn measure(entry: &Entry) -> Result<(Outcome, String), Error> {
    let config = config::load(entry.name())?;
    let folder = output_folder("workloads", entry.name())?;
    let settings = Settings {
        scratch: folder.join(measure::SCRATCH),
        ..Settings::default()
    };
    let options = entry.check(&settings)?;
    let (warmup, horizon) = (DEFAULT_WARMUP, DEFAULT_HORIZON);
    let request = Request {
        start: child::Start {
            program: child::this_program()?,
            args: vec!["run".into(), entry.name().into()],
            plan: Plan {
                subject: Subject::Workload {
                    name: entry.name().into(),
                    settings,
                    infer: true,
                },
                heap: HeapKind::default(),
                strategy: Strategy::default(),
                cycles: warmup.saturating_add(verdict::most_cycles(horizon)),
                warmup,
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
        horizon,
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
