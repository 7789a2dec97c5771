//! Known leaks: growth that is expected, with a reason, so that only what is new fails.

use regex_lite::Regex;

use crate::base::error::Error;
use crate::model::frame::Frame;
use crate::model::report::CallSite;

/// A pattern over frames, and why what it matches is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Allow {
    pattern: Regex,
    reason: String,
    /// It is meant for this workload alone.
    only_here: bool,
}

impl Allow {
    /// # Errors
    /// If the pattern is empty or no regular expression, or there is no reason.
    pub(crate) fn new(pattern: &str, reason: impl Into<String>) -> Result<Self, Error> {
        let reason = reason.into();
        if pattern.is_empty() {
            return Err(Error::usage("an empty pattern would allow every leak"));
        }
        if reason.trim().is_empty() {
            let pattern = pattern.escape_debug();
            return Err(Error::usage(format!(
                "the allowed leak `{pattern}` has no reason"
            )));
        }
        let pattern = Regex::new(pattern).map_err(|e| {
            Error::usage(format!(
                "the pattern `{}` of an allowed leak is no regular expression: {e}",
                pattern.escape_debug()
            ))
        })?;
        Ok(Self {
            pattern,
            reason,
            only_here: false,
        })
    }

    /// It is meant for this workload alone, so that nothing else can have use for it.
    pub(crate) fn only_here(self) -> Self {
        Self {
            only_here: true,
            ..self
        }
    }

    /// Whether the pattern matches a frame of the call site as `function file:line`.
    fn matches(&self, site: &CallSite) -> bool {
        let text = |f: &Frame| {
            let (file, line) = (f.file.as_deref().unwrap_or_default(), f.line.unwrap_or(0));
            format!("{} {file}:{line}", f.function)
        };
        site.stack.iter().any(|f| self.pattern.is_match(&text(f)))
    }
}

/// Marks the growing call sites of which a frame matches, with the reason. Gives a sentence for each
/// entry that matches none, so that the list shrinks as leaks are mended.
pub(crate) fn mark(call_sites: &mut [CallSite], allowed: &[Allow]) -> Vec<String> {
    let mut unseen = Vec::new();
    for allow in allowed {
        let mut matched = false;
        for site in call_sites.iter_mut().filter(|s| s.verdict.is_growth()) {
            if allow.matches(site) {
                matched = true;
                site.allowed.get_or_insert_with(|| allow.reason.clone());
            }
        }
        if !matched {
            let so = if allow.only_here {
                "was not seen: if it is mended, take the entry out"
            } else {
                "was not seen here: if no other workload has it, take the entry out"
            };
            let (pattern, reason) = (&allow.pattern, &allow.reason);
            unseen.push(format!("the allowed leak `{pattern}` ({reason}) {so}"));
        }
    }
    unseen
}
