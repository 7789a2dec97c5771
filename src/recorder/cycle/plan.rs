//! Reads the plan that the parent has passed to this process.

use crate::base::error::Error;
use crate::model::plan::{ENV_PARENT, ENV_PLAN, Plan};
use crate::recorder::privileges;

/// The plan in the environment of this process; `None` if this is not a measured process.
///
/// # Errors
/// If the plan cannot be parsed, or this process gained privileges.
pub(crate) fn received_plan() -> Result<Option<Plan>, Error> {
    privileges::check()?;
    let parent = std::env::var(ENV_PARENT).ok();
    if parent.and_then(|id| id.parse().ok()) != Some(std::os::unix::process::parent_id()) {
        return Ok(None);
    }
    let Ok(text) = std::env::var(ENV_PLAN) else {
        return Ok(None);
    };
    // As bytes, like the journal: each kind of reader is compiled for each type that it reads.
    serde_json::from_slice(text.as_bytes())
        .map(Some)
        .map_err(|e| {
            Error::usage(format!(
                "cannot parse the environment variable {ENV_PLAN}: {e}"
            ))
            .hint("unset it: only afterdrop sets it, for the process that it measures")
        })
}
