//! The types of a model's numbers. Everything is computed in `f32`, so what would wrap around in a
//! type of few bits is refused, not computed as something else.

use super::call::Call;
use super::config::{LayerSpec, ModelSpec};
use super::layers::operation::{Operation, Reached, cast_to};
use super::npy::Array;
use super::wiring::Given;

/// Types that a layer may compute in or hand on.
const KNOWN: &[&str] = &[
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

/// Up to here an `f32` tells whole numbers apart.
const MOST_WHOLE: f32 = 16_777_216.0;

const FLOAT: &str = "float32";

/// Most outputs of a layer: two directions with two states each.
const MOST_OUTPUTS: usize = 6;

/// Whether it is the name of a type or of a policy.
pub(super) fn is_known(dtype: &str) -> bool {
    KNOWN.contains(&dtype)
}

/// The numbers that a type of few bits has, or one without a sign.
fn range(dtype: &str) -> Option<(f32, f32)> {
    Some(match dtype {
        "int8" => (-128.0, 127.0),
        "uint8" => (0.0, 255.0),
        "int16" => (-32_768.0, 32_767.0),
        "uint16" => (0.0, 65_535.0),
        "uint32" | "uint64" => (0.0, MOST_WHOLE),
        _ => return None,
    })
}

/// The input's values as Keras makes them of what it is given.
///
/// # Errors
/// If one is none of its type.
pub(super) fn converted(dtype: &str, mut array: Array) -> Result<Array, String> {
    for value in &mut array.values {
        match dtype {
            "bool" => *value = f32::from(u8::from(*value != 0.0)),
            whole if whole.contains("int") => *value = value.trunc(),
            _ => {}
        }
        let range = range(dtype).or(dtype.contains("int").then_some((-MOST_WHOLE, MOST_WHOLE)));
        if range.is_some_and(|(least, most)| !(least..=most).contains(value)) {
            return Err(format!(
                "is of the type `{dtype}`, and is given {value}, which is not supported"
            ));
        }
    }
    Ok(array)
}

/// Refuses calls whose result would wrap around.
///
/// # Errors
/// If there is one: its layer is named.
pub(super) fn refuse_wrapping(spec: &ModelSpec, is_keras_2: bool) -> Result<(), String> {
    types(spec, is_keras_2).map(drop)
}

/// The types of a model's outputs.
fn types(spec: &ModelSpec, is_keras_2: bool) -> Result<Vec<&str>, String> {
    let of_input = |name: &str| {
        let layer = spec.layers.iter().find(|layer| layer.name == name);
        layer.and_then(LayerSpec::dtype).unwrap_or(FLOAT)
    };
    let inputs = spec.inputs.iter().map(|input| of_input(&input.layer));
    let inputs: Vec<&str> = inputs.collect();
    let calls = |layer: usize| &spec.layers[layer].calls[..];
    spec.wiring.run(&inputs, calls, |(layer, _), call, given| {
        let layer = &spec.layers[layer];
        if let Some(model) = &layer.model {
            // Its inputs have types of their own.
            return types(model, is_keras_2);
        }
        let made = made(layer, call, &given, is_keras_2);
        let made = made.map_err(|what| {
            let (name, class) = (layer.name.escape_debug(), layer.class.escape_debug());
            format!("layer `{name}` of the class `{class}`: {what}")
        })?;
        Ok(vec![made; MOST_OUTPUTS])
    })
}

/// The type that a call gives.
fn made<'a>(
    layer: &'a LayerSpec,
    call: &'a Call,
    given: &Given<&'a str>,
    is_keras_2: bool,
) -> Result<&'a str, String> {
    let named = given.named.iter().map(|(_, dtype)| *dtype);
    let tensors: Vec<&str> = given.args.iter().copied().chain(named).collect();
    let first = tensors.first().copied().unwrap_or(FLOAT);
    let joined = match tensors.iter().all(|dtype| *dtype == first) {
        true => first,
        false => FLOAT,
    };
    let reached = match layer.is_operation {
        true => {
            if let Some(to) = cast_to(layer, call) {
                if range(to).is_some() && to != first && first != "bool" {
                    return Err(format!("a cast of `{first}` to `{to}` is not supported"));
                }
                return Ok(to);
            }
            let operation = Operation::of(layer, call)?;
            if call.has_fraction() && !matches!(operation, Operation::Items(_)) {
                return Ok(FLOAT);
            }
            operation.reached(is_keras_2)
        }
        false => of_layer(&layer.class),
    };
    match reached {
        Reached::Same => Ok(joined),
        Reached::Truth => Ok("bool"),
        Reached::Float => Ok(FLOAT),
        Reached::Counted if joined == FLOAT => Ok(FLOAT),
        Reached::Counted => Ok("int32"),
        // What is true counts as 1 beside a number.
        Reached::Beyond if joined == "bool" && tensors.len() == 1 => Ok("int32"),
        Reached::Beyond if range(joined).is_some() || joined == "bool" => Err(format!(
            "what it computes in the type `{joined}` may wrap around, which is not supported"
        )),
        Reached::Beyond => Ok(joined),
        Reached::Rounded if joined.contains("int") => Err(format!(
            "a mean in the type `{joined}` is rounded, which is not supported"
        )),
        Reached::Rounded => Ok(joined),
    }
}

fn of_layer(class: &str) -> Reached {
    match class {
        "Add" | "Subtract" | "Multiply" | "Average" => Reached::Beyond,
        "Maximum" | "Minimum" | "Concatenate" | "Flatten" | "Reshape" | "Permute"
        | "RepeatVector" | "Masking" => Reached::Same,
        class
            if ["Pad", "Crop", "UpSampl", "Dropout", "Max"]
                .iter()
                .any(|c| class.contains(c)) =>
        {
            Reached::Same
        }
        _ => Reached::Float,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_converted_to_its_type() {
        let convert = |dtype: &str, values: &[f32]| {
            let array = Array {
                shape: vec![values.len()],
                values: values.to_vec(),
            };
            converted(dtype, array).map(|array| array.values)
        };
        assert_eq!(convert("int32", &[1.9, -1.9]), Ok(vec![1.0, -1.0]));
        assert_eq!(convert("bool", &[0.3, 0.0]), Ok(vec![1.0, 0.0]));
        assert_eq!(convert("float32", &[0.3]), Ok(vec![0.3]));
        assert_eq!(convert("uint8", &[255.5]), Ok(vec![255.0]));
        assert!(convert("uint8", &[-1.0]).is_err() && convert("int8", &[128.0]).is_err());
        assert!(convert("int64", &[1e9]).is_err());
    }
}
