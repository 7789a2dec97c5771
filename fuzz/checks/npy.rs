//! What is read of a `.npy` or `.npz` file.

use std::path::Path;

use keras_burn::read_arrays;

/// Reads the arrays of a file.
///
/// # Panics
/// If an array has not as many values as its shape says.
pub fn check(path: &Path) {
    match read_arrays(path) {
        Ok(arrays) => {
            for (_, array) in arrays {
                let count: usize = array.shape().iter().product();
                assert_eq!(array.values().len(), count, "{:?}", array.shape());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
