//! The report for other readers: browsers, profilers, CI systems, spreadsheets. One file a format; each
//! takes a finished [`Report`] and computes nothing.
//!
//! Names, paths and workloads' words are data: control characters are taken out of all of them here, and
//! each format escapes what it must.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::Report;
use super::terminal;
use crate::base::error::Error;
use crate::base::text::{is_hidden, printable};

mod collapsed;
pub mod compare;
mod csv;
mod dhat;
mod flame;
mod html;
mod jeprof;
mod junit;
mod markdown;
mod openmetrics;
mod pprof;
mod sarif;
mod schema;
mod speedscope;
#[cfg(test)]
mod tests;

pub use flame::difference as flame_of_difference;
pub use html::strategies as strategies_page;
pub use schema::schema;

/// For whom a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// The page of text that `run` prints.
    Terminal,
    /// `report.json`.
    Json,
    /// One page for a browser, which needs nothing else.
    Html,
    /// Flame graph of retained bytes: SVG with a search.
    Flame,
    /// The same from the top down, a tower for each birth cycle.
    Icicle,
    /// DHAT's file, version 2, for its viewer.
    Dhat,
    /// pprof's compressed protocol buffer.
    Pprof,
    /// jemalloc's heap profile, for `jeprof`.
    Jeprof,
    /// Folded stacks, a line each, for `flamegraph.pl`, inferno and speedscope.
    Collapsed,
    /// speedscope's own file.
    Speedscope,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JUnit's XML, for CI systems.
    Junit,
    /// Markdown, for a pull request.
    Markdown,
    /// OpenMetrics' text, for Prometheus.
    Openmetrics,
    /// Call sites as comma-separated values.
    CsvCallSites,
    /// Boundaries as comma-separated values.
    CsvBoundaries,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Terminal,
        Self::Json,
        Self::Html,
        Self::Flame,
        Self::Icicle,
        Self::Dhat,
        Self::Pprof,
        Self::Jeprof,
        Self::Collapsed,
        Self::Speedscope,
        Self::Sarif,
        Self::Junit,
        Self::Markdown,
        Self::Openmetrics,
        Self::CsvCallSites,
        Self::CsvBoundaries,
    ];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Json => "json",
            Self::Html => "html",
            Self::Flame => "flame",
            Self::Icicle => "icicle",
            Self::Dhat => "dhat",
            Self::Pprof => "pprof",
            Self::Jeprof => "jeprof",
            Self::Collapsed => "collapsed",
            Self::Speedscope => "speedscope",
            Self::Sarif => "sarif",
            Self::Junit => "junit",
            Self::Markdown => "markdown",
            Self::Openmetrics => "openmetrics",
            Self::CsvCallSites => "csv-call-sites",
            Self::CsvBoundaries => "csv-boundaries",
        }
    }

    /// The file that it is written to in the folder of a run, named so that its readers know it.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Terminal => "report.txt",
            Self::Json => "report.json",
            Self::Html => "report.html",
            Self::Flame => "flame.svg",
            Self::Icicle => "icicle.svg",
            Self::Dhat => "dhat.json",
            Self::Pprof => "profile.pb.gz",
            Self::Jeprof => "jeprof.heap",
            Self::Collapsed => "stacks.folded",
            Self::Speedscope => "speedscope.json",
            Self::Sarif => "report.sarif",
            Self::Junit => "junit.xml",
            Self::Markdown => "report.md",
            Self::Openmetrics => "metrics.txt",
            Self::CsvCallSites => "call-sites.csv",
            Self::CsvBoundaries => "boundaries.csv",
        }
    }

    /// The formats that a name stands for: `csv` and `all` for several.
    ///
    /// # Errors
    /// If there is none of that name: the message lists them.
    pub fn named(name: &str) -> Result<Vec<Self>, String> {
        match name {
            "all" => Ok(Self::ALL.to_vec()),
            "csv" => Ok(vec![Self::CsvCallSites, Self::CsvBoundaries]),
            name => name.parse().map(|format| vec![format]),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|f| f.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no format of this name; there are {names}, csv (both of them) and all")
        })
    }
}

/// The report in a format.
///
/// # Errors
/// If the format cannot hold it; none of what a run writes is such.
pub fn render(report: &Report, format: Format) -> Result<Vec<u8>, Error> {
    let report = match format {
        // It escapes what it must, and is to be read back as it was.
        Format::Json => report,
        _ => &cleaned(report),
    };
    match format {
        Format::Terminal => {
            Ok(terminal::render(report, "", terminal::Screen::default()).into_bytes())
        }
        Format::Json => Ok((report.to_json() + "\n").into_bytes()),
        Format::Html => Ok(html::render(report).into_bytes()),
        Format::Flame => flame::flame(report),
        Format::Icicle => flame::icicle(report),
        Format::Dhat => Ok(dhat::render(report)),
        Format::Pprof => pprof::render(report),
        Format::Jeprof => Ok(jeprof::render(report).into_bytes()),
        Format::Collapsed => Ok(collapsed::render(report).into_bytes()),
        Format::Speedscope => Ok(speedscope::render(report)),
        Format::Sarif => Ok(sarif::render(report)),
        Format::Junit => junit::render(report),
        Format::Markdown => Ok(markdown::render(report).into_bytes()),
        Format::Openmetrics => openmetrics::render(report),
        Format::CsvCallSites => csv::call_sites(report),
        Format::CsvBoundaries => csv::boundaries(report),
    }
    .map_err(|wrong: String| Error::usage(format!("cannot write this report as {format}: {wrong}")))
}

/// The report with texts that can do no harm: without characters that are not seen, and none of them
/// endless.
pub(super) fn cleaned(report: &Report) -> Report {
    report.with_texts(&mut |text| {
        if text.len() > LONGEST {
            *text = terminal::shortened(text, LONGEST);
        }
        if text.contains(is_hidden) {
            *text = printable(text);
        }
    })
}

/// Characters of a text that are written, but for JSON: of a longer one its end.
const LONGEST: usize = 4000;

/// Names that are kept once, and numbered in the order in which they came.
#[derive(Default)]
struct Names {
    all: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.all.len();
        self.all.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }
}

/// What stands for a stack that could not be read.
const NOT_ATTRIBUTED: &str = "(not attributed)";
