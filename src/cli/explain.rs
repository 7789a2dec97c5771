//! `afterdrop explain`: why a stored report says what it says.

use std::path::{Path, PathBuf};

use super::{Outcome, look, print};
use crate::error::Error;
use crate::report::{self, Report, Site, explain};
use crate::verdict::Verdict;

/// Explain a verdict: the series, the generations, the test and its figures
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A report.json, or the folder of a run
    report: PathBuf,

    /// Which site: its number in the report, or a part of its function, file or fingerprint
    /// [default: all that leak, grow or are undecided, else the first]
    site: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    let report = Report::read(&file(&args.report))?;
    let chosen = choose(&report, args.site.as_deref())?;
    let mut text = format!(
        "{}  {}: {}\n",
        report.workload.escape_debug(),
        report.verdict,
        report.summary
    );
    if report.sites.is_empty() {
        text += "no site has survivors: there is nothing to explain\n";
    }
    for (index, site) in chosen {
        text += "\n";
        text += &explain::render(&report, index, site, look());
    }
    print(&text)?;
    Ok(Outcome::Clean)
}

fn file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(report::FILE)
    } else {
        path.to_owned()
    }
}

/// The sites that are meant, with their numbers.
fn choose<'a>(report: &'a Report, which: Option<&str>) -> Result<Vec<(usize, &'a Site)>, Error> {
    let sites: Vec<(usize, &Site)> = (1..).zip(&report.sites).collect();
    let Some(which) = which else {
        let serious = |(_, s): &&(usize, &Site)| s.verdict >= Verdict::Undecided;
        let chosen: Vec<_> = sites.iter().filter(serious).copied().collect();
        return Ok(if chosen.is_empty() {
            sites.into_iter().take(1).collect()
        } else {
            chosen
        });
    };
    let by_number = which.parse().ok();
    let names = |s: &Site| {
        s.function.contains(which) || s.location().contains(which) || s.fingerprint == which
    };
    let chosen: Vec<_> = sites
        .iter()
        .filter(|(n, s)| by_number.map_or_else(|| names(s), |number: usize| *n == number))
        .copied()
        .collect();
    if chosen.is_empty() {
        return Err(Error::usage(format!(
            "the report has no site `{}`; it has {}",
            which.escape_debug(),
            sites.len()
        )));
    }
    Ok(chosen)
}
