//! Texts, each stored once.

use crate::base::names::fnv;
use crate::recorder::heap::mapped_table::{MappedTable, TableSlot};
use crate::recorder::heap::mapped_vec::MappedVec;
use crate::recorder::heap::mapping::NoMemory;

/// The number of a text, from 1.
pub(super) type TextId = u32;

/// The number of a text by its hash. With 64 bits, the probability that two of 200,000 texts have the
/// same hash is about 1e-9.
#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    id: TextId,
}

impl TableSlot for Entry {
    type Key = u64;
    const FREE: Self = Self { hash: 0, id: 0 };

    fn key(&self) -> Option<u64> {
        (self.id != 0).then_some(self.hash)
    }

    fn hash(key: u64) -> u64 {
        key
    }
}

pub(super) struct Texts {
    by_hash: MappedTable<Entry>,
    /// Where each text ends in `bytes`.
    ends: MappedVec<usize>,
    bytes: MappedVec<u8>,
}

impl Texts {
    pub(super) const fn new() -> Self {
        Self {
            by_hash: MappedTable::new(),
            ends: MappedVec::new(),
            bytes: MappedVec::new(),
        }
    }

    /// The number of a text.
    ///
    /// # Errors
    /// If the text is new and the system refuses memory for it.
    pub(super) fn intern(&mut self, text: impl Iterator<Item = char>) -> Result<TextId, NoMemory> {
        let start = self.bytes.as_slice().len();
        for character in text {
            let mut buffer = [0; 4];
            let encoded = character.encode_utf8(&mut buffer);
            self.bytes.extend_from_slice(encoded.as_bytes())?;
        }
        let hash = fnv(&self.bytes.as_slice()[start..]);
        if let Some(known) = self.by_hash.get(hash) {
            let id = known.id;
            self.bytes.truncate(start);
            return Ok(id);
        }
        let id = self.ends.as_slice().len() as TextId + 1;
        self.ends.push(self.bytes.as_slice().len())?;
        // Without memory for its entry the text is stored again the next time.
        self.by_hash.insert_or(Entry { hash, id }, |_| {})?;
        Ok(id)
    }

    /// The text with a number; empty if there is none.
    pub(super) fn get(&self, id: TextId) -> &[u8] {
        let ends = self.ends.as_slice();
        let end_of = |id: TextId| ends.get((id as usize).checked_sub(1)?).copied();
        let Some(end) = end_of(id) else {
            return &[];
        };
        let start = end_of(id - 1).unwrap_or(0);
        &self.bytes.as_slice()[start..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_one_number() {
        let mut texts = Texts::new();
        let mut intern = |text: &str| texts.intern(text.chars()).unwrap();
        let ids = ["a.py", "", "b/ä.py", "a.py", ""].map(&mut intern);
        assert_eq!(ids, [1, 2, 3, 1, 2]);
        let found = [0, 1, 2, 3, 4].map(|id| str::from_utf8(texts.get(id)).unwrap());
        assert_eq!(found, ["", "a.py", "", "b/ä.py", ""]);
    }
}
