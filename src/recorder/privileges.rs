//! Whether this process has privileges that its user has not.
//!
//! A program that is set-user-ID, set-group-ID, or has file capabilities is started with the
//! environment and in the folders of a user with fewer privileges. It must not be led by them to write
//! files.

use crate::base::error::Error;

/// Whether this process gained privileges when its program was executed.
pub(crate) fn were_gained() -> bool {
    // SAFETY: reads a value that the kernel passed to this process, and has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Checks that a program may read, measure and write for its user.
///
/// # Errors
/// If this process gained privileges.
pub(crate) fn check() -> Result<(), Error> {
    match were_gained() {
        false => Ok(()),
        true => Err(Error::usage(
            "refused to run with privileges that the user does not have (set-user-ID, set-group-ID or \
             file capabilities): nothing is read, measured or written",
        )
        .hint("run a copy of the program without them")),
    }
}
