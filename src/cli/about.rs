//! `afterdrop completions`, `man` and `schema`: files for packagers and other tools.

use clap::CommandFactory;
use clap::builder::PossibleValuesParser;
use clap_complete::Shell;

use super::{Cli, Outcome, print};
use crate::base::error::Error;
use crate::model::run::{HeapKind, Strategy};
use crate::workloads::Entry;

/// Print the completion script for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    shell: Shell,
}

pub(super) fn completions(args: &Completions, workloads: &[Entry]) -> Result<Outcome, Error> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    let names: Vec<String> = workloads.iter().map(|w| w.name().to_owned()).collect();
    // Only for completion: a workload may also be a file, and errors are worded elsewhere.
    for takes_one in ["run", "strategies"] {
        command = command.mut_subcommand(takes_one, |c| {
            let c = with_values(c, "workload", names.iter().cloned());
            let c = with_values(c, "heap", HeapKind::ALL.map(|h| h.name().to_owned()));
            with_values(c, "strategy", Strategy::ALL.map(|s| s.name().to_owned()))
        });
    }
    let subcommands: Vec<String> = visible(&command).map(|c| c.get_name().to_owned()).collect();
    command = command.mut_subcommand("man", |c| with_values(c, "command", subcommands));
    clap_complete::generate(args.shell, &mut command, "afterdrop", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Clean)
}

/// The subcommand with the possible values of one of its arguments, if it has that argument.
fn with_values(
    command: clap::Command,
    argument: &str,
    values: impl IntoIterator<Item = String>,
) -> clap::Command {
    let has_it = command.get_arguments().any(|a| a.get_id() == argument);
    match has_it {
        true => command.mut_arg(argument, |a| {
            a.value_parser(PossibleValuesParser::new(values))
        }),
        false => command,
    }
}

/// The subcommands that are not hidden.
fn visible(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|c| !c.is_hide_set())
}

/// Print the manual page of the command, or of a subcommand
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// A subcommand, such as run
    command: Option<String>,
}

pub(super) fn man(args: &Man) -> Result<Outcome, Error> {
    let mut command = Cli::command();
    // Sets the full name of each subcommand.
    command.build();
    let chosen = match &args.command {
        None => Some(&command),
        Some(name) => command.find_subcommand(name),
    };
    let Some(chosen) = chosen else {
        let names: Vec<&str> = visible(&command).map(|c| c.get_name()).collect();
        let name = args.command.as_deref().unwrap_or_default();
        return Err(crate::base::names::unknown("subcommand", name, &names));
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(chosen.clone())
        .render(&mut page)
        .map_err(|e| Error::usage(format!("cannot make the manual page: {e}")))?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Outcome::Clean)
}

/// Print the JSON Schema of report.json
#[cfg(feature = "formats")]
#[derive(Debug, clap::Args)]
pub(super) struct Schema {}

#[cfg(feature = "formats")]
pub(super) fn schema() -> Result<Outcome, Error> {
    print(&crate::report::formats::schema())?;
    Ok(Outcome::Clean)
}
