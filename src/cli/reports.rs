//! The options of `run`, `report` and `compare` for formats, paths and output files.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;

use super::output::print_with;
use crate::base::error::Error;
use crate::base::files::{write_bytes, write_with};
use crate::model::report::Report;
use crate::report::formats::{self, Format};

/// Options for paths within reports.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Paths {
    /// Show paths below this folder, such as the root of the repository, relative to it
    #[arg(long, value_name = "DIR")]
    source_root: Option<PathBuf>,

    /// Replace FROM at the beginning of paths by TO; may be given several times
    #[arg(long, value_name = "FROM=TO", value_parser = remapping)]
    remap: Vec<(String, String)>,
}

fn remapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() => Ok((
            from.trim_end_matches('/').into(),
            to.trim_end_matches('/').into(),
        )),
        _ => Err("expected FROM=TO".into()),
    }
}

impl Paths {
    /// The report with its paths replaced.
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

/// The path with `~` for the home folder, as reports have it; empty if it is not below that.
fn shortened_home(path: &str) -> String {
    let home = crate::base::files::home_folder().unwrap_or_default();
    match path.strip_prefix(&home) {
        Some(rest) if !home.is_empty() => format!("~{}", rest.trim_end_matches('/')),
        _ => String::new(),
    }
}

/// The option `--as`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Formats {
    /// Formats of the output, such as html or html,flame
    #[arg(
        long = "as",
        value_name = "FORMATS",
        value_delimiter = ',',
        value_parser = names(),
        hide_possible_values = true
    )]
    names: Vec<String>,
}

/// All names of formats.
pub(super) fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(
        Format::ALL
            .map(Format::name)
            .into_iter()
            .chain(["csv", "all"]),
    )
}

/// The formats with these names, each once.
pub(super) fn of_names(names: &[String]) -> Result<Vec<Format>, Error> {
    let mut all = Vec::new();
    for name in names {
        for format in Format::named(name).map_err(Error::usage)? {
            if !all.contains(&format) {
                all.push(format);
            }
        }
    }
    Ok(all)
}

impl Formats {
    /// The formats given, else `terminal`.
    pub(super) fn chosen(&self) -> Result<Vec<Format>, Error> {
        match self.names.is_empty() {
            true => Ok(vec![Format::Terminal]),
            false => of_names(&self.names),
        }
    }
}

/// Writes a report in several formats into the folder of its run. `report.json` is there already.
pub(super) fn write_all(report: &Report, formats: &[Format], folder: &Path) -> Result<(), Error> {
    for &format in formats.iter().filter(|f| **f != Format::Json) {
        write_bytes(
            &folder.join(format.file()),
            &formats::render(report, format)?,
        )?;
    }
    Ok(())
}

/// The options `--output` and `--force`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct To {
    /// File or folder to write to [default: standard output]. Several formats need a folder
    #[arg(long, short, value_name = "FILE|DIR")]
    pub(super) output: Option<PathBuf>,

    /// Overwrite an existing file
    #[arg(long)]
    pub(super) force: bool,
}

/// What is written.
pub(super) enum Content<'a> {
    Bytes(Vec<u8>),
    /// A report as JSON, which is not in memory as a whole.
    Json(&'a Report),
}

impl<'a> Content<'a> {
    /// The report in a format.
    ///
    /// # Errors
    /// If the format cannot represent the report.
    pub(super) fn of(report: &'a Report, format: Format) -> Result<Self, Error> {
        Ok(match format {
            Format::Json => Self::Json(report),
            _ => Self::Bytes(formats::render(report, format)?),
        })
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => to.write_all(bytes),
            Self::Json(report) => report.write_json(to),
        }
    }

    fn is_text(&self) -> bool {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).is_ok(),
            Self::Json(_) => true,
        }
    }
}

impl To {
    /// Writes to the file, to `name` in the folder, or to standard output. None of `inputs` is
    /// overwritten.
    pub(super) fn write(
        &self,
        content: &Content<'_>,
        name: &str,
        inputs: &[&Path],
    ) -> Result<(), Error> {
        match &self.output {
            Some(path) if path.as_os_str() == "-" => to_stdout(content),
            Some(path) if path.is_dir() => self.write_file(&path.join(name), content, inputs),
            Some(path) => self.write_file(path, content, inputs),
            None => to_stdout(content),
        }
    }

    /// Checks that a file may be written: that it does not exist, or may be overwritten.
    pub(super) fn check(&self, path: &Path, inputs: &[&Path]) -> Result<(), Error> {
        if inputs.iter().any(|input| is_same_file(path, input)) {
            let message = format!("{} is the input, and is not overwritten", path.display());
            return Err(Error::usage(message).hint("name another file with -o"));
        }
        if std::fs::symlink_metadata(path).is_ok() && !is_device(path) && !self.force {
            let message = format!("{} already exists", path.display());
            return Err(Error::usage(message).hint("--force overwrites it"));
        }
        Ok(())
    }

    pub(super) fn write_file(
        &self,
        path: &Path,
        content: &Content<'_>,
        inputs: &[&Path],
    ) -> Result<(), Error> {
        self.check(path, inputs)?;
        let error = |e| Error::io("write", path, e);
        if is_device(path) {
            // A rename would replace the device or the pipe.
            let device = std::fs::OpenOptions::new().write(true).open(path);
            let mut device = BufWriter::new(device.map_err(error)?);
            return content
                .write(&mut device)
                .and_then(|()| device.flush())
                .map_err(error);
        }
        // A symbolic link is followed, not replaced.
        let target = match path.is_symlink() {
            true => std::fs::canonicalize(path).map_err(error)?,
            false => path.to_owned(),
        };
        write_with(&target, |to| content.write(to))
    }
}

/// Whether two paths lead to the same existing file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let whole = |path| std::fs::canonicalize(path).ok();
    whole(one).is_some_and(|path| whole(other) == Some(path))
}

/// Whether it exists, and is neither a file nor a folder.
fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir())
}

fn to_stdout(content: &Content<'_>) -> Result<(), Error> {
    if io::stdout().is_terminal() && !content.is_text() {
        return Err(
            Error::usage("this format is binary, and is not written to a terminal")
                .hint("write it to a file with -o"),
        );
    }
    print_with(|to| content.write(to))
}
