//! The settings of one layer, read with the defaults that Keras has for them.

use serde_json::{Map, Value};

/// The `config` object of a layer. Error messages complete the sentence "layer `x`: …".
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    map: &'a Map<String, Value>,
    /// Written by Keras 2, which gives some names another meaning.
    pub(crate) is_keras_2: bool,
}

/// A layer that stands in the settings of another one, which wraps it.
pub(crate) struct Wrapped<'a> {
    pub(crate) class: &'a str,
    pub(crate) name: &'a str,
    pub(crate) settings: Settings<'a>,
    /// The layer is in the model more than once, with one set of weights.
    pub(crate) is_shared: bool,
}

impl<'a> Settings<'a> {
    /// The settings that can hold a wrapped layer.
    pub(crate) const WRAPPED: [&'static str; 2] = ["layer", "backward_layer"];

    pub(crate) fn new(map: &'a Map<String, Value>, is_keras_2: bool) -> Self {
        Self { map, is_keras_2 }
    }

    /// A value; `None` if it is missing or null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// A value, also if it is null; `None` if it is missing.
    pub(crate) fn get_or_null(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    /// The message for a value that is not what it must be.
    pub(crate) fn wrong(&self, key: &str, must_be: &str) -> String {
        match self.map.get(key) {
            None => format!("its `{key}` must be {must_be}, and is missing"),
            Some(value) => format!("its `{key}` must be {must_be}, got {}", shown(value)),
        }
    }

    /// The message for a value that Keras allows.
    pub(crate) fn unsupported(&self, key: &str) -> String {
        let value = self.map.get(key).unwrap_or(&Value::Null);
        format!("its `{key}` is {}, which is not supported", shown(value))
    }

    /// Refuses a setting that would change the result, unless it has one of these values.
    pub(crate) fn refuse(&self, key: &str, harmless: &[Value]) -> Result<(), String> {
        match self.get(key) {
            Some(value) if !harmless.contains(value) => Err(self.unsupported(key)),
            _ => Ok(()),
        }
    }

    /// Refuses images and sequences whose channels come before their other axes.
    pub(crate) fn require_channels_last(&self) -> Result<(), String> {
        self.refuse("data_format", &[Value::from("channels_last")])
    }

    /// A count of units, filters or the like.
    pub(crate) fn size(&self, key: &str) -> Result<usize, String> {
        let value = self.get(key).and_then(Value::as_u64);
        let value = value.filter(|v| (1..1 << 32).contains(v));
        value
            .map(|v| v as usize)
            .ok_or_else(|| self.wrong(key, "a positive integer below 2^32"))
    }

    pub(crate) fn size_or(&self, key: &str, default: usize) -> Result<usize, String> {
        match self.get(key) {
            Some(_) => self.size(key),
            None => Ok(default),
        }
    }

    pub(crate) fn number(&self, key: &str, default: f64) -> f64 {
        self.get(key).and_then(Value::as_f64).unwrap_or(default)
    }

    /// One number or a list of numbers; `None` if it is missing.
    pub(crate) fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>, String> {
        let number = |v: &Value| v.as_f64().map(|v| v as f32);
        let numbers = match self.get(key) {
            None => return Ok(None),
            Some(Value::Array(all)) => all.iter().map(number).collect(),
            Some(one) => number(one).map(|v| vec![v]),
        };
        let wrong = || self.wrong(key, "a number or a list of numbers");
        numbers.map(Some).ok_or_else(wrong)
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    pub(crate) fn text(&self, key: &str, default: &'static str) -> &'a str {
        self.get(key).and_then(Value::as_str).unwrap_or(default)
    }

    /// The number of an axis, counted from the end if negative.
    pub(crate) fn axis(&self, key: &str, default: i64) -> Result<i64, String> {
        match self.get(key) {
            None => Ok(default),
            Some(axis) => axis.as_i64().ok_or_else(|| self.wrong(key, "an axis")),
        }
    }

    /// The numbers of one or several axes, counted from the end if negative; `None` if it is
    /// missing.
    pub(crate) fn axes(&self, key: &str) -> Result<Option<Vec<i64>>, String> {
        let axes = match self.get(key) {
            None => return Ok(None),
            Some(Value::Array(axes)) => axes.iter().map(Value::as_i64).collect(),
            Some(axis) => axis.as_i64().map(|axis| vec![axis]),
        };
        let wrong = || self.wrong(key, "an axis or a list of axes");
        axes.map(Some).ok_or_else(wrong)
    }

    /// A size for each of `N` axes, from one number for all or a list of numbers.
    fn sizes<const N: usize>(
        &self,
        key: &str,
        default: Option<usize>,
    ) -> Result<[usize; N], String> {
        let size = |v: &Value| size_below(v, 1, 1 << 20);
        let sizes = match (self.get(key), default) {
            (None, Some(default)) => Some([default; N]),
            (None, None) => None,
            (Some(Value::Array(all)), _) => {
                let all: Option<Vec<usize>> = all.iter().map(size).collect();
                all.and_then(|all| all.try_into().ok())
            }
            (Some(one), _) => size(one).map(|s| [s; N]),
        };
        let must_be = match N {
            1 => "a positive integer below 2^20",
            _ => "one or two positive integers below 2^20",
        };
        sizes.ok_or_else(|| self.wrong(key, must_be))
    }

    /// A size for the height and the width of an image. A sequence is an image of height 1, and has
    /// one size.
    pub(crate) fn image_sizes(
        &self,
        is_sequence: bool,
        key: &str,
        default: Option<usize>,
    ) -> Result<[usize; 2], String> {
        match is_sequence {
            true => self.sizes::<1>(key, default).map(|[width]| [1, width]),
            false => self.sizes(key, default),
        }
    }

    /// The wrapped layer in a setting.
    pub(crate) fn wrapped(&self, key: &str) -> Result<Wrapped<'a>, String> {
        let layer = self.get(key);
        let class = layer.and_then(|l| l.get("class_name")?.as_str());
        let map = layer.and_then(|l| l.get("config")?.as_object());
        let (Some(layer), Some(class), Some(map)) = (layer, class, map) else {
            return Err(self.wrong(key, "a layer"));
        };
        Ok(Wrapped {
            class,
            name: map.get("name").and_then(Value::as_str).unwrap_or(""),
            settings: Self { map, ..*self },
            is_shared: layer.get("shared_object_id").is_some(),
        })
    }
}

/// An integer from `least` up to and not including `end`.
pub(crate) fn size_below(value: &Value, least: u64, end: u64) -> Option<usize> {
    let value = value.as_u64().filter(|v| (least..end).contains(v));
    value.map(|v| v as usize)
}

/// The beginning of a value's JSON, for a message.
fn shown(value: &Value) -> String {
    const MAX: usize = 60;
    let text = match value {
        Value::String(text) => format!("`{}`", text.escape_debug()),
        other => other.to_string(),
    };
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_says_what_a_value_must_be_and_what_it_is() {
        let map = json!({"units": -3, "activation": "mine", "axes": [1, "x"], "size": [1, 2, 3]});
        let settings = Settings::new(map.as_object().unwrap(), false);
        assert_eq!(
            settings.size("units").unwrap_err(),
            "its `units` must be a positive integer below 2^32, got -3"
        );
        assert_eq!(
            settings.size("filters").unwrap_err(),
            "its `filters` must be a positive integer below 2^32, and is missing"
        );
        assert_eq!(
            settings.refuse("activation", &[]).unwrap_err(),
            "its `activation` is `mine`, which is not supported"
        );
        assert_eq!(
            settings.axes("axes").unwrap_err(),
            "its `axes` must be an axis or a list of axes, got [1,\"x\"]"
        );
        assert_eq!(
            settings.image_sizes(false, "size", None).unwrap_err(),
            "its `size` must be one or two positive integers below 2^20, got [1,2,3]"
        );
        assert_eq!(settings.image_sizes(true, "none", Some(2)), Ok([1, 2]));
    }
}
