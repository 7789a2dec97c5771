//! Known leaks: growth that is expected, with a reason, so that only what is new fails.

use regex_lite::Regex;

use crate::error::Error;
use crate::report::{Frame, Report, Site};

/// A pattern over frames, and why what it matches is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Allow {
    pattern: String,
    reason: String,
}

impl Allow {
    pub(crate) fn new(pattern: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            reason: reason.into(),
        }
    }
}

/// Marks the growing sites of which a frame matches, with the reason. An entry that matches none is
/// said in the report's warnings, so that the list shrinks as leaks are mended.
///
/// # Errors
/// If a pattern is no regular expression.
pub(crate) fn mark(report: &mut Report, allowed: &[Allow]) -> Result<(), Error> {
    for allow in allowed {
        let pattern = Regex::new(&allow.pattern).map_err(|e| {
            Error::usage(format!(
                "the pattern `{}` of an allowed leak is no regular expression: {e}",
                allow.pattern.escape_debug()
            ))
        })?;
        let growing = report.sites.iter_mut().filter(|s| s.verdict.is_growth());
        let mut matched = false;
        for site in growing.filter(|s| is_matched(s, &pattern)) {
            matched = true;
            site.allowed.get_or_insert_with(|| allow.reason.clone());
        }
        if !matched {
            report.warnings.push(format!(
                "the allowed leak `{}` ({}) was not seen: if it is mended, take the entry out",
                allow.pattern, allow.reason
            ));
        }
    }
    Ok(())
}

/// Whether the pattern matches a frame of the site as `function file:line`.
fn is_matched(site: &Site, pattern: &Regex) -> bool {
    let text = |f: &Frame| {
        let (file, line) = (f.file.as_deref().unwrap_or_default(), f.line.unwrap_or(0));
        format!("{} {file}:{line}", f.function)
    };
    site.stack.iter().any(|f| pattern.is_match(&text(f)))
}
