//! A table of a TOML file, whose errors name the line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::base::error::Error;

/// Year, month and day.
pub(super) type Date = (i32, u32, u32);

/// Reads a TOML file whose outermost table has only these keys.
///
/// # Errors
/// If it is not TOML, if it has another key, or that of `read`.
pub(super) fn parse<T>(
    path: &Path,
    text: &str,
    keys: &[&str],
    read: impl FnOnce(Table<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let file = TomlFile { path, text };
    let table = DeTable::parse(text).map_err(|e| {
        let start = e.span().map_or(0, |span| span.start);
        file.error(start, e.message().to_owned())
    })?;
    read(file.table(0, table.get_ref(), keys)?)
}

#[derive(Clone, Copy)]
struct TomlFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> TomlFile<'a> {
    /// An error at a byte of the file.
    fn error(self, at: usize, wrong: String) -> Error {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|&&b| b == b'\n').count() as u64 + 1;
        Error::malformed(self.path, Some(line), wrong)
    }

    /// A table that begins at a byte of the file and has only these keys.
    fn table(
        self,
        start: usize,
        table: &'a DeTable<'a>,
        keys: &[&str],
    ) -> Result<Table<'a>, Error> {
        let file = self;
        let Some(key) = table.keys().find(|k| !keys.contains(&&**k.get_ref())) else {
            return Ok(Table { file, start, table });
        };
        let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        let expected = match &*names {
            [name] => name.clone(),
            names => format!("one of {}", names.join(", ")),
        };
        let wrong = format!("unknown field `{}`, expected {expected}", key.get_ref());
        Err(self.error(key.span().start, wrong))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    file: TomlFile<'a>,
    start: usize,
    table: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// An error at a value of the table.
    pub(super) fn error<T>(&self, value: &Spanned<T>, wrong: impl Into<String>) -> Error {
        self.file.error(value.span().start, wrong.into())
    }

    /// What has to be there.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, Error> {
        let missing = || {
            self.file
                .error(self.start, format!("missing field `{key}`"))
        };
        value.ok_or_else(missing)
    }

    /// # Errors
    /// If it is no string.
    pub(super) fn text(&self, key: &str) -> Result<Option<Spanned<&'a str>>, Error> {
        self.value(key, "a string", DeValue::as_str)
    }

    /// # Errors
    /// If it is no integer from 0.
    pub(super) fn number(&self, key: &str) -> Result<Option<Spanned<u64>>, Error> {
        self.value(key, "an integer from 0", |value| {
            let integer = value.as_integer()?;
            u64::from_str_radix(integer.as_str(), integer.radix()).ok()
        })
    }

    /// # Errors
    /// If it is no date.
    pub(super) fn date(&self, key: &str) -> Result<Option<Spanned<Date>>, Error> {
        self.value(key, "a date such as 2027-01-31", |value| {
            let date = value.as_datetime()?.date?;
            Some((date.year.into(), date.month.into(), date.day.into()))
        })
    }

    /// The tables of an array, which have only these keys; none if there is no array.
    ///
    /// # Errors
    /// If it is no array of tables, or one has another key.
    pub(super) fn tables(&self, key: &str, keys: &[&str]) -> Result<Vec<Self>, Error> {
        let what = "an array of tables";
        let Some(array) = self.value(key, what, DeValue::as_array)? else {
            return Ok(Vec::new());
        };
        let elements = array.into_inner().iter();
        let tables = elements.map(|element| match element.get_ref().as_table() {
            Some(table) => self.file.table(element.span().start, table, keys),
            None => Err(self.error(element, format!("`{key}` must be {what}"))),
        });
        tables.collect()
    }

    /// A value as `read` takes it, which returns `None` if it is not `what`.
    fn value<T>(
        &self,
        key: &str,
        what: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Result<Option<Spanned<T>>, Error> {
        let Some(found) = self.table.get(key) else {
            return Ok(None);
        };
        match read(found.get_ref()) {
            Some(value) => Ok(Some(Spanned::new(found.span(), value))),
            None => Err(self.error(found, format!("`{key}` must be {what}"))),
        }
    }
}
