//! How structures and enums are written as JSON and read back: implementations of serde's traits.
//!
//! serde's derive macro is not used, because it and what it needs took more than a quarter of the time in
//! which the library was compiled.

use std::fmt;
use std::marker::PhantomData;

use serde_core::Deserialize;
use serde_core::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Implements `Serialize` and `Deserialize` for a structure, as an object with these fields. A field
/// that is left out does not compile.
///
/// - `field: default` may be missing, and is then the default of its type.
/// - `field: "key"` has another name in the object.
/// - `field: (module)` is written as what `module::written` makes of it, and read by `module::read`.
///
/// `write` and `read` before the structure implement only one of them. Other fields are ignored when an
/// object is read, and one that is there twice is an error.
macro_rules! fields {
    (write $type:ty { $($fields:tt)* }) => {
        $crate::base::json::fields!(@write [] $type { $($fields)* });
    };
    (read $type:ident { $($fields:tt)* }) => {
        $crate::base::json::fields!(@read [] $type { $($fields)* });
    };
    ($type:ident $(<$($generic:ident),+>)? { $($fields:tt)* }) => {
        $crate::base::json::fields!(
            @write [$($($generic),+)?] $type $(<$($generic),+>)? { $($fields)* }
        );
        $crate::base::json::fields!(
            @read [$($($generic),+)?] $type $(<$($generic),+>)? { $($fields)* }
        );
    };
    (@write [$($generic:ident),*] $type:ty { $($field:ident $(: $how:tt)?),* $(,)? }) => {
        impl<$($generic: serde_core::Serialize),*> serde_core::Serialize for $type {
            fn serialize<S_: serde_core::Serializer>(&self, to: S_) -> Result<S_::Ok, S_::Error> {
                let Self { $($field),* } = self;
                let length = [$($crate::base::json::fields!(@key $field $($how)?)),*].len();
                let mut object = to.serialize_map(Some(length))?;
                $(serde_core::ser::SerializeMap::serialize_entry(
                    &mut object,
                    $crate::base::json::fields!(@key $field $($how)?),
                    $crate::base::json::fields!(@written $field $($how)?),
                )?;)*
                serde_core::ser::SerializeMap::end(object)
            }
        }
    };
    (@read [$($generic:ident),*] $type:ty { $($field:ident $(: $how:tt)?),* $(,)? }) => {
        impl<'de, $($generic: serde_core::Deserialize<'de>),*> $crate::base::json::FromObject<'de>
            for $type
        {
            const KEYS: &'static [&'static str] =
                &[$($crate::base::json::fields!(@key $field $($how)?)),*];

            fn from_object<A_: serde_core::de::MapAccess<'de>>(
                mut object: $crate::base::json::Object<A_>,
            ) -> Result<Self, A_::Error> {
                const { assert!(Self::KEYS.len() <= u64::BITS as usize) };
                $(let mut $field = None;)*
                while let Some(key) = object.key(Self::KEYS)? {
                    match key {
                        $($crate::base::json::fields!(@key $field $($how)?) => {
                            object.value(&mut $field)?;
                        })*
                        _ => {}
                    }
                }
                Ok(Self { $($field: $crate::base::json::fields!(@read $field $($how)?)),* })
            }
        }

        $crate::base::json::from_object!([$($generic),*] $type);
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident default) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@key $field:ident ($with:ident)) => { stringify!($field) };
    (@written $field:ident ($with:ident)) => { &$with::written($field) };
    (@written $field:ident $($how:tt)?) => { $field };
    (@read $field:ident default) => { $field.unwrap_or_default() };
    (@read $field:ident ($with:ident)) => {
        $with::read($crate::base::json::present($field, stringify!($field))?)
    };
    (@read $field:ident $($key:literal)?) => {
        $crate::base::json::present($field, $crate::base::json::fields!(@key $field $($key)?))?
    };
}

