//! The command: arguments, one file a subcommand, and the exit codes.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use clap::error::ErrorKind;
use clap::{ColorChoice, Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::base::error::Error;
use crate::model::report::RunVerdict;
use crate::report::terminal::Screen;
use crate::workloads::Entry;

mod about;
#[cfg(feature = "formats")]
mod compare;
mod explain;
#[cfg(feature = "train")]
mod fixtures;
mod harness;
mod list;
mod outdir;
mod progress;
#[cfg(feature = "formats")]
mod report_command;
#[cfg(feature = "formats")]
mod reports;
mod run;
mod strategies;
mod what;

/// Find what a model leaves behind on the heap when it is loaded and dropped again and again.
#[derive(Debug, Parser)]
#[command(
    name = "afterdrop",
    version,
    after_help = "Exit codes: 0 clean, 1 a leak or growth found, 2 usage or bad input, \
                  3 the measured run failed, 4 undecided."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Strategies(strategies::Args),
    #[cfg(feature = "formats")]
    Report(report_command::Args),
    #[cfg(feature = "formats")]
    Compare(compare::Args),
    Explain(explain::Args),
    List(list::Args),
    #[cfg(feature = "formats")]
    Schema(about::Schema),
    Completions(about::Completions),
    Man(about::Man),
    #[cfg(feature = "train")]
    #[command(hide = true)]
    MakeFixtures(fixtures::Args),
}

/// What a command came to. Finding a leak is a result, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Clean,
    GrowthFound,
    RunFailed,
    Undecided,
}

impl Outcome {
    fn of(verdict: RunVerdict, complete: bool) -> Self {
        match verdict {
            _ if !complete => Self::RunFailed,
            RunVerdict::Clean => Self::Clean,
            RunVerdict::Growing | RunVerdict::Leak => Self::GrowthFound,
            RunVerdict::Undecided => Self::Undecided,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::GrowthFound => 1,
            Self::RunFailed => 3,
            Self::Undecided => 4,
        }
    }
}

/// Exit code for usage and bad input.
const BAD_INPUT: u8 = 2;

/// The whole `afterdrop` command on these workloads.
///
/// The executable must have a [`Heap`](crate::Heap) installed, because it starts itself again as
/// the measured child.
///
/// ```no_run
/// # use afterdrop::{Failure, Model, Workload, workloads::Entry};
/// # struct Mine;
/// # impl Workload for Mine { fn load(&mut self) -> Result<Box<dyn Model>, Failure> { todo!() } }
/// #[global_allocator]
/// static HEAP: afterdrop::Heap = afterdrop::Heap::new();
///
/// fn main() -> std::process::ExitCode {
///     afterdrop::main(vec![Entry::new("mine", "my own model", |_| Ok(Box::new(Mine)))])
/// }
/// ```
///
/// # As a test or bench target
/// The same ten lines can be a `[[test]]` or `[[bench]]` with `harness = false`. Then
/// `cargo bench --bench memory -- run mine` is the command, and without a subcommand the workloads
/// are the target's tests: `cargo test` and `cargo nextest` run each of them with the defaults of
/// `run`, and fail if one is not clean. The exit code is that of the worst.
pub fn main(workloads: Vec<Entry>) -> ExitCode {
    if let Err(error) = crate::workloads::check_names(&workloads) {
        return exit(Err(error));
    }
    let (args, is_harness) = harness::arguments();
    if is_harness {
        return exit(harness::run(&args, &workloads));
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Nothing was asked for: the whole help says what there is.
            let _ = error.print();
            return ExitCode::from(BAD_INPUT);
        }
        Err(error) if error.use_stderr() => {
            complain(&format!("{}; see --help", one_line(&error)));
            return ExitCode::from(BAD_INPUT);
        }
        Err(asked) => {
            // Help or version: a reader that went away is no error.
            let _ = asked.print();
            return ExitCode::SUCCESS;
        }
    };
    let _ = COLOR.set(cli.color);
    exit(match cli.command {
        Command::Run(args) => run::run(&args, &workloads),
        Command::Strategies(args) => strategies::run(&args, &workloads),
        #[cfg(feature = "formats")]
        Command::Report(args) => report_command::run(&args),
        #[cfg(feature = "formats")]
        Command::Compare(args) => compare::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::List(args) => list::run(&args, &workloads),
        #[cfg(feature = "formats")]
        Command::Schema(_) => about::schema(),
        Command::Completions(args) => about::completions(&args, &workloads),
        Command::Man(args) => about::man(&args),
        #[cfg(feature = "train")]
        Command::MakeFixtures(args) => fixtures::run(&args),
    })
}

