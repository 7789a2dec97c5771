//! `afterdrop explain`: the figures behind the verdicts of a stored report.

use std::path::PathBuf;

use super::input::read_report;
use super::outcome::Outcome;
use super::output::{print, screen};
use crate::base::error::Error;
use crate::base::text::count;
use crate::model::process::Part;
use crate::model::report::{CallSite, Report};
use crate::model::verdict::Verdict;
use crate::report::explain;
use crate::report::names::short as short_name;

/// Explain a verdict: the series, the test and its figures, the rule, the holder and the stacks
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A report.json, or the folder of a run
    report: PathBuf,

    /// A call site, by its number in the report, a part of its function or file, or its fingerprint; or a
    /// part of the process: threads, file-descriptors, c-heap, mapped-memory or resident-memory [default:
    /// all that leak, grow or are undecided, else the first call site]
    site: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    let (report, _) = read_report(&args.report)?;
    let report = report.into_cleaned();
    let (call_sites, parts) = choose(&report, args.site.as_deref())?;
    let mut text = explain::render_head(&report, screen());
    if call_sites.is_empty() && parts.is_empty() {
        text +=
            "nothing to explain: no call site has survivors, and no part of the process grows\n";
    }
    for part in parts {
        text += "\n";
        text += &explain::render_part(&report, part, screen());
    }
    for (index, site) in call_sites {
        text += "\n";
        text += &explain::render(&report, index, site, screen());
    }
    if args.site.is_none() {
        text += "\n";
        text += &explain::render_peak(&report, screen());
    }
    print(&text)?;
    Ok(Outcome::Clean)
}

type Chosen<'a> = (Vec<(usize, &'a CallSite)>, Vec<&'a Part>);

/// Whether a part of the process is meant: by `c-heap`, `heap` or `growth in the C heap`.
fn is_called(part: &Part, which: &str) -> bool {
    let which = which.to_lowercase();
    [part.what.key(), part.what.name()]
        .iter()
        .any(|name| name.to_lowercase().contains(&which))
}

/// The call sites to explain, with their numbers, and the parts of the process.
fn choose<'a>(report: &'a Report, which: Option<&str>) -> Result<Chosen<'a>, Error> {
    let mut call_sites: Vec<(usize, &CallSite)> = (1..).zip(&report.call_sites).collect();
    let mut parts: Vec<&Part> = report.process.parts.iter().collect();
    let Some(which) = which else {
        let first = call_sites.first().copied();
        call_sites.retain(|(_, s)| s.verdict >= Verdict::Undecided);
        parts.retain(|p| p.verdict >= Verdict::Undecided);
        if call_sites.is_empty() && parts.is_empty() {
            call_sites.extend(first);
        }
        return Ok((call_sites, parts));
    };
    let by_number: Option<usize> = which.parse().ok();
    let call_sites_in_all = call_sites.len();
    let names = |s: &CallSite| {
        s.function.contains(which)
            || short_name(&s.function).contains(which)
            || s.location().contains(which)
            || s.fingerprint == which
    };
    call_sites.retain(|&(n, s)| by_number.map_or_else(|| names(s), |number| n == number));
    parts.retain(|p| by_number.is_none() && is_called(p, which));
    if call_sites.is_empty() && parts.is_empty() {
        let keys: Vec<&str> = report.process.parts.iter().map(|p| p.what.key()).collect();
        return Err(Error::usage(format!(
            "the report has no call site `{}`",
            which.escape_debug()
        ))
        .hint(format!(
            "it has {}, and the parts {}",
            count(call_sites_in_all as u64, "call site"),
            keys.join(", ")
        )));
    }
    Ok((call_sites, parts))
}
