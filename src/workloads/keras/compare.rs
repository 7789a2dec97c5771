//! Predictions compared with the expected ones.

use keras_burn::Array;

/// Largest difference of a value from the expected one: absolute, and relative to it.
const ABSOLUTE: f32 = 1e-5;
const RELATIVE: f32 = 1e-4;

/// Compares each output with what is expected of it, or all outputs with all expected values in a
/// row.
///
/// # Errors
/// If a value or a shape differs: the first one is named.
pub(super) fn all(outputs: &[Array], expected: &[Array]) -> Result<(), String> {
    let counts = |arrays: &[Array]| arrays.iter().map(|a| a.values().len()).collect::<Vec<_>>();
    if outputs.len() < 2 || counts(outputs) != counts(expected) {
        let in_a_row = |arrays: &[Array]| {
            let values = arrays.iter().flat_map(|array| array.values());
            values.copied().collect::<Vec<f32>>()
        };
        values(&in_a_row(outputs), &in_a_row(expected))?;
    } else {
        for (n, (output, expected)) in outputs.iter().zip(expected).enumerate() {
            let same = values(output.values(), expected.values());
            same.map_err(|what| format!("output {n} of {}: {what}", outputs.len()))?;
        }
    }
    shapes(outputs, expected)
}

/// Compares values. NaN is expected to be NaN, and an infinity to be the same one.
fn values(output: &[f32], expected: &[f32]) -> Result<(), String> {
    if output.len() != expected.len() {
        return Err(format!(
            "the output has {} values, and {} are expected",
            output.len(),
            expected.len()
        ));
    }
    let differs = |(o, e): (&f32, &f32)| {
        // The tolerance of an infinity would be infinite, too.
        let is_near = e.is_finite() && (o - e).abs() <= ABSOLUTE + RELATIVE * e.abs();
        !(is_near || o == e || (o.is_nan() && e.is_nan()))
    };
    match output.iter().zip(expected).position(differs) {
        Some(at) => Err(format!(
            "value {at} of the output is {}, and {} is expected",
            output[at], expected[at]
        )),
        None => Ok(()),
    }
}

/// Compares shapes. An expected array of one axis may have all values of an output in a row.
fn shapes(outputs: &[Array], expected: &[Array]) -> Result<(), String> {
    if expected.len() != outputs.len() {
        return Ok(());
    }
    let differs = |(o, e): &(&Array, &Array)| e.shape().len() > 1 && o.shape() != e.shape();
    match outputs.iter().zip(expected).find(differs) {
        Some((output, expected)) => Err(format!(
            "the output has the shape {:?}, and {:?} is expected",
            output.shape(),
            expected.shape()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], values: &[f32]) -> Array {
        Array::new(shape.to_vec(), values.to_vec()).unwrap()
    }

    #[test]
    fn the_output_that_differs_is_named() {
        let row = |values: &[f32]| array(&[1, values.len()], values);
        let outputs = [row(&[1.0]), row(&[2.0, 3.0])];
        assert!(all(&outputs, &outputs).is_ok());
        assert!(all(&outputs, &[row(&[1.0, 2.0, 3.0])]).is_ok());
        let error = all(&outputs, &[row(&[1.0]), row(&[2.0, 4.0])]).unwrap_err();
        assert_eq!(
            error,
            "output 1 of 2: value 1 of the output is 3, and 4 is expected"
        );
    }

    #[test]
    fn a_different_shape_is_found() {
        let zeros = |shape: &[usize]| [array(shape, &[0.0; 15])];
        let output = zeros(&[5, 3]);
        assert!(all(&output, &zeros(&[5, 3])).is_ok());
        assert!(all(&output, &zeros(&[15])).is_ok());
        let error = all(&output, &zeros(&[3, 5])).unwrap_err();
        assert!(error.contains("[5, 3], and [3, 5] is expected"), "{error}");
    }

    #[test]
    fn infinities_and_nan_are_compared_exactly() {
        assert!(values(&[1.0], &[f32::INFINITY]).is_err());
        assert!(values(&[f32::INFINITY], &[f32::INFINITY]).is_ok());
        assert!(values(&[f32::NEG_INFINITY], &[f32::INFINITY]).is_err());
        assert!(values(&[1.0, f32::NAN], &[1.000_05, f32::NAN]).is_ok());
        assert!(values(&[1.0], &[1.001]).is_err());
        assert!(values(&[f32::NAN], &[1.0]).is_err());
        assert!(values(&[1.0], &[1.0, 2.0]).is_err());
    }
}
