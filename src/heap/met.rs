//! What a thread has met: by the key of a stack its site, and the row that its blocks were counted in.
//!
//! A table that forgets. It begins with a page and grows while what it has forgotten comes back, so that
//! a program of hundreds of thousands of stacks has one look into memory for each, and one into its row. It
//! is kept small, because the processor's caches are: where it took long until it was full, much of it is
//! of another time, and it begins anew in place of growing.

use super::ledger::Ledger;
use super::mapped::{map, unmap};
use super::rows::{Book, OwnRow, RowId};
use super::sites::SiteId;
use super::trail::Trail;

/// Of one stack.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Entry {
    /// 0 if there is none.
    pub(super) key: u64,
    pub(super) row: RowId,
    site: SiteId,
}

/// Entries that lie together: a cache line of the processor's.
const WAYS: usize = 4;

#[repr(C, align(64))]
struct Line([Entry; WAYS]);

const _: () = assert!(size_of::<Line>() == 64);

/// Lines that a key may be in: those that begin with its own, up to the first with room.
const PROBED: usize = 16;

const FIRST_LINES: usize = 64;

/// 16 MiB, enough for a million stacks, and the trail as much again.
const MOST_LINES: usize = 1 << 18;

/// Times as many lines when it grows.
const GROWTH: usize = 4;

/// From so many on the order is kept in which they are asked for: fewer are near the processor.
const FIRST_LINES_WITH_TRAIL: usize = 1 << 12;

/// It is full soon, if that takes fewer look-ups for each entry that it has room for.
const SOON: usize = 8;

/// Valid if all its bytes are zero: then it is empty.
pub(super) struct Met {
    lines: Lines,
    /// Entries that others took the place of, since it was begun.
    driven_out: usize,
    /// Look-ups since then.
    asked: usize,
    trail: Trail,
}

/// Null, or so many in a mapping of their own.
struct Lines {
    start: *mut Line,
    count: usize,
}

impl Entry {
    #[cfg(test)]
    pub(super) fn new(key: u64, row: RowId, site: SiteId) -> Self {
        Self { key, row, site }
    }

    /// Its site, and the row for blocks of a birth; `None` if there is no room for one.
    #[inline]
    pub(super) fn row(
        &mut self,
        ledger: &'static Ledger,
        book: &Book,
        birth: u32,
    ) -> Option<(SiteId, OwnRow)> {
        let mut row = ledger.rows.own(self.row);
        if !row.is(self.site, birth) {
            row = ledger.rows.of(book, self.site, birth)?;
            self.row = row.id();
        }
        Some((self.site, row))
    }
}

impl Lines {
    /// The lines that a key may be in.
    #[inline]
    fn of(&mut self, key: u64) -> impl Iterator<Item = &mut [Entry; WAYS]> {
        let (start, mask) = (self.start, self.count.wrapping_sub(1));
        let probed = if start.is_null() { 0 } else { PROBED };
        // The lowest bit of most keys is set, so that they are not 0.
        let first = (key >> 1) as usize;
        // SAFETY: `start` maps `count` of them, a power of two not less than are probed, and `&mut self` is
        // the only way to them; bytes of zero are empty ones (tests:
        // `what_was_put_in_is_found_or_forgotten`).
        (0..probed).map(move |i| unsafe { &mut (*start.add(first.wrapping_add(i) & mask)).0 })
    }

    #[inline]
    fn find(&mut self, key: u64) -> Option<&mut Entry> {
        for line in self.of(key) {
            if let Some(way) = line.iter().position(|entry| entry.key == key) {
                return Some(&mut line[way]);
            }
            if line[WAYS - 1].key == 0 {
                break;
            }
        }
        None
    }
}

impl Met {
    /// What is known of the stack with a key, which is not 0.
    #[inline]
    pub(super) fn find(&mut self, key: u64) -> Option<&mut Entry> {
        debug_assert!(key != 0);
        self.asked += 1;
        if self.trail.goes_on_to(key) {
            return Some(self.trail.here());
        }
        let found = self.lines.find(key)?;
        self.trail.meet(*found);
        Some(found)
    }

    /// Keeps what is known of a stack that was not found, whose key is not 0.
    pub(super) fn insert(&mut self, key: u64, site: SiteId, row: OwnRow) {
        if self.driven_out >= self.lines.count / 4 && self.lines.count < MOST_LINES {
            self.begin();
        }
        let new = Entry {
            key,
            row: row.id(),
            site,
        };
        self.trail.meet(new);
        if let Some(free) = self.lines.of(key).flatten().find(|entry| entry.key == 0) {
            *free = new;
            return;
        }
        self.driven_out += 1;
        if let Some(line) = self.lines.of(key).next() {
            line[(key >> 62) as usize] = new;
        }
    }

