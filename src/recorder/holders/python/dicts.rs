//! The entries of a dict (`Include/internal/pycore_dict.h`, the same from 3.11 on).

use super::memory::Memory;

// Offsets in a dict.
const KEYS: usize = 32;
const VALUES: usize = 40;

// Offsets in the keys of a dict.
const LOG2_INDEX_BYTES: usize = 9;
const KIND: usize = 10;
const ENTRY_COUNT: usize = 24;
const INDICES: usize = 32;

/// Keys of any kind, each with its hash.
const GENERAL: u8 = 0;
/// Keys that several objects of a class share.
const SPLIT: u8 = 2;

/// Entries that are looked at, at most.
const MAX_ENTRIES: usize = 1 << 17;

/// The keys of a dict.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    first: usize,
    entry_bytes: usize,
    kind: u8,
    count: usize,
}

impl Keys {
    /// The keys at an address.
    pub(super) fn at(memory: &Memory<'_>, at: usize) -> Option<Self> {
        let kind = memory.byte(at.checked_add(KIND)?)?;
        let log2 = memory.byte(at + LOG2_INDEX_BYTES)?;
        let count = memory.word(at + ENTRY_COUNT)?;
        if kind > SPLIT || log2 > 40 || count > 1 << 40 {
            return None;
        }
        Some(Self {
            first: at + INDICES + (1 << log2),
            entry_bytes: if kind == GENERAL { 24 } else { 16 },
            kind,
            count,
        })
    }

    /// Whether they are those that the objects of a class share.
    pub(super) fn are_shared(&self) -> bool {
        self.kind == SPLIT
    }

    /// The keys of a dict.
    pub(super) fn of(memory: &Memory<'_>, dict: usize) -> Option<(usize, Self)> {
        let at = memory.field(dict, KEYS)?;
        Some((at, Self::at(memory, at)?))
    }

    /// Whether each entry begins with the hash of its key.
    pub(super) fn have_hashes(&self) -> bool {
        self.kind == GENERAL
    }

    /// Whether the word at an address is the hash of an entry.
    pub(super) fn is_hash(&self, at: usize) -> bool {
        self.have_hashes() && at >= self.first && (at - self.first).is_multiple_of(self.entry_bytes)
    }

    /// Where the entries end. Behind it is room for more.
    pub(super) fn end(&self) -> usize {
        self.first + self.count * self.entry_bytes
    }

    /// The key with a number.
    pub(super) fn key(&self, memory: &Memory<'_>, number: usize) -> Option<usize> {
        let at = self.first + number * self.entry_bytes;
        let at = if self.kind == GENERAL { at + 8 } else { at };
        let key = memory.word(at).filter(|&key| key != 0);
        key.filter(|_| number < self.count)
    }

    /// Keys and values that are in the keys themselves.
    fn entries<'m>(
        &self,
        memory: &'m Memory<'_>,
    ) -> impl Iterator<Item = (usize, usize)> + use<'m> {
        let keys = *self;
        (0..keys.count.min(MAX_ENTRIES)).filter_map(move |number| {
            let key = keys.key(memory, number)?;
            let value = keys.first + (number + 1) * keys.entry_bytes - 8;
            Some((key, memory.word(value)?))
        })
    }
}

/// Calls `visit` with each key and value of a dict until it returns true. Returns that key.
pub(super) fn find_key(
    memory: &Memory<'_>,
    dict: usize,
    mut is_wanted: impl FnMut(usize, usize) -> bool,
) -> Option<usize> {
    let (_, keys) = Keys::of(memory, dict)?;
    let values = memory.field(dict, VALUES)?;
    let found = match values {
        0 => keys
            .entries(memory)
            .find(|&(key, value)| is_wanted(key, value)),
        values => (0..keys.count.min(MAX_ENTRIES))
            .filter_map(|number| {
                let value = memory.word(value_at(memory, values, number))?;
                Some((keys.key(memory, number)?, value))
            })
            .find(|&(key, value)| is_wanted(key, value)),
    };
    found.map(|(key, _)| key)
}

/// The address of one of the values that belong to shared keys.
pub(super) fn value_at(memory: &Memory<'_>, values: usize, number: usize) -> usize {
    values + memory.layout.values_head + 8 * number
}
