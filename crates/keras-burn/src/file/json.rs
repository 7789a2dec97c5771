//! A JSON parser with a memory limit: the size of all values is added up before any of them is kept.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Longest text, in bytes: the largest known configurations have half a megabyte.
pub(super) const MAX_TEXT: usize = 16 << 20;
/// Most memory for the parsed values, in bytes: the largest known take a third of it.
const MAX_PARSED: usize = 40 << 20;
/// Approximate memory of a value, with its slot in the array or object that holds it.
const VALUE: usize = 64;
/// Approximate additional memory of an object: its map allocates nodes of several entries.
const OBJECT: usize = 640;

/// Parses the text of a configuration. `name` is for messages.
///
/// # Errors
/// If it is not JSON, is too large, or is nested more than 128 levels deep.
pub(super) fn parse(name: &str, text: &str) -> Result<Value, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("`{name}` is longer than {MAX_TEXT} bytes"));
    }
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let broken = |e: serde_json::Error| match e.to_string().starts_with("recursion limit") {
        true => format!("`{name}` is nested more than 128 levels deep"),
        false => format!("`{name}` is not JSON: {e}"),
    };
    let left = Cell::new(MAX_PARSED);
    let mut parser = serde_json::Deserializer::from_str(text);
    let counted = Countdown(&left).deserialize(&mut parser);
    if left.get() == 0 {
        return Err(format!(
            "`{name}` has too many values: they would take more than {MAX_PARSED} bytes of memory"
        ));
    }
    counted.map_err(broken)?;
    serde_json::from_str(text).map_err(broken)
}

/// Subtracts the memory that values would take, keeps none of them, and fails at 0.
#[derive(Clone, Copy)]
struct Countdown<'a>(&'a Cell<usize>);

impl Countdown<'_> {
    fn take<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        self.0.set(self.0.get().saturating_sub(bytes));
        match self.0.get() {
            0 => Err(E::custom("too many values")),
            _ => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Countdown<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.take::<D::Error>(VALUE)?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Countdown<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        while all.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        self.take::<A::Error>(OBJECT)?;
        while all.next_key::<IgnoredAny>()?.is_some() {
            all.next_value_seed(self)?;
        }
        Ok(())
    }
}