/// Implements `Serialize` and `Deserialize` for an enum of which each variant has one value: as an
/// object with one field, which has the name given for the variant.
macro_rules! variants {
    ($type:ident $(<$($generic:ident),+>)? { $($variant:ident: $name:literal),* $(,)? }) => {
        impl $(<$($generic: serde_core::Serialize),+>)? serde_core::Serialize
            for $type $(<$($generic),+>)?
        {
            fn serialize<S_: serde_core::Serializer>(&self, to: S_) -> Result<S_::Ok, S_::Error> {
                let mut object = to.serialize_map(Some(1))?;
                match self {
                    $(Self::$variant(value) => {
                        serde_core::ser::SerializeMap::serialize_entry(&mut object, $name, value)?;
                    })*
                }
                serde_core::ser::SerializeMap::end(object)
            }
        }

        impl<'de, $($($generic: serde_core::Deserialize<'de>),+)?> $crate::base::json::FromObject<'de>
            for $type $(<$($generic),+>)?
        {
            const KEYS: &'static [&'static str] = &[$($name),*];

            fn from_object<A_: serde_core::de::MapAccess<'de>>(
                mut object: $crate::base::json::Object<A_>,
            ) -> Result<Self, A_::Error> {
                match object.only_key(Self::KEYS)? {
                    $($name => object.only_value().map(Self::$variant),)*
                    other => Err(serde_core::de::Error::unknown_variant(other, Self::KEYS)),
                }
            }
        }

        $crate::base::json::from_object!([$($($generic),+)?] $type $(<$($generic),+>)?);
    };
}

/// Implements `Serialize` and `Deserialize` for an enum without values, as these names.
macro_rules! names {
    ($type:ident { $($variant:ident: $name:literal),* $(,)? }) => {
        $crate::base::json::names!(write $type { $($variant: $name),* });

        impl<'de> serde_core::Deserialize<'de> for $type {
            fn deserialize<D: serde_core::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                const NAMES: &[&str] = &[$($name),*];
                match $crate::base::json::name(from, NAMES)? {
                    $($name => Ok(Self::$variant),)*
                    other => Err(serde_core::de::Error::unknown_variant(other, NAMES)),
                }
            }
        }
    };
    (write $type:ident { $($variant:ident: $name:literal),* $(,)? }) => {
        impl serde_core::Serialize for $type {
            fn serialize<S: serde_core::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(match self {
                    $(Self::$variant => $name,)*
                })
            }
        }
    };
}

macro_rules! from_object {
    ([$($generic:ident),*] $type:ty) => {
        impl<'de, $($generic: serde_core::Deserialize<'de>),*> serde_core::Deserialize<'de> for $type {
            fn deserialize<D_: serde_core::Deserializer<'de>>(from: D_) -> Result<Self, D_::Error> {
                $crate::base::json::object(from)
            }
        }
    };
}

pub(crate) use {fields, from_object, names, variants};

/// What is read from an object.
pub(crate) trait FromObject<'de>: Sized {
    const KEYS: &'static [&'static str];

    /// # Errors
    /// If the object has not what it needs.
    fn from_object<A: MapAccess<'de>>(object: Object<A>) -> Result<Self, A::Error>;
}

/// An object that is read field by field.
pub(crate) struct Object<A> {
    map: A,
    /// A bit for each key that was there.
    seen: u64,
}

impl<'de, A: MapAccess<'de>> Object<A> {
    /// The next key that is one of `keys`, of which there are no more than bits in `seen`.
    pub(crate) fn key(
        &mut self,
        keys: &'static [&'static str],
    ) -> Result<Option<&'static str>, A::Error> {
        while let Some(found) = self.map.next_key_seed(OneOf(keys))? {
            let Ok(index) = found else {
                self.map.next_value::<IgnoredAny>()?;
                continue;
            };
            let bit = 1 << index;
            if self.seen & bit != 0 {
                return Err(A::Error::duplicate_field(keys[index]));
            }
            self.seen |= bit;
            return Ok(Some(keys[index]));
        }
        Ok(None)
    }

    pub(crate) fn value<T: Deserialize<'de>>(
        &mut self,
        to: &mut Option<T>,
    ) -> Result<(), A::Error> {
        *to = Some(self.map.next_value()?);
        Ok(())
    }

    /// The key of an object that has only one.
    pub(crate) fn only_key(
        &mut self,
        keys: &'static [&'static str],
    ) -> Result<&'static str, A::Error> {
        match self.map.next_key_seed(OneOf(keys))? {
            Some(Ok(index)) => Ok(keys[index]),
            Some(Err(other)) => Err(A::Error::unknown_variant(&other, keys)),
            None => Err(A::Error::custom("an object without a field")),
        }
    }

    /// The value of this key.
    pub(crate) fn only_value<T: Deserialize<'de>>(mut self) -> Result<T, A::Error> {
        let value = self.map.next_value()?;
        match self.map.next_key::<IgnoredAny>()? {
            None => Ok(value),
            Some(_) => Err(A::Error::custom("an object with more than one field")),
        }
    }
}

