//! Reports in formats: what `run`, `report` and `compare` have in common.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::report::formats::{self, Format};
use crate::report::{Report, write_whole};

/// How paths are shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Paths {
    /// Show paths below this folder relative to it, such as the root of the repository
    #[arg(long, value_name = "DIR")]
    source_root: Option<PathBuf>,

    /// Show TO for a path that begins with FROM; may be given several times
    #[arg(long, value_name = "FROM=TO", value_parser = remapping)]
    remap: Vec<(String, String)>,
}

fn remapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() => Ok((
            from.trim_end_matches('/').into(),
            to.trim_end_matches('/').into(),
        )),
        _ => Err("no FROM=TO".into()),
    }
}

impl Paths {
    /// The report with paths as they are to be shown.
    pub(super) fn apply(&self, mut report: Report) -> Result<Report, Error> {
        for (from, to) in &self.remap {
            report = report.with_path(from, to);
        }
        if let Some(root) = &self.source_root {
            let whole =
                std::path::absolute(root).map_err(|e| Error::io("find the folder", root, e))?;
            let whole = whole.to_string_lossy();
            for from in [whole.trim_end_matches('/'), &shortened_home(&whole)] {
                if !from.is_empty() {
                    report = report.with_path(from, "");
                }
            }
        }
        Ok(report)
    }
}

/// As a report has it whose home folder was taken out.
fn shortened_home(path: &str) -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    match path.strip_prefix(home.trim_end_matches('/')) {
        Some(rest) if home.len() > 1 => format!("~{}", rest.trim_end_matches('/')),
        _ => String::new(),
    }
}

/// Formats from a list such as `html,flame`.
pub(super) fn parse(list: &str) -> Result<Vec<Format>, String> {
    let mut all = Vec::new();
    for name in list.split(',') {
        all.extend(Format::named(name.trim())?);
    }
    all.dedup();
    Ok(all)
}

/// Formats, as an argument has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formats(pub(super) Vec<Format>);

impl std::str::FromStr for Formats {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        parse(list).map(Self)
    }
}

/// Writes a report in formats into a folder, each under its own name. What the folder has already is
/// left: `report.json` is there.
pub(super) fn write_all(report: &Report, formats: &[Format], folder: &Path) -> Result<(), Error> {
    for &format in formats.iter().filter(|f| **f != Format::Json) {
        write_whole(
            &folder.join(format.file()),
            &formats::render(report, format)?,
        )?;
    }
    Ok(())
}

/// Where a single text or file goes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct To {
    /// File to write; standard output, if there is none. Several formats need a folder
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// Write over a file that is there
    #[arg(long)]
    pub(super) force: bool,
}

impl To {
    /// Writes one file, or to standard output.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        match &self.output {
            Some(path) if path.as_os_str() != "-" => self.write_file(path, bytes),
            _ => to_stdout(bytes),
        }
    }

    /// Writes a file that is not there yet, unless it may be written over.
    pub(super) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        if path.exists() && !self.force {
            let message = format!("{} is there, and is left as it is", path.display());
            return Err(Error::usage(message).hint("--force writes over it"));
        }
        write_whole(path, bytes)
    }
}

fn to_stdout(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout();
    if stdout.is_terminal() && std::str::from_utf8(bytes).is_err() {
        return Err(
            Error::usage("this format is not text, and would upset the terminal")
                .hint("write it to a file with -o"),
        );
    }
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // The reader has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| Error::io("write to", Path::new("standard output"), e)),
    }
}
