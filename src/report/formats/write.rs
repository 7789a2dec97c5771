//! A report in any format.

use super::format::Format;
use super::{
    collapsed, csv, dhat, flame, html, jeprof, junit, markdown, openmetrics, pprof, sarif,
    speedscope,
};
use crate::base::error::Error;
use crate::model::report::Report;

/// The report in a format.
///
/// # Errors
/// If the format cannot represent the report. It can represent every report that a run writes.
pub fn render(report: &Report, format: Format) -> Result<Vec<u8>, Error> {
    let report = match format {
        // JSON escapes control characters itself, and is to be read back unchanged.
        Format::Json => report,
        _ => &report.cleaned(),
    };
    match format {
        Format::Terminal => Ok(report.to_string().into_bytes()),
        Format::Json => Ok((report.to_json() + "\n").into_bytes()),
        Format::Html => Ok(html::render(report).into_bytes()),
        Format::Flame => flame::flame(report),
        Format::Icicle => flame::icicle(report),
        Format::Dhat => Ok(dhat::render(report)),
        Format::Pprof => pprof::render(report),
        Format::Jeprof => jeprof::render(report).map(String::into_bytes),
        Format::Collapsed => collapsed::render(report).map(String::into_bytes),
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
