//! The helper process: the executable of the service, started again to read debug information and to judge, so that
//! the service itself stays small. It ends when it has answered.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::growth::Growth;
use super::reports::{report, worst};
use crate::analysis::config;
use crate::analysis::journal::Reader;
use crate::base::error::Error;
use crate::base::text::{count, one_line};
use crate::model::report::Report;
use crate::recorder::heap::{ENV_HEAP, ENV_LIVE};
use crate::recorder::privileges;
use crate::report::formats::{Format, render};

/// Environment variable that makes a process the helper.
const ENV_HELPER: &str = "AFTERDROP_LIVE_HELPER";

/// A helper that takes longer gives up: the service waits for it.
const MOST_TIME: Duration = Duration::from_secs(60);

/// Bytes of an answer that a service keeps at most, of each part.
const MOST_BYTES: usize = 8 << 20;

/// How a line begins that says why there is no answer.
const FAILED: &str = "failed: ";

/// Call sites that a report of a service lists.
const MOST_SITES: usize = 200;

/// What a helper has found out.
#[derive(Debug, Default)]
pub(super) struct Analysis {
    /// The growth of the call sites, the worst first.
    pub(super) growth: Growth,
    /// `report.json`.
    pub(super) report: Vec<u8>,
    /// The report as a page.
    pub(super) page: Vec<u8>,
    /// pprof's profile with names.
    pub(super) profile: Vec<u8>,
}

/// Starts a helper, passes the journals of all scales to it, and waits for its answer. Each journal ends with an empty
/// line.
///
/// # Errors
/// If it cannot be started, or has not answered.
pub(super) fn ask(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Analysis, Error> {
    let failed = |what: &str| Error::child(format!("the helper that judges the service {what}"));
    let mut child = start().map_err(|e| failed(&format!("could not be started: {e}")))?;
    let answer = talk(&mut child, write);
    // It has closed its output, or is of no use any more.
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child.wait();
    match (answer, status) {
        (Ok(analysis), _) => Ok(analysis),
        (Err(error), Ok(status)) => Err(failed(&format!("has not answered: {error} ({status})"))),
        (Err(error), Err(_)) => Err(failed(&format!("has not answered: {error}"))),
    }
}

fn start() -> io::Result<Child> {
    let text = |name: &core::ffi::CStr| name.to_string_lossy().into_owned();
    Command::new("/proc/self/exe")
        .env(ENV_HELPER, "1")
        .env(text(ENV_LIVE), "off")
        .env_remove(text(ENV_HEAP))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

fn talk(
    child: &mut Child,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Analysis> {
    let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
    let mut to = BufWriter::new(child.stdin.take().ok_or_else(missing)?);
    write(&mut to)?;
    to.flush()?;
    drop(to);
    let mut from = BufReader::new(child.stdout.take().ok_or_else(missing)?);
    let mut analysis = Analysis {
        growth: serde_json::from_slice(&part(&mut from)?)?,
        ..Analysis::default()
    };
    for to in [
        &mut analysis.report,
        &mut analysis.page,
        &mut analysis.profile,
    ] {
        *to = part(&mut from)?;
    }
    Ok(analysis)
}

/// Reads a part of an answer: its length in a line, and its bytes.
fn part(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    if let Some(message) = line.strip_prefix(FAILED) {
        return Err(io::Error::other(message.trim_end()));
    }
    let length: usize = line
        .trim()
        .parse()
        .map_err(|_| io::ErrorKind::UnexpectedEof)?;
    if length > MOST_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Runs before `main`. In a helper, answers and ends the process.
pub(super) extern "C" fn begin() {
    if std::env::var_os(ENV_HELPER).is_none() || privileges::were_gained() {
        return;
    }
    // If memory runs short, it is to be killed before the service.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    std::thread::spawn(|| {
        std::thread::sleep(MOST_TIME);
        std::process::exit(3);
    });
    let answered = std::panic::catch_unwind(|| {
        let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
        answer(&mut from, &mut to).inspect_err(|error| {
            // The service reads nothing before it has written everything. If it has gone, nobody reads it at all.
            let _ = io::copy(&mut from, &mut io::sink());
            let _ = writeln!(to, "{FAILED}{}", one_line(&error.to_string()));
        })
    });
    std::process::exit(match answered {
        Ok(Ok(())) => 0,
        _ => 3,
    });
}

/// Answers: names what is live now, which the first journal has, judges the scales, which the others have, and writes
/// the report of the worst of them.
fn answer(from: &mut impl BufRead, to: &mut impl Write) -> Result<(), Error> {
    let mut now = next_report(from)?;
    now.summary = "what is live".into();
    let mut reports = Vec::new();
    while !from.fill_buf().map_err(unreadable)?.is_empty() {
        reports.push(next_report(from)?);
    }
    let growth = serde_json::to_vec(&Growth::of(&reports)).map_err(|e| unreadable(e.into()))?;
    let mut parts = [growth, Vec::new(), Vec::new(), render(&now, Format::Pprof)?];
    if let Some(worst) = worst(&reports) {
        let worst = shortened(worst.clone());
        parts[1] = render(&worst, Format::Json)?;
        parts[2] = render(&worst, Format::Html)?;
    }
    let mut to = BufWriter::new(to);
    for part in parts {
        let written = writeln!(to, "{}", part.len()).and_then(|()| to.write_all(&part));
        written.map_err(unreadable)?;
    }
    to.flush().map_err(unreadable)
}

/// A report with as many call sites as a service may keep.
fn shortened(mut report: Report) -> Report {
    let all = report.call_sites.len();
    if all <= MOST_SITES {
        return report;
    }
    report.call_sites.truncate(MOST_SITES);
    let sites = report.call_sites.len() as u32;
    report.profile.stacks.retain(|stack| stack.site < sites);
    report.warnings.push(format!(
        "of {} only the worst {MOST_SITES} are listed: the profile has all of them",
        count(all as u64, "call site")
    ));
    report
}

fn unreadable(error: io::Error) -> Error {
    Error::child(format!("the service has gone: {error}"))
}

/// Reads a journal, and makes its report.
fn next_report(from: &mut impl BufRead) -> Result<Report, Error> {
    let journal = Reader::read_from("of the service", from)?;
    let config = config::load(&journal.start.workload)?;
    Ok(report(&journal, config).without_home())
}
