//! `afterdrop make-fixtures`: trains the shipped Burn models again. Hidden, and only in builds with
//! the feature `train`.

use std::fs;
use std::path::PathBuf;

use super::outcome::Outcome;
use super::output::print;
use crate::base::error::Error;
use crate::workloads::models::train;

/// Train the shipped Burn models on data from a fixed seed, and save them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder for the files. Existing files are replaced
    #[arg(default_value = "fixtures/burn")]
    folder: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    fs::create_dir_all(&args.folder)
        .map_err(|e| Error::io("create the folder", &args.folder, e))?;
    let lines = train::make_all(&args.folder)?;
    print(&(lines.join("\n") + "\n"))?;
    Ok(Outcome::Clean)
}
