//! Errors of the reader as errors of this crate.

use crate::base::error::Error;

/// An error of the reader, which names the file and the cause.
pub(super) fn from_reader(error: keras_burn::Error) -> Error {
    Error::usage(error.to_string())
}
