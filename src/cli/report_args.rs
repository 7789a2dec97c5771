//! The arguments of `run` and `exec` for the report: where to write it, and how to show it.

use std::path::PathBuf;

use super::outcome::Outcome;
use super::outdir::OutDir;
use super::output::{print, print_with, screen};
use crate::base::error::Error;
use crate::measure::Measured;
use crate::model::report::Report;
use crate::report::terminal;

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Output folder, which must be new or empty [default: the next free one in reports/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,

    /// Formats to write besides report.json, such as html,flame; see `afterdrop report --help`
    #[cfg(feature = "formats")]
    #[arg(
        long,
        value_name = "FORMATS",
        value_delimiter = ',',
        value_parser = super::reports::names(),
        hide_possible_values = true
    )]
    report: Vec<String>,

    #[cfg(feature = "formats")]
    #[command(flatten)]
    paths: super::reports::Paths,

    /// Print the report as JSON
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    #[command(flatten)]
    by: By,

    /// Print only the line with the verdict
    #[arg(long, short)]
    pub(super) quiet: bool,
}

impl ReportArgs {
    /// Writes the report of a run to its folder, shows it, and returns what the command exits with.
    ///
    /// # Errors
    /// If a file of the run could not be read or written.
    pub(super) fn write_and_show(
        &self,
        measured: Measured,
        out: &OutDir,
    ) -> Result<Outcome, Error> {
        let measured = self.with_paths(measured)?.write();
        let written = self.write_formats(&measured, out);
        // The report is shown even if a file could not be written.
        self.show(&measured.report, out)?;
        written?;
        let report = measured.check_written()?;
        Ok(Outcome::of(report.verdict, report.ended.is_complete()))
    }

    /// The run with the paths of its report replaced as the options say.
    #[cfg(feature = "formats")]
    fn with_paths(&self, mut measured: Measured) -> Result<Measured, Error> {
        measured.report = self.paths.apply(measured.report)?;
        Ok(measured)
    }

    #[cfg(not(feature = "formats"))]
    fn with_paths(&self, measured: Measured) -> Result<Measured, Error> {
        Ok(measured)
    }

    /// Writes the formats of `--report`. If the report itself could not be written, it writes none.
    #[cfg(feature = "formats")]
    fn write_formats(&self, measured: &Measured, out: &OutDir) -> Result<(), Error> {
        if measured.unwritten.is_some() {
            return Ok(());
        }
        let formats = super::reports::of_names(&self.report)?;
        super::reports::write_all(&measured.report, &formats, out.path())
    }

    #[cfg(not(feature = "formats"))]
    fn write_formats(&self, _measured: &Measured, _out: &OutDir) -> Result<(), Error> {
        Ok(())
    }

    fn show(&self, report: &Report, out: &OutDir) -> Result<(), Error> {
        if self.json {
            return print_with(|to| report.write_json(to));
        }
        let written = format!("{}/ {}", out.path().display(), out.files().join(" "));
        let text = terminal::render(report, &written, screen());
        if self.quiet {
            let first = text.lines().next().unwrap_or_default();
            return print(&format!("{first}\n"));
        }
        print(&(text + &self.by.table(report)))
    }
}

/// The option `--by`.
#[derive(Debug, clap::Args)]
pub(super) struct By {
    /// Also add up what is retained, and what was live at the peak: by crate or shared library
    #[arg(long, value_name = "WHAT", value_enum)]
    by: Option<Group>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Group {
    Crate,
}

impl By {
    /// The table that is asked for; else nothing.
    pub(super) fn table(&self, report: &Report) -> String {
        match self.by {
            Some(Group::Crate) => terminal::render_by_crate(report, screen()),
            None => String::new(),
        }
    }
}
