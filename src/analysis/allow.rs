//! Known leaks: growth that is allowed, with a reason, so that only new growth fails.

use regex_lite::Regex;

use crate::base::error::Error;
use crate::model::frame::Frame;
use crate::model::report::CallSite;

/// A pattern over frames, and the reason why the growth that it matches is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Allow {
    pattern: Regex,
    reason: String,
    /// It applies to this workload only.
    only_here: bool,
}

impl Allow {
    /// # Errors
    /// If the pattern is empty or not a regular expression, or if there is no reason.
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
                "the pattern `{}` of an allowed leak is not a regular expression: {e}",
                pattern.escape_debug()
            ))
        })?;
        Ok(Self {
            pattern,
            reason,
            only_here: false,
        })
    }

    /// The same pattern for this workload only: if nothing matches, the entry is not needed.
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

/// Marks growing call sites with a matching frame as allowed. Returns a warning for each entry that
/// matches none, so that entries are removed when leaks are fixed.
pub(crate) fn mark(call_sites: &mut [CallSite], allowed: &[Allow]) -> Vec<String> {
    let mut warnings = Vec::new();
    for allow in allowed {
        let mut matched = false;
        for site in call_sites.iter_mut().filter(|s| s.verdict.is_growth()) {
            if allow.matches(site) {
                matched = true;
                site.allowed.get_or_insert_with(|| allow.reason.clone());
            }
        }
        if !matched {
            let advice = if allow.only_here {
                "was not seen: remove the entry if it is fixed"
            } else {
                "was not seen in this workload: remove the entry if no other workload has it"
            };
            let (pattern, reason) = (&allow.pattern, &allow.reason);
            warnings.push(format!("the allowed leak `{pattern}` ({reason}) {advice}"));
        }
    }
    warnings
}
