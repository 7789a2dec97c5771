//! Arrays of numbers, as a model takes and gives them.

use crate::error::{Error, Result};

/// Numbers in row-major order (the last axis varies fastest), with their shape.
///
/// All numbers are `f32`, whatever type they had in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Array {
    /// An array of a shape.
    ///
    /// # Errors
    /// If the product of the sizes in `shape` is not the number of values.
    ///
    /// # Example: two rows of three numbers
    /// ```
    /// use keras_burn::Array;
    ///
    /// let array = Array::new(vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    /// assert_eq!(array.shape(), [2, 3]);
    /// assert!(Array::new(vec![2, 2], vec![0.0]).is_err());
    /// ```
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self> {
        let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if count != Some(values.len()) {
            return Err(Error::input(None, wrong_count(values.len(), &shape)));
        }
        Ok(Self { shape, values })
    }

    /// The size of each axis; empty for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The numbers, in row-major order, without a copy.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// The message for values that are too few or too many for a shape.
pub(crate) fn wrong_count(values: usize, shape: &[usize]) -> String {
    format!("{values} values cannot have the shape {shape:?}")
}
