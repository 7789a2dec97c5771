//! `afterdrop make-fixtures`: trains the shipped Burn models again. Hidden; built with the feature
//! `train`.

use std::path::PathBuf;

use super::{Outcome, print};
use crate::base::error::Error;
use crate::workloads::models::train;

/// Train the shipped Burn models on seeded data and save them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder that receives the files; those of an earlier run are replaced
    #[arg(default_value = "fixtures/burn")]
    folder: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    std::fs::create_dir_all(&args.folder)
        .map_err(|e| Error::io("make the folder", &args.folder, e))?;
    let lines = train::make_all(&args.folder)?;
    print(&(lines.join("\n") + "\n"))?;
    Ok(Outcome::Clean)
}
