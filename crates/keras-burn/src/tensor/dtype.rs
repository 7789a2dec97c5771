//! The types of a model's numbers, by their names in Keras.
//!
//! Everything is computed in `f32`. A result that would wrap around in its own type is refused, not
//! computed as something else.

use crate::array::Array;

/// The default type of numbers.
pub(crate) const FLOAT: &str = "float32";

/// The types, and the policies of mixed precision, that a layer may compute in.
const KNOWN: [&str; 15] = [
    "bfloat16",
    "bool",
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "int8",
    "mixed_bfloat16",
    "mixed_float16",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
];

/// The largest integer up to which `f32` represents every integer.
const MAX_INTEGER: f32 = 16_777_216.0;

/// Whether it is the name of a type or policy.
pub(crate) fn is_known(dtype: &str) -> bool {
    KNOWN.contains(&dtype)
}

/// Whether it is a type or policy of two bytes.
pub(crate) fn is_half(dtype: &str) -> bool {
    dtype.ends_with("float16")
}

pub(crate) fn is_integer(dtype: &str) -> bool {
    dtype.contains("int")
}

/// The numbers of a type that is narrow, or that has no negative ones.
pub(crate) fn range(dtype: &str) -> Option<(f32, f32)> {
    Some(match dtype {
        "int8" => (-128.0, 127.0),
        "uint8" => (0.0, 255.0),
        "int16" => (-32_768.0, 32_767.0),
        "uint16" => (0.0, 65_535.0),
        "uint32" | "uint64" => (0.0, MAX_INTEGER),
        _ => return None,
    })
}

/// An input's values as Keras converts them to the input's type.
///
/// # Errors
/// If the type does not have one of them. The message completes the sentence "input `x` …".
pub(crate) fn convert(dtype: &str, mut array: Array) -> Result<Array, String> {
    if dtype == "bool" {
        for value in &mut array.values {
            *value = f32::from(u8::from(*value != 0.0));
        }
    }
    if !is_integer(dtype) {
        return Ok(array);
    }
    let (least, most) = range(dtype).unwrap_or((-MAX_INTEGER, MAX_INTEGER));
    for value in &mut array.values {
        *value = value.trunc();
        if !(least..=most).contains(value) {
            return Err(format!(
                "has the type `{dtype}`, of which the value {value} is not supported"
            ));
        }
    }
    Ok(array)
}

/// The type of the result of a layer or operation, given the type of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultType {
    /// That of the operands.
    Same,
    /// `bool`.
    Bool,
    /// A type of floats.
    Float,
    /// That of the operands, which may be too narrow for the result.
    MayWrap,
    /// A type of integers that is wide enough.
    Wide,
    /// That of the operands, to which fractions are rounded.
    Rounded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_converted_to_its_type() {
        let converted = |dtype: &str, values: &[f32]| {
            let array = Array {
                shape: vec![values.len()],
                values: values.to_vec(),
            };
            convert(dtype, array).map(|array| array.values)
        };
        assert_eq!(converted("int32", &[1.9, -1.9]), Ok(vec![1.0, -1.0]));
        assert_eq!(converted("bool", &[0.3, 0.0]), Ok(vec![1.0, 0.0]));
        assert_eq!(converted("float32", &[0.3]), Ok(vec![0.3]));
        assert_eq!(converted("uint8", &[255.5]), Ok(vec![255.0]));
        assert!(converted("uint8", &[-1.0]).is_err() && converted("int8", &[128.0]).is_err());
        assert!(converted("int64", &[1e9]).is_err());
        assert!(converted("int32", &[f32::NAN]).is_err());
    }
}
