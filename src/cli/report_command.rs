//! `afterdrop report`: a stored report in any format.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::input::read_report;
use super::outcome::Outcome;
use super::output::{print, screen};
use super::report_args::By;
use super::reports::{Content, Formats, Paths, To, is_same_file};
use crate::base::error::Error;
use crate::model::report::Report;
use crate::report::formats::{self, Format};
use crate::report::{strategies, terminal};

/// Show a stored report, or write it in other formats
///
/// Formats: terminal, json, html, flame, icicle, dhat, pprof, jeprof, collapsed, speedscope, sarif, junit,
/// markdown, openmetrics, csv-call-sites, csv-boundaries; csv for the last two, and all.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A report.json, or the folder of a run; or the strategies.json of a comparison
    report: PathBuf,

    #[cfg(feature = "exec")]
    /// Another process of a program that `exec` ran, by its number or a part of its command line
    #[arg(long, value_name = "PROCESS")]
    process: Option<String>,

    #[command(flatten)]
    formats: Formats,

    #[command(flatten)]
    by: By,

    #[command(flatten)]
    to: To,

    #[command(flatten)]
    paths: Paths,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    let formats = args.formats.chosen()?;
    if is_comparison(&args.report) {
        return of_strategies(args, &formats);
    }
    let (report, file) = read_report(&args.input()?)?;
    let mut report = args.paths.apply(report)?;
    // JSON escapes what is not seen, and is to be read back unchanged.
    if !formats.contains(&Format::Json) {
        report = report.into_cleaned();
    }
    match formats[..] {
        [Format::Terminal] if args.to.output.is_none() => {
            let page = terminal::render(&report, "", screen());
            print(&(page + &args.by.table(&report)))?;
        }
        [format] => {
            let content = Content::of(&report, format)?;
            args.to.write(&content, format.file(), &[&file])?;
        }
        ref several => write_several(args, &report, several, &file)?,
    }
    Ok(Outcome::Clean)
}

impl Args {
    /// The path of the report.
    fn input(&self) -> Result<Cow<'_, Path>, Error> {
        #[cfg(feature = "exec")]
        if let Some(process) = &self.process {
            return Ok(crate::measure::folder_of_process(&self.report, process)?.into());
        }
        Ok((&*self.report).into())
    }
}

/// Writes several formats into a folder. If a file exists that may not be overwritten, nothing is
/// written.
fn write_several(
    args: &Args,
    report: &Report,
    formats: &[Format],
    input: &Path,
) -> Result<(), Error> {
    let folder = args.to.output.as_deref().ok_or_else(|| {
        Error::usage("several formats are written to a folder, and none was given")
            .hint("name one with -o DIR")
    })?;
    let extension = |path: &Path| path.extension().map(std::ffi::OsStr::to_owned);
    let like_a_file = formats.iter().any(|f| {
        let own = extension(Path::new(f.file()));
        own.is_some() && own == extension(folder)
    });
    if like_a_file && !folder.exists() {
        let message = format!(
            "several formats are written to a folder, and {} is a file name",
            folder.display()
        );
        return Err(Error::usage(message).hint("name one with -o DIR"));
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
    // In the folder of the run `report.json` is the input.
    let is_input = |f: &Format| *f == Format::Json && is_same_file(&folder.join(f.file()), input);
    let wanted = || formats.iter().filter(|f| !is_input(f));
    for format in wanted() {
        args.to.check(&folder.join(format.file()), &[input])?;
    }
    for &format in wanted() {
        let content = Content::of(report, format)?;
        args.to
            .write_file(&folder.join(format.file()), &content, &[input])?;
    }
    let names: Vec<&str> = formats.iter().map(|f| f.file()).collect();
    print(&format!(
        "written {}/ {}\n",
        folder.display(),
        names.join(" ")
    ))
}

/// Whether it is a comparison that `strategies` wrote.
fn is_comparison(path: &Path) -> bool {
    let is_named = path
        .file_name()
        .is_some_and(|n| n == super::strategies::FILE);
    is_named || path.join(super::strategies::FILE).is_file()
}

fn of_strategies(args: &Args, formats: &[Format]) -> Result<Outcome, Error> {
    let file = match args.report.is_dir() {
        true => args.report.join(super::strategies::FILE),
        false => args.report.clone(),
    };
    let comparison = strategies::Comparison::read(&file)?;
    match formats {
        [Format::Html] => {
            let page = formats::strategies_page(&comparison);
            let page = Content::Bytes(page.into());
            args.to.write(&page, "strategies.html", &[&file])?;
        }
        [Format::Json] => {
            let json = Content::Bytes((comparison.to_json() + "\n").into());
            args.to.write(&json, super::strategies::FILE, &[&file])?;
        }
        [Format::Terminal] => print(&strategies::render(&comparison, screen()))?,
        _ => {
            return Err(Error::usage(
                "a comparison of strategies has only the formats terminal, json and html",
            ));
        }
    }
    Ok(Outcome::Clean)
}
