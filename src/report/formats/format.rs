//! The formats by name, and the file that each is written to.

use std::fmt;
use std::str::FromStr;

/// A format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The page of text that `run` prints.
    Terminal,
    /// `report.json`.
    Json,
    /// A page for a browser, in a single file.
    Html,
    /// A flame graph of retained bytes, as SVG with a search.
    Flame,
    /// An icicle graph of retained bytes, with a tower for each generation.
    Icicle,
    /// DHAT's file format, version 2, for its viewer.
    Dhat,
    /// pprof's compressed protocol buffer.
    Pprof,
    /// jemalloc's heap profile, for `jeprof`.
    Jeprof,
    /// Folded stacks, one per line, for `flamegraph.pl`, inferno and speedscope.
    Collapsed,
    /// speedscope's own file format.
    Speedscope,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JUnit XML, for CI systems.
    Junit,
    /// Markdown, for a pull request.
    Markdown,
    /// OpenMetrics text, for Prometheus.
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

    /// Its name on the command line.
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

    /// The name of its file in the folder of a run. Its readers know the format by the extension.
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

    /// The formats that a name stands for. `csv` and `all` stand for several.
    ///
    /// # Errors
    /// If no format has this name. The message lists all names.
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
            let name = name.escape_debug();
            format!("there is no format `{name}`; there are {names}, csv (both tables) and all")
        })
    }
}
