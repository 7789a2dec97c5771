//! What knows nothing of the product: errors, files, names, numbers.

pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod json;
pub(crate) mod names;
pub(crate) mod new_file;
pub(crate) mod order;
#[cfg(any(feature = "preload", test))]
pub(crate) mod pattern;
pub(crate) mod private_folder;
pub(crate) mod random;
pub(crate) mod statistics;
pub(crate) mod text;
pub(crate) mod units;
pub(crate) mod vec_map;
