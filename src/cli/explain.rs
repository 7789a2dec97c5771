//! `afterdrop explain`: why a stored report says what it says.

use std::path::PathBuf;

use super::{Outcome, look, print, report_file};
use crate::base::error::Error;
use crate::model::process::Part;
use crate::model::report::{Report, Site};
use crate::model::verdict::Verdict;
use crate::report::explain;

/// Explain a verdict: the series, the generations, the test and its figures
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A report.json, or the folder of a run
    report: PathBuf,

    /// Which site: its number in the report, or a part of its function, file or fingerprint; or which
    /// part of the process: threads, file-descriptors, c-heap, mapped-memory or resident-memory [default:
    /// all that leak, grow or are undecided, else the first site]
    site: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    let report = Report::read(&report_file(&args.report)?)?;
    let (sites, parts) = choose(&report, args.site.as_deref())?;
    let mut text = format!(
        "{}  {}: {}\n",
        report.workload.escape_debug(),
        report.verdict,
        report.summary
    );
    if sites.is_empty() && parts.is_empty() {
        text += "no site has survivors, and no part of the process grows: there is nothing to explain\n";
    }
    for part in parts {
        text += "\n";
        text += &explain::render_part(&report, part, look());
    }
    for (index, site) in sites {
        text += "\n";
        text += &explain::render(&report, index, site, look());
    }
    print(&text)?;
    Ok(Outcome::Clean)
}

type Chosen<'a> = (Vec<(usize, &'a Site)>, Vec<&'a Part>);

/// Whether a part of the process is called so: `c-heap`, `heap` or `growth in the C heap`.
fn is_called(part: &Part, which: &str) -> bool {
    let which = which.to_lowercase();
    [part.what.key(), part.what.name()]
        .iter()
        .any(|name| name.to_lowercase().contains(&which))
}

/// The sites that are meant, with their numbers, and the parts of the process.
fn choose<'a>(report: &'a Report, which: Option<&str>) -> Result<Chosen<'a>, Error> {
    let mut sites: Vec<(usize, &Site)> = (1..).zip(&report.sites).collect();
    let mut parts: Vec<&Part> = report.process.parts.iter().collect();
    let Some(which) = which else {
        let first = sites.first().copied();
        sites.retain(|(_, s)| s.verdict >= Verdict::Undecided);
        parts.retain(|p| p.verdict >= Verdict::Undecided);
        if sites.is_empty() && parts.is_empty() {
            sites.extend(first);
        }
        return Ok((sites, parts));
    };
    let by_number: Option<usize> = which.parse().ok();
    let count = sites.len();
    let names = |s: &Site| {
        s.function.contains(which) || s.location().contains(which) || s.fingerprint == which
    };
    sites.retain(|&(n, s)| by_number.map_or_else(|| names(s), |number| n == number));
    parts.retain(|p| by_number.is_none() && is_called(p, which));
    if sites.is_empty() && parts.is_empty() {
        let keys: Vec<&str> = report.process.parts.iter().map(|p| p.what.key()).collect();
        return Err(Error::usage(format!(
            "the report has no site `{}`; it has {count}, and the parts {}",
            which.escape_debug(),
            keys.join(", ")
        )));
    }
    Ok((sites, parts))
}
