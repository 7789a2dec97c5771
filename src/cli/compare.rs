//! `afterdrop compare`: two stored reports, and what is new, fixed or changed between them.

use std::path::PathBuf;

use super::reports::{Paths, To};
use super::{Outcome, look, print};
use crate::error::Error;
use crate::report::compare::{self, Became};
use crate::report::formats::Format;
use crate::report::{Report, RunVerdict, formats};

/// Compare two reports: places that are new, fixed or changed, memory and time
///
/// Places are matched by their stacks, not by lines, so that code may have moved.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The earlier report.json, or the folder of its run
    before: PathBuf,

    /// The later one
    after: PathBuf,

    /// Exit with 1 if a place leaks or grows that did not before, and with 3 or 4 if the later run failed
    /// or is undecided
    #[arg(long)]
    fail_on_new: bool,

    /// terminal, markdown, html or json
    #[arg(long = "as", value_name = "FORMAT", default_value = "terminal")]
    format: Format,

    #[command(flatten)]
    to: To,

    #[command(flatten)]
    paths: Paths,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    let read = |path| args.paths.apply(Report::read(&super::report_file(path)?)?);
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let comparison = compare::compare(&before, &after);
    match args.format {
        Format::Terminal if args.to.output.is_none() => {
            print(&compare::render(&comparison, look()))?;
        }
        Format::Terminal => args
            .to
            .write(compare::render(&comparison, Default::default()).as_bytes())?,
        Format::Markdown => {
            args.to
                .write(formats::compare::markdown(&comparison).as_bytes())?;
        }
        Format::Html => {
            let page = formats::compare::page(&comparison, &after.version);
            args.to.write(page.as_bytes())?;
        }
        Format::Json => args.to.write((comparison.to_json() + "\n").as_bytes())?,
        other => {
            return Err(Error::usage(format!(
                "a comparison is shown as terminal, markdown, html or json, not as {other}"
            )));
        }
    }
    Ok(match args.fail_on_new {
        false => Outcome::Clean,
        true if comparison.count(Became::New) > 0 => Outcome::GrowthFound,
        true if !after.ended.is_complete() => Outcome::RunFailed,
        true if after.verdict == RunVerdict::Undecided => Outcome::Undecided,
        true => Outcome::Clean,
    })
}