/// # Errors
/// If the field was missing.
pub(crate) fn present<T, E: Error>(field: Option<T>, key: &'static str) -> Result<T, E> {
    field.ok_or_else(|| E::missing_field(key))
}

pub(crate) fn object<'de, T: FromObject<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    from.deserialize_map(AsObject(PhantomData))
}

struct AsObject<T>(PhantomData<T>);

impl<'de, T: FromObject<'de>> Visitor<'de> for AsObject<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_object(Object { map, seen: 0 })
    }
}

/// # Errors
/// If it is none of the names.
pub(crate) fn name<'de, D: Deserializer<'de>>(
    from: D,
    names: &'static [&'static str],
) -> Result<&'static str, D::Error> {
    match OneOf(names).deserialize(from)? {
        Ok(index) => Ok(names[index]),
        Err(other) => Err(D::Error::unknown_variant(&other, names)),
    }
}

/// Reads a text as the index of one that is known, or as it is.
struct OneOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let known = self.0.iter().position(|known| *known == text);
        Ok(known.ok_or_else(|| text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Point {
        x: u32,
        y: Option<u32>,
        kind: Kind,
        path: u8,
    }

    mod text {
        pub(super) fn written(n: &u8) -> String {
            n.to_string()
        }

        pub(super) fn read(text: String) -> u8 {
            text.parse().unwrap()
        }
    }

    fields! { Point { x, y: default, kind: "type", path: (text) } }

    #[derive(Debug, PartialEq)]
    enum Kind {
        Round,
        NotRound,
    }

    names! { Kind { Round: "round", NotRound: "not-round" } }

    #[derive(Debug, PartialEq)]
    enum Shape<T> {
        Point(Point),
        Text(T),
    }

    variants! { Shape<T> { Point: "point", Text: "text" } }

    const POINT: &str = r#"{"x":1,"y":null,"type":"not-round","path":"7"}"#;

    fn point() -> Point {
        Point {
            x: 1,
            y: None,
            kind: Kind::NotRound,
            path: 7,
        }
    }

    fn error<T: for<'de> Deserialize<'de> + fmt::Debug>(text: &str) -> String {
        serde_json::from_str::<T>(text).unwrap_err().to_string()
    }

    #[test]
    fn a_structure_is_read_as_it_is_written() {
        assert_eq!(serde_json::to_string(&point()).unwrap(), POINT);
        assert_eq!(serde_json::from_str::<Point>(POINT).unwrap(), point());
        let text = r#"{"path": "7", "other": [{"x": 2}], "type": "not-round", "x": 1}"#;
        assert_eq!(serde_json::from_str::<Point>(text).unwrap(), point());
    }

    #[test]
    fn what_is_wrong_with_a_structure_is_said() {
        let missing = r#"{"x": 1, "path": "7"}"#;
        assert!(error::<Point>(missing).starts_with("missing field `type`"));
        let twice = r#"{"x": 1, "x": 1}"#;
        assert!(error::<Point>(twice).starts_with("duplicate field `x`"));
        let unknown = POINT.replace("not-round", "square");
        let expected = "unknown variant `square`, expected `round` or `not-round`";
        assert!(error::<Point>(&unknown).starts_with(expected));
        let expected = "invalid type: sequence, expected an object";
        assert!(error::<Point>("[1, 2]").starts_with(expected));
    }

    #[test]
    fn a_variant_is_read_as_it_is_written() {
        for (shape, text) in [
            (Shape::Text("a".to_owned()), r#"{"text":"a"}"#.to_owned()),
            (Shape::Point(point()), format!(r#"{{"point":{POINT}}}"#)),
        ] {
            assert_eq!(serde_json::to_string(&shape).unwrap(), text);
            assert_eq!(serde_json::from_str::<Shape<String>>(&text).unwrap(), shape);
        }
        for (text, wrong) in [
            ("{}", "an object without a field"),
            (
                r#"{"line": 1}"#,
                "unknown variant `line`, expected `point` or `text`",
            ),
            (
                r#"{"text": "a", "point": 1}"#,
                "an object with more than one field",
            ),
        ] {
            let error = error::<Shape<String>>(text);
            assert!(error.starts_with(wrong), "{error}");
        }
    }
}
