//! `afterdrop compare`: what is new, fixed or changed from one stored report to another.

use std::path::PathBuf;

use super::input::read_report;
use super::outcome::Outcome;
use super::output::screen;
use super::reports::{Content, Paths, To};
use crate::base::error::Error;
use crate::model::report::{Report, RunVerdict};
use crate::report::compare::{self, Became};
use crate::report::formats;
use crate::report::terminal::Screen;

/// Compare two reports: call sites that are new, fixed or changed, memory and time
///
/// Call sites are matched by their stacks and not by lines, so that code may move.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The report.json of the earlier run, or its folder
    before: PathBuf,

    /// The report.json of the later run, or its folder
    after: PathBuf,

    /// Exit with 1 if a call site leaks or grows that did not before, and with 3 or 4 if the later run
    /// failed or is undecided
    #[arg(long)]
    fail_on_new: bool,

    /// Also exit with 1 if a call site leaks or grows faster than before
    #[arg(long)]
    fail_on_worse: bool,

    /// Format of the output
    #[arg(long = "as", value_name = "FORMAT", default_value = "terminal", value_parser = FORMATS)]
    format: String,

    #[command(flatten)]
    to: To,

    #[command(flatten)]
    paths: Paths,
}

/// The formats of a comparison.
const FORMATS: [&str; 5] = ["terminal", "markdown", "html", "flame", "json"];

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    let read = |path| -> Result<(Report, PathBuf), Error> {
        let (report, file) = read_report(path)?;
        Ok((args.paths.apply(report)?.into_cleaned(), file))
    };
    let (before, before_file) = read(&args.before)?;
    let (after, after_file) = read(&args.after)?;
    let comparison = compare::compare(&before, &after);
    let (bytes, name) = match &args.format[..] {
        "markdown" => (formats::compare::markdown(&comparison).into(), "compare.md"),
        "html" => {
            let page = formats::compare::page(&comparison, &after.version);
            (page.into(), "compare.html")
        }
        "flame" => (
            formats::flame_of_difference(&before, &after)?,
            "compare.svg",
        ),
        "json" => ((comparison.to_json() + "\n").into_bytes(), "compare.json"),
        _ => {
            let screen = match args.to.output {
                None => screen(),
                Some(_) => Screen::default(),
            };
            (compare::render(&comparison, screen).into(), "compare.txt")
        }
    };
    let content = Content::Bytes(bytes);
    args.to
        .write(&content, name, &[&before_file, &after_file])?;
    let is_gate = args.fail_on_new || args.fail_on_worse;
    let worse = args.fail_on_worse && comparison.count(Became::Worse) > 0;
    Ok(match is_gate {
        false => Outcome::Clean,
        true if comparison.count(Became::New) > 0 || worse => Outcome::GrowthFound,
        true if !after.ended.is_complete() => Outcome::RunFailed,
        true if after.verdict == RunVerdict::Undecided => Outcome::Undecided,
        true => Outcome::Clean,
    })
}
