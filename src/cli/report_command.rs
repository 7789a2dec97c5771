//! `afterdrop report`: a stored report in any format, without running again.

use std::path::{Path, PathBuf};

use super::reports::{Formats, Paths, To, write_all};
use super::{Outcome, look, print};
use crate::error::Error;
use crate::report::formats::{self, Format};
use crate::report::{Report, strategies, terminal};

/// Show a stored report, or write it in another format
///
/// Formats: terminal, json, html, flame, icicle, dhat, pprof, jeprof, collapsed, speedscope, sarif, junit,
/// markdown, openmetrics, csv-sites, csv-boundaries; csv for both of these, and all.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A report.json, or the folder of a run; or the strategies.json of a comparison, for html
    report: PathBuf,

    /// Formats, such as html or html,flame [default: terminal]
    #[arg(
        long = "as",
        value_name = "FORMAT",
        default_value = "terminal",
        hide_default_value = true
    )]
    formats: Formats,

    #[command(flatten)]
    to: To,

    #[command(flatten)]
    paths: Paths,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    let formats = &args.formats.0[..];
    if is_comparison(&args.report) {
        return of_strategies(args, formats);
    }
    let report = args
        .paths
        .apply(Report::read(&super::report_file(&args.report)?)?)?;
    match formats {
        [Format::Terminal] if args.to.output.is_none() => {
            print(&terminal::render(&report, "", look()))?;
        }
        &[format] => args.to.write(&formats::render(&report, format)?)?,
        several => {
            let folder = args.to.output.as_deref().ok_or_else(|| {
                Error::usage("several formats need a folder").hint("name one with -o DIR")
            })?;
            std::fs::create_dir_all(folder).map_err(|e| Error::io("make the folder", folder, e))?;
            for format in several {
                let path = folder.join(format.file());
                if path.exists() && !args.to.force {
                    let message = format!("{} is there, and is left as it is", path.display());
                    return Err(Error::usage(message).hint("--force writes over it"));
                }
            }
            write_all(&report, several, folder)?;
            if several.contains(&Format::Json) {
                let path = folder.join(Format::Json.file());
                args.to
                    .write_file(&path, &formats::render(&report, Format::Json)?)?;
            }
            let names: Vec<&str> = several.iter().map(|f| f.file()).collect();
            print(&format!(
                "written {}/ {}\n",
                folder.display(),
                names.join(" ")
            ))?;
        }
    }
    Ok(Outcome::Clean)
}

/// Whether it is what `strategies` wrote.
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
            args.to.write(page.as_bytes())?;
        }
        [Format::Json] => args.to.write((comparison.to_json() + "\n").as_bytes())?,
        [Format::Terminal] => print(&strategies::render(&comparison, look()))?,
        _ => {
            return Err(Error::usage(
                "a comparison of strategies is shown as terminal, json or html",
            ));
        }
    }
    Ok(Outcome::Clean)
}
