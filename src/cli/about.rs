//! `afterdrop completions`, `man` and `schema`: what packagers and other tools want of the command.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Outcome, print};
use crate::error::Error;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    shell: Shell,
}

pub(super) fn completions(args: &Completions) -> Result<Outcome, Error> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "afterdrop", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Clean)
}

/// Print the manual page, or that of a subcommand
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// A subcommand, such as run
    command: Option<String>,
}

pub(super) fn man(args: &Man) -> Result<Outcome, Error> {
    let mut command = Cli::command();
    // So that each subcommand knows its whole name.
    command.build();
    let chosen = match &args.command {
        None => Some(&command),
        Some(name) => command.find_subcommand(name),
    };
    let Some(chosen) = chosen else {
        let names = command.get_subcommands().filter(|c| !c.is_hide_set());
        let names: Vec<&str> = names.map(|c| c.get_name()).collect();
        let name = args.command.as_deref().unwrap_or_default();
        return Err(crate::names::unknown("subcommand", name, &names));
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