fn exit(result: Result<Outcome, Error>) -> ExitCode {
    match result {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) => {
            complain(&crate::base::units::one_line(&error.to_string()));
            let failed = Outcome::RunFailed.code();
            ExitCode::from(if error.is_child() { failed } else { BAD_INPUT })
        }
    }
}

/// What clap found wrong, without the usage and tips that follow.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let said = text.split("\n\n").next().unwrap_or_default();
    crate::base::units::one_line(said.trim().trim_start_matches("error: "))
}

/// Prints to standard output. A reader that went away (`| head`) is no error.
fn print(text: &str) -> Result<(), Error> {
    print_bytes(text.as_bytes())
}

/// The same of what may be no text.
fn print_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write to", "standard output".as_ref(), e))
        }
        _ => Ok(()),
    }
}

/// Says on standard error what went wrong. Where that cannot be written, the exit code still tells.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "afterdrop: {what}");
}

/// What `--color` says.
static COLOR: OnceLock<ColorChoice> = OnceLock::new();

/// How to draw on standard output.
fn screen() -> Screen {
    let color = match COLOR.get() {
        Some(ColorChoice::Always) => true,
        Some(ColorChoice::Never) => false,
        // As the terminal is, and as https://no-color.org has it.
        Some(ColorChoice::Auto) | None => {
            io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
        }
    };
    // Columns of the terminal; 100 where there is none.
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let measured = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let width = columns.or_else(measured).unwrap_or(100).clamp(60, 160);
    Screen { color, width }
}

/// The report that is meant: a file, or the one in the folder of a run.
fn report_file(path: &Path) -> Result<PathBuf, Error> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let report = path.join(crate::model::report::FILE);
    if report.exists() {
        return Ok(report);
    }
    let entries = std::fs::read_dir(path).map_err(|e| Error::io("read the folder", path, e))?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut runs: Vec<String> = folders
        .filter(|p| p.join(crate::model::report::FILE).exists())
        .map(|p| p.display().to_string())
        .collect();
    runs.sort_unstable();
    Err(Error::usage(match runs[..] {
        [] => format!(
            "there is no {} in `{}`",
            crate::model::report::FILE,
            path.display()
        ),
        _ => format!(
            "`{}` holds several runs; name one: {}",
            path.display(),
            runs.join(" ")
        ),
    }))
}

/// Set when the user interrupts: the child is ended, and the parent stays to report.
fn interrupt_flag() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|e| Error::usage(format!("cannot watch for interrupts: {e}")))?;
    }
    Ok(flag)
}

/// A workload that was asked for: one of the list, or made of a file.
enum Found<'a> {
    Listed(&'a Entry),
    #[cfg(feature = "keras")]
    Made(Box<Entry>),
}

impl std::ops::Deref for Found<'_> {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        match self {
            Self::Listed(entry) => entry,
            #[cfg(feature = "keras")]
            Self::Made(entry) => entry,
        }
    }
}

/// The workload of this name.
fn find<'a>(workloads: &'a [Entry], name: &str) -> Result<Found<'a>, Error> {
    if let Some(entry) = workloads.iter().find(|w| w.name() == name) {
        return Ok(Found::Listed(entry));
    }
    #[cfg(feature = "keras")]
    if crate::workloads::keras::is_file(name) {
        return Ok(Found::Made(Box::new(crate::workloads::keras_file(name))));
    }
    #[cfg(feature = "keras")]
    if let Some(error) = crate::workloads::keras::not_a_file(name) {
        return Err(error);
    }
    let names: Vec<&str> = workloads.iter().map(Entry::name).collect();
    Err(crate::base::names::unknown("workload", name, &names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_outcome_has_its_code() {
        assert_eq!(Outcome::of(RunVerdict::Clean, true).code(), 0);
        assert_eq!(Outcome::of(RunVerdict::Leak, true).code(), 1);
        assert_eq!(Outcome::of(RunVerdict::Growing, true).code(), 1);
        assert_eq!(Outcome::of(RunVerdict::Leak, false).code(), 3);
        assert_eq!(Outcome::of(RunVerdict::Undecided, true).code(), 4);
    }
}
