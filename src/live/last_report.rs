//! The report before the end: what is known is written to a folder when the memory of the control group runs short,
//! because the kernel may kill the process at any time.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::control_group::Usage;
use super::history::History;
use super::journals;
use super::shared::Shared;
use crate::base::{new_file::NewFile, private_folder};
use crate::model::journal;
use crate::recorder::heap::Unwinder;

/// Writes it below [`Settings::report_folder`](super::Settings::report_folder), if there is one. Needs little memory: no
/// helper is started, so that names and verdicts are those of the last analysis. The journals make new ones:
/// `afterdrop report`.
pub(super) fn write(shared: &Shared, history: &History, unwinder: Unwinder, usage: Usage) {
    let Some(folder) = &shared.settings.report_folder else {
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    let name = format!(
        "{}-{}-{seconds}",
        shared.settings.service,
        std::process::id()
    );
    // A service has no better place for its messages than its error output.
    match write_to(&folder.join(&name), shared, history, unwinder) {
        Ok(()) => eprintln!(
            "afterdrop: memory runs short ({} of {} MiB): the report is in {}",
            usage.used >> 20,
            usage.limit >> 20,
            folder.join(&name).display()
        ),
        Err(error) => eprintln!(
            "afterdrop: memory runs short, and the report could not be written to {}: {error}",
            folder.join(&name).display()
        ),
    }
}

fn write_to(
    folder: &Path,
    shared: &Shared,
    history: &History,
    unwinder: Unwinder,
) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above)?;
    }
    private_folder::create(folder)?;
    put(&folder.join("heap.pb.gz"), |to| {
        to.write_all(&shared.pprof())
    })?;
    for (number, scale) in history.scales.iter().enumerate() {
        // The finest scale is that which `afterdrop report FOLDER` reads.
        let below = match number {
            0 => folder.to_owned(),
            _ => folder.join(format!("scale-{number}")),
        };
        if number > 0 {
            private_folder::create(&below)?;
        }
        put(&below.join(journal::FILE), |mut to| {
            journals::write(scale, unwinder, &shared.settings, &mut to)
        })?;
    }
    let (last, _) = shared.last();
    for (name, content) in [
        ("last-analysis.json", &last.report),
        ("last-analysis.html", &last.page),
    ] {
        if !content.is_empty() {
            put(&folder.join(name), |to| to.write_all(content))?;
        }
    }
    Ok(())
}

/// Writes a file to a temporary name and renames it.
fn put(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let new = NewFile::beside(path)?;
    let mut to = BufWriter::new(new.file());
    write(&mut to)?;
    to.flush()?;
    drop(to);
    new.name(path)
}