    /// Makes it empty, and larger if it was full soon: what comes back is found again by its site. Without
    /// memory it stays as it is.
    #[cold]
    fn begin(&mut self) {
        let count = self.lines.count;
        let soon = self.asked < SOON * WAYS * count;
        let count = if soon { count * GROWTH } else { count };
        let count = count.clamp(FIRST_LINES, MOST_LINES);
        (self.driven_out, self.asked) = (0, 0);
        let start: *mut Line = map(count * size_of::<Line>()).cast();
        if start.is_null() {
            return;
        }
        self.lines = Lines { start, count };
        let is_near = count < FIRST_LINES_WITH_TRAIL;
        self.trail.begin(if is_near { 0 } else { count * WAYS });
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.start.is_null() {
            // SAFETY: mapped for so many, and gone with `self`.
            unsafe { unmap(self.start.cast(), self.count * size_of::<Line>()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::HashMap;

    static LEDGER: Ledger = Ledger::new();

    fn empty() -> Met {
        // SAFETY: valid if all its bytes are zero.
        unsafe { core::mem::zeroed() }
    }

    fn key(random: &mut Random) -> u64 {
        random.any() | 1
    }

    #[test]
    fn what_was_put_in_is_found_or_forgotten() {
        let book = LEDGER.rows.open().unwrap();
        let mut met = empty();
        let mut random = Random::new(3);
        assert!(met.find(key(&mut random)).is_none());
        let mut truth: HashMap<u64, SiteId> = HashMap::new();
        let mut keys = Vec::new();
        let mut forgotten = 0;
        for site in 1..100_000 {
            let new = key(&mut random);
            assert!(met.find(new).is_none(), "it was never put in");
            let row = LEDGER.rows.of(book, site, 8).unwrap();
            met.insert(new, site, row);
            truth.insert(new, site);
            keys.push(new);
            // One of any age.
            let old = keys[random.index(keys.len())];
            match met.find(old) {
                Some(entry) => {
                    let (found, row) = entry.row(&LEDGER, book, 8).unwrap();
                    assert_eq!(found, truth[&old]);
                    assert!(row.is(found, 8));
                    let (found, row) = entry.row(&LEDGER, book, 9).unwrap();
                    assert!(
                        found == truth[&old] && row.is(found, 9),
                        "for another birth"
                    );
                }
                None => forgotten += 1,
            }
        }
        assert!(forgotten > 100, "it grows by forgetting all");
        LEDGER.rows.close(book);
    }

    /// Asks for these keys in turn, and puts in what is not found; how many were not.
    fn not_found(met: &mut Met, keys: &[u64], row: OwnRow) -> usize {
        let mut count = 0;
        for &key in keys {
            if met.find(key).is_none() {
                met.insert(key, 1, row);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn it_grows_to_what_comes_back_and_not_for_what_is_past() {
        let book = LEDGER.rows.open().unwrap();
        let row = LEDGER.rows.of(book, 1, 8).unwrap();
        let mut met = empty();
        let mut random = Random::new(4);
        let mut keys = |count: usize| (0..count).map(|_| key(&mut random)).collect::<Vec<_>>();
        let few = keys(100);
        assert_eq!(not_found(&mut met, &few, row), 100);
        assert_eq!(not_found(&mut met, &few, row), 0);
        assert_eq!(met.lines.count, FIRST_LINES);
        // Others now and then, that never come back.
        for _ in 0..100 {
            for _ in 0..20 {
                not_found(&mut met, &few, row);
            }
            not_found(&mut met, &keys(20), row);
        }
        assert_eq!(met.lines.count, FIRST_LINES);
        let many = keys(50_000);
        for _ in 0..10 {
            not_found(&mut met, &many, row);
        }
        // It is full to three quarters: some drive each other out.
        let few_are_not = |met: &mut Met, many: &[u64]| {
            let missed = not_found(met, many, row);
            assert!(missed < many.len() / 500, "{missed}");
        };
        few_are_not(&mut met, &many);
        assert_eq!(met.lines.count, 16_384, "lines of four");
        // As many others, and the old ones no more.
        let many = keys(50_000);
        for _ in 0..30 {
            not_found(&mut met, &many, row);
        }
        few_are_not(&mut met, &many);
        assert!(met.lines.count <= 65_536, "{}", met.lines.count);
        LEDGER.rows.close(book);
    }
}
