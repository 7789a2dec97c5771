//! Known leaks: growth that is expected, with a reason, so that only what is new fails.

use regex_lite::Regex;

use crate::error::Error;
use crate::report::{Frame, Site};

/// A pattern over frames, and why what it matches is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Allow {
    pattern: Regex,
    reason: String,
}

impl Allow {
    /// # Errors
    /// If the pattern is no regular expression.
    pub(crate) fn new(pattern: &str, reason: impl Into<String>) -> Result<Self, Error> {
        let pattern = Regex::new(pattern).map_err(|e| {
            Error::usage(format!(
                "the pattern `{}` of an allowed leak is no regular expression: {e}",
                pattern.escape_debug()
            ))
        })?;
        Ok(Self {
            pattern,
            reason: reason.into(),
        })
    }

    /// Whether the pattern matches a frame of the site as `function file:line`.
    fn matches(&self, site: &Site) -> bool {
        let text = |f: &Frame| {
            let (file, line) = (f.file.as_deref().unwrap_or_default(), f.line.unwrap_or(0));
            format!("{} {file}:{line}", f.function)
        };
        site.stack.iter().any(|f| self.pattern.is_match(&text(f)))
    }
}

/// Marks the growing sites of which a frame matches, with the reason. Gives a sentence for each
/// entry that matches none, so that the list shrinks as leaks are mended.
pub(crate) fn mark(sites: &mut [Site], allowed: &[Allow]) -> Vec<String> {
    let mut unseen = Vec::new();
    for allow in allowed {
        let mut matched = false;
        for site in sites.iter_mut().filter(|s| s.verdict.is_growth()) {
            if allow.matches(site) {
                matched = true;
                site.allowed.get_or_insert_with(|| allow.reason.clone());
            }
        }
        if !matched {
            unseen.push(format!(
                "the allowed leak `{}` ({}) was not seen: if it is mended, take the entry out",
                allow.pattern, allow.reason
            ));
        }
    }
    unseen
}
