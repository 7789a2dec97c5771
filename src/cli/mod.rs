//! The command line: its arguments, and the dispatch to one file for each subcommand.

use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::outcome::Outcome;
use self::output::{print_error, set_color, usage_message};
use crate::base::error::Error;
use crate::base::files::stack_limit;
use crate::base::units;
use crate::recorder::cycle::received_plan;
use crate::workloads::{Entry, check_names};

mod about;
mod bytes;
mod child;
#[cfg(feature = "formats")]
mod compare;
#[cfg(feature = "exec")]
mod exec;
mod explain;
#[cfg(feature = "train")]
mod fixtures;
mod harness;
mod input;
mod list;
mod measure_args;
mod outcome;
mod outdir;
mod output;
mod progress;
mod report_args;
#[cfg(feature = "formats")]
mod report_command;
#[cfg(feature = "formats")]
mod reports;
mod run;
mod signals;
mod strategies;

/// Find memory that a model retains after it is dropped, and the code that allocated it
///
/// A workload loads a model, runs it and drops it, again and again. What is still allocated after each
/// drop is counted by call site, and each call site gets a verdict: leak, cache, churn or warm-up.
#[derive(Debug, Parser)]
#[command(
    name = "afterdrop",
    version,
    after_help = "Exit codes: 0 clean, 1 leak or growth, 2 usage error or bad input, \
                  3 the measured run failed, 4 undecided."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// When to color the output
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    #[cfg(feature = "exec")]
    Exec(exec::Args),
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

/// Runs the `afterdrop` command on your own workloads.
///
/// The executable needs a [`Heap`](crate::Heap) as its global allocator, because it starts itself
/// again as the measured process.
///
/// # Examples
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
/// The same program can be a `[[test]]` or `[[bench]]` target with `harness = false`. With a
/// subcommand it is the command, as in `cargo bench --bench memory -- run mine`. Without one, each
/// workload is a test: `cargo test` and `cargo nextest` run it with the defaults of `run`, and the test
/// fails unless the workload is clean. The exit code is then that of the worst workload.
pub fn main(workloads: Vec<Entry>) -> ExitCode {
    if let Err(error) = check_stack().and_then(|()| check_names(&workloads)) {
        return exit(Err(error));
    }
    match received_plan() {
        Ok(None) => {}
        Ok(Some(plan)) => return exit(child::run(&plan, &workloads)),
        Err(error) => return exit(Err(error)),
    }
    if let Err(error) = signals::outlive_limits() {
        return exit(Err(error));
    }
    let definition = with_negative_numbers(Cli::command());
    let (args, is_harness) = harness::arguments(&definition);
    if is_harness {
        return exit(harness::run(&args, &workloads));
    }
    let matches = definition.try_get_matches_from(args);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return ExitCode::from(Outcome::BadInput.code());
        }
        Err(error) if error.use_stderr() => {
            print_error(&format!("{}; {}", usage_message(&error), hint(&error)));
            return ExitCode::from(Outcome::BadInput.code());
        }
        Err(help_or_version) => {
            // This fails behind a closed pipe, which is no error.
            let _ = help_or_version.print();
            return ExitCode::SUCCESS;
        }
    };
    set_color(cli.color);
    exit(dispatch(cli.command, &workloads))
}

/// Bytes of the smallest stack on which the command runs.
const SMALLEST_STACK: u64 = 512 << 10;

/// Checks that the stack does not overflow, which nothing could report.
fn check_stack() -> Result<(), Error> {
    let limit = stack_limit().filter(|&limit| limit < SMALLEST_STACK);
    limit.map_or(Ok(()), |limit| {
        let message = format!(
            "the stack is limited to {}, and the command needs {}",
            units::bytes(limit as f64),
            units::bytes(SMALLEST_STACK as f64)
        );
        Err(Error::usage(message).hint(
            "raise it with `ulimit -s`; to limit only the program that is measured: \
             afterdrop exec -- sh -c 'ulimit -s 64; exec PROGRAM'",
        ))
    })
}

/// The command with options that take a negative number as their value, so that the error is about the
/// value and not about an unknown option.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|subcommand| {
        subcommand.mut_args(|arg| {
            let takes_value = arg.get_action().takes_values();
            arg.allow_negative_numbers(takes_value)
        })
    })
}

/// What to do about wrong arguments.
fn hint(error: &clap::Error) -> &'static str {
    let wrong = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    let wrong = wrong.iter().find_map(|&kind| error.get(kind));
    let wrong = wrong.map(ToString::to_string).unwrap_or_default();
    let of_formats = ["report", "compare", "schema", "--report"];
    if !cfg!(feature = "formats") && of_formats.contains(&&*wrong) {
        return "this command was built without the feature `formats`; hint: build it with \
                `--features formats`";
    }
    "see --help"
}

fn dispatch(command: Command, workloads: &[Entry]) -> Result<Outcome, Error> {
    match command {
        Command::Run(args) => run::run(&args, workloads),
        #[cfg(feature = "exec")]
        Command::Exec(args) => exec::run(&args),
        Command::Strategies(args) => strategies::run(&args, workloads),
        #[cfg(feature = "formats")]
        Command::Report(args) => report_command::run(&args),
        #[cfg(feature = "formats")]
        Command::Compare(args) => compare::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::List(args) => list::run(&args, workloads),
        #[cfg(feature = "formats")]
        Command::Schema(_) => about::schema(),
        Command::Completions(args) => about::completions(&args, Cli::command(), workloads),
        Command::Man(args) => about::man(&args, Cli::command()),
        #[cfg(feature = "train")]
        Command::MakeFixtures(args) => fixtures::run(&args),
    }
}

fn exit(result: Result<Outcome, Error>) -> ExitCode {
    match result {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) => {
            print_error(&error.to_string());
            ExitCode::from(Outcome::of_error(&error).code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_accepts_the_definition_of_the_arguments() {
        Cli::command().debug_assert();
    }
}
