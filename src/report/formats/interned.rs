//! Strings that are written once and referred to by their index.

use std::collections::HashMap;

/// Distinct strings, numbered in the order in which they came.
#[derive(Default)]
pub(crate) struct Interned {
    pub(crate) all: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Interned {
    /// The index of a string, which is added if it is new.
    pub(crate) fn number(&mut self, text: &str) -> usize {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.all.len();
        self.all.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }
}
