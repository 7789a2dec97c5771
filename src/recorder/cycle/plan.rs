//! The plan that the parent handed to this process.

use crate::base::error::Error;
use crate::model::plan::{ENV_PARENT, ENV_PLAN, Plan};

/// The plan of this process; `None` if it is not a measured child.
///
/// # Errors
/// If there is a plan that cannot be read.
pub(crate) fn received() -> Result<Option<Plan>, Error> {
    let parent = std::env::var(ENV_PARENT).ok();
    if parent.and_then(|id| id.parse().ok()) != Some(std::os::unix::process::parent_id()) {
        return Ok(None);
    }
    let Ok(text) = std::env::var(ENV_PLAN) else {
        return Ok(None);
    };
    serde_json::from_str(&text).map(Some).map_err(|e| {
        Error::usage(format!("cannot read the plan in {ENV_PLAN}: {e}"))
            .hint("afterdrop sets it for the process that it measures: unset it")
    })
}
