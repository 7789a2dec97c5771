//! What a thread has met: by the key of a stack the row that its blocks were counted in last.
//!
//! A table that forgets. It begins with a page and grows while what it has forgotten comes back. It has four
//! bytes of each stack, a row's number and a few bits of the key, and the row says whether it is the one: a
//! program of hundreds of thousands of stacks has one look into a small table for each, and one into its row.
//! Of the key a row has 48 bits, and the line others: among 200,000 stacks, one is taken for another with a
//! probability of less than 1e-6.
//!
//! The table is kept small, because the processor's caches are: where it took long until it was full, much of it
//! is of another time, and it begins anew in place of growing.

use super::mapped_ring::MappedRing;
use super::prefetch::{Step, Trail};
use super::row::{Mark, Now, Stack};
use super::rows::{Book, OwnRow, ROW_BITS, RowId, Rows};

/// A row's number, below the bits of the key that are its tag; 0 if there is none.
type Slot = u32;

/// Slots that lie together: a cache line of the processor's.
const SLOTS: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([Slot; SLOTS]);

const _: () = assert!(size_of::<Line>() == 64);

/// Lines that a key may be in: those that begin with its own, up to the first with room.
const PROBED: usize = 4;

const FIRST_LINES: usize = 64;

/// 4 MiB, enough for a million stacks, and the trail four times as much.
const MOST_LINES: usize = if cfg!(test) { 1 << 14 } else { 1 << 16 };

/// Times as many lines when it grows.
const GROWTH: usize = 4;

/// From so many on the order is kept in which they are asked for: fewer are near the processor.
const FIRST_LINES_WITH_TRAIL: usize = 1 << 10;

/// It is full soon, if that takes fewer look-ups for each slot that it has.
const SOON: usize = 8;

/// Valid if all its bytes are zero: then it is empty.
pub(super) struct Met {
    lines: Lines,
    /// Slots that others took the place of, since it was begun.
    driven_out: usize,
    /// Look-ups since then.
    asked: usize,
    /// How often it was begun.
    epoch: u32,
    trail: Trail,
}

struct Lines(MappedRing<Line>);

/// What a slot has of a key, in its highest bits: other bits than its line is chosen by, and one that no empty
/// slot has.
#[inline]
fn tag(key: u64) -> u32 {
    ((key >> (u64::BITS - Slot::BITS)) as u32 | 1 << (Slot::BITS - 1)) >> ROW_BITS
}

fn slot(key: u64, row: OwnRow) -> Slot {
    tag(key) << ROW_BITS | row.id()
}

fn row_of(slot: Slot) -> RowId {
    slot & ((1 << ROW_BITS) - 1)
}

impl Line {
    /// A bit for each slot that has a tag.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn with(&self, tag: u32) -> u32 {
        use core::arch::x86_64::{
            __m128i, _mm_cmpeq_epi32, _mm_load_si128, _mm_movemask_epi8, _mm_packs_epi16,
            _mm_packs_epi32, _mm_set1_epi32, _mm_srli_epi32,
        };
        // SAFETY: a line is four times as long and as aligned, and all x86-64 processors have SSE2.
        unsafe {
            let start: *const __m128i = (&raw const self.0).cast();
            let tag = _mm_set1_epi32(tag as i32);
            let four = |i| {
                let slots = _mm_load_si128(start.add(i));
                _mm_cmpeq_epi32(_mm_srli_epi32::<{ ROW_BITS as i32 }>(slots), tag)
            };
            let eight = |i| _mm_packs_epi32(four(i), four(i + 1));
            _mm_movemask_epi8(_mm_packs_epi16(eight(0), eight(2))) as u32
        }
    }

    /// A bit for each slot that has a tag.
    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    fn with(&self, tag: u32) -> u32 {
        let bit = |(i, slot): (usize, &Slot)| u32::from(slot >> ROW_BITS == tag) << i;
        self.0.iter().enumerate().map(bit).sum()
    }

    /// What `is` makes of the first slot with a tag that it makes anything of: of many stacks, none of which
    /// the processor foresees.
    #[inline]
    fn find_at_once<T>(&mut self, tag: u32, is: impl Fn(&mut Slot) -> Option<T>) -> Option<T> {
        let mut bits = self.with(tag);
        while bits != 0 {
            let found = is(&mut self.0[bits.trailing_zeros() as usize]);
            if found.is_some() {
                return found;
            }
            bits &= bits - 1;
        }
        None
    }

    /// The same of few stacks: how far it goes tells the processor where the program is, and it foresees that and
    /// what comes next.
    #[inline]
    fn find_in_turn<T>(&mut self, tag: u32, is: impl Fn(&mut Slot) -> Option<T>) -> Option<T> {
        let mut with_tag = self.0.iter_mut().filter(|slot| **slot >> ROW_BITS == tag);
        with_tag.find_map(is)
    }

    fn is_full(&self) -> bool {
        self.0[SLOTS - 1] != 0
    }
}

impl Lines {
    fn count(&self) -> usize {
        self.0.len()
    }

    /// One of the lines that a key may be in, by turns.
    #[inline]
    fn line(&mut self, key: u64, turn: usize) -> Option<&mut Line> {
        // The lowest bit of most keys is set, so that they are not 0.
        self.0.get((key as usize >> 1).wrapping_add(turn))
    }

    /// A slot for a new key: a free one, or one of its own line, by turns.
    fn room(&mut self, key: u64, driven_out: usize) -> Option<&mut Slot> {
        let has_room = |turn: &usize| self.line(key, *turn).is_some_and(|line| !line.is_full());
        let turn = (0..PROBED).find(has_room).unwrap_or(0);
        let line = self.line(key, turn)?;
        let free = line.0.iter().position(|&slot| slot == 0);
        Some(&mut line.0[free.unwrap_or(driven_out % SLOTS)])
    }

    /// What `is` makes of the first slot of a key's that it makes anything of.
    #[inline]
    fn find<T>(&mut self, key: u64, is: impl Fn(&mut Slot) -> Option<T>) -> Option<T> {
        let tag = tag(key);
        let is_foreseen = self.count() <= FIRST_LINES;
        for turn in 0..PROBED {
            let line = self.line(key, turn)?;
            let found = match is_foreseen {
                true => line.find_in_turn(tag, &is),
                false => line.find_at_once(tag, &is),
            };
            if found.is_some() || !line.is_full() {
                return found;
            }
        }
        None
    }
}

impl Met {
    fn now(&self, birth: u32) -> Now {
        Now {
            birth,
            epoch: self.epoch,
        }
    }

    /// The row for blocks of a stack and a birth, by its key, which is not 0; `None` if the stack is not known,
    /// or there is no room.
    #[inline]
    pub(super) fn row(
        &mut self,
        rows: &'static Rows,
        book: &Book,
        key: u64,
        birth: u32,
    ) -> Option<OwnRow> {
        debug_assert!(key != 0);
        self.asked += 1;
        let mark = Mark::of(key, birth);
        let is_of_birth = |id| Some(rows.own(id)).filter(|row| row.is(mark));
        if let Some(step) = self.trail.goes_on_to(key) {
            let found = is_of_birth(step.row);
            if found.is_some() {
                return found;
            }
            let row = self.renewed(rows, book, key, self.now(birth))?;
            self.trail.is_now_in(row.id());
            return Some(row);
        }
        let found = self.lines.find(key, |slot| is_of_birth(row_of(*slot)));
        let row = match found {
            Some(row) => row,
            None => self.renewed(rows, book, key, self.now(birth))?,
        };
        self.trail.meet(Step { key, row: row.id() });
        Some(row)
    }

    /// The same, where it is known by a row for another birth, if at all.
    #[cold]
    fn renewed(&mut self, rows: &'static Rows, book: &Book, key: u64, now: Now) -> Option<OwnRow> {
        self.lines.find(key, |slot| {
            let id = row_of(*slot);
            let stack = Some(rows.stack(id)).filter(|stack| stack.key == key)?;
            let row = match rows.own(id) {
                // Where the trail has an older one.
                row if row.is(Mark::of(key, now.birth)) => row,
                _ => rows.begin(book, stack, now, Some(id))?,
            };
            *slot = self::slot(key, row);
            Some(row)
        })
    }

    /// The row for blocks of a stack and a birth, begun, and kept by its key, which was not found and is not 0;
    /// `None` if there is no room.
    pub(super) fn begin(
        &mut self,
        rows: &'static Rows,
        book: &Book,
        stack: Stack,
        birth: u32,
    ) -> Option<OwnRow> {
        if self.driven_out >= self.lines.count() && self.lines.count() < MOST_LINES {
            self.forget();
        }
        let now = self.now(birth);
        let row = rows.begin(book, stack, now, None)?;
        let key = stack.key;
        self.trail.meet(Step { key, row: row.id() });
        let Some(room) = self.lines.room(key, self.driven_out) else {
            rows.forget(row.id(), now);
            return Some(row);
        };
        let before = core::mem::replace(room, slot(key, row));
        if before != 0 {
            rows.forget(row_of(before), now);
            self.driven_out += 1;
        }
        Some(row)
    }

    /// Makes it empty, and larger if it was full soon: what comes back is walked, and begins another row if
    /// blocks live in its old one. Without memory it stays as it is.
    #[cold]
    fn forget(&mut self) {
        let count = self.lines.count();
        let soon = self.asked < SOON * SLOTS * count;
        let count = if soon { count * GROWTH } else { count };
        let count = count.clamp(FIRST_LINES, MOST_LINES);
        (self.driven_out, self.asked) = (0, 0);
        let Ok(lines) = MappedRing::new(count) else {
            return;
        };
        self.lines = Lines(lines);
        self.epoch = self.epoch.wrapping_add(1);
        let is_near = count < FIRST_LINES_WITH_TRAIL;
        self.trail.begin(if is_near { 0 } else { count * SLOTS });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::model::block::StackId;
    use crate::recorder::heap::row::Amount;
    use std::collections::{BTreeMap, HashMap};

    fn empty() -> Met {
        // SAFETY: valid if all its bytes are zero.
        unsafe { core::mem::zeroed() }
    }

    fn stacks(count: u32, random: &mut Random) -> Vec<Stack> {
        let stack = |stack_id| Stack {
            key: random.any() | 1,
            stack_id,
        };
        (1..=count).map(stack).collect()
    }

    fn amount() -> Amount {
        Amount::of_block(8, 0)
    }

    /// The row of a stack, begun if it is not known; and whether it was known.
    fn visit(
        met: &mut Met,
        rows: &'static Rows,
        book: &Book,
        stack: Stack,
        birth: u32,
    ) -> (OwnRow, bool) {
        let known = met.row(rows, book, stack.key, birth);
        let row = known.or_else(|| met.begin(rows, book, stack, birth));
        let row = row.expect("there is room");
        assert_eq!(rows.key(row.id()), Some((stack.stack_id, birth)));
        assert!(rows.stack(row.id()) == stack && row.is(Mark::of(stack.key, birth)));
        (row, known.is_some())
    }

    #[test]
    fn what_was_put_in_is_found_or_forgotten() {
        static ROWS: Rows = Rows::new();
        let book = ROWS.open().unwrap();
        let mut met = empty();
        let mut random = Random::new(3);
        assert!(met.row(&ROWS, book, 1, 8).is_none());
        let all = stacks(100_000, &mut random);
        let mut forgotten = 0;
        for (i, &new) in all.iter().enumerate() {
            let birth = 8 + i as u32 / 30_000;
            let (_, was_known) = visit(&mut met, &ROWS, book, new, birth);
            assert!(!was_known, "it was never put in");
            // One of any age: in its row, for any birth.
            let old = all[random.index(i + 1)];
            match met.row(&ROWS, book, old.key, birth) {
                Some(row) => {
                    let is = |row: OwnRow, birth| {
                        ROWS.stack(row.id()) == old
                            && ROWS.key(row.id()) == Some((old.stack_id, birth))
                    };
                    assert!(is(row, birth));
                    let other = met.row(&ROWS, book, old.key, birth + 1).unwrap();
                    assert!(is(other, birth + 1));
                }
                None => forgotten += 1,
            }
        }
        assert!(forgotten > 100, "it grows by forgetting all");
    }

    #[test]
    fn whatever_lives_on_it_is_counted_for_its_stack_and_birth() {
        static ROWS: Rows = Rows::new();
        type Sums = BTreeMap<(StackId, u32), u64>;
        let book = ROWS.open().unwrap();
        let mut met = empty();
        let mut random = Random::new(9);
        let all = stacks(4_000, &mut random);
        let mut live: Vec<(RowId, StackId, u32)> = Vec::new();
        for step in 0..200_000_usize {
            // Cycles of two phases, and more stacks in use in some than the table has room for.
            let birth = (((step / 20_000 + 1) << 3) | (step / 10_000 % 2)) as u32;
            let in_use = if step / 40_000 % 2 == 0 {
                500
            } else {
                all.len()
            };
            let stack = all[random.index(in_use)];
            let (row, _) = visit(&mut met, &ROWS, book, stack, birth);
            row.count(book, amount());
            live.push((row.id(), stack.stack_id, birth));
            // Most end at once, some live on for a while.
            let newest = live.len() - 1;
            let ended = match random.below(4) {
                0 if newest < 300 => continue,
                0 => random.index(live.len()),
                _ => newest,
            };
            ROWS.discount(book, live.swap_remove(ended).0, amount());
        }
        let mut truth = Sums::new();
        for &(_, stack_id, birth) in &live {
            *truth.entry((stack_id, birth)).or_default() += 1;
        }
        let mut counted = Sums::new();
        ROWS.for_each(|stack_id, birth, _, blocks| {
            *counted.entry((stack_id, birth)).or_default() += blocks
        });
        assert!(counted == truth, "{} {}", counted.len(), truth.len());
    }

    #[test]
    fn a_stack_goes_on_in_its_row() {
        static ROWS: Rows = Rows::new();
        let book = ROWS.open().unwrap();
        let mut met = empty();
        let all = stacks(300, &mut Random::new(5));
        // One of a few leaks in each round, all else is freed at once.
        let mut round = |birth: u32| -> Vec<RowId> {
            let mut ids = Vec::new();
            for &stack in &all {
                let (row, _) = visit(&mut met, &ROWS, book, stack, birth);
                row.count(book, amount());
                if stack.stack_id % 100 != 0 {
                    ROWS.discount(book, row.id(), amount());
                }
                ids.push(row.id());
            }
            ids
        };
        let birth = |cycle: u32, phase: u32| cycle << 3 | phase;
        let first = round(birth(1, 0));
        assert_eq!(round(birth(1, 0)), first);
        for cycle in 1..50 {
            for phase in 1..3 {
                let ids = round(birth(cycle, phase));
                let others = ids.iter().zip(&first).filter(|(a, b)| a != b).count();
                // A row that has blocks of an earlier phase is left to them.
                assert_eq!(others, 3);
            }
        }
        let mut leaked = HashMap::new();
        ROWS.for_each(|stack_id, _, _, blocks| *leaked.entry(stack_id).or_insert(0) += blocks);
        assert_eq!(leaked, HashMap::from([(100, 100), (200, 100), (300, 100)]));
    }

    /// Visits these stacks in turn; how many were not known.
    fn not_found(met: &mut Met, rows: &'static Rows, book: &Book, stacks: &[Stack]) -> usize {
        let was_known = |stack: &&Stack| visit(met, rows, book, **stack, 8).1;
        stacks.len() - stacks.iter().filter(was_known).count()
    }

    #[test]
    fn it_grows_to_what_comes_back_and_not_for_what_is_past() {
        static ROWS: Rows = Rows::new();
        let book = ROWS.open().unwrap();
        let mut met = empty();
        let mut random = Random::new(4);
        let mut keys = |count| stacks(count, &mut random);
        let few = keys(400);
        assert_eq!(not_found(&mut met, &ROWS, book, &few), 400);
        assert_eq!(not_found(&mut met, &ROWS, book, &few), 0);
        assert_eq!(met.lines.count(), FIRST_LINES);
        // Others now and then, that never come back.
        for _ in 0..100 {
            for _ in 0..20 {
                not_found(&mut met, &ROWS, book, &few);
            }
            not_found(&mut met, &ROWS, book, &keys(80));
        }
        assert_eq!(met.lines.count(), FIRST_LINES);
        let many = keys(50_000);
        for _ in 0..10 {
            not_found(&mut met, &ROWS, book, &many);
        }
        // It is full to three quarters: some drive each other out.
        let few_are_not = |met: &mut Met, many: &[Stack]| {
            let missed = not_found(met, &ROWS, book, many);
            assert!(missed < many.len() / 500, "{missed}");
        };
        few_are_not(&mut met, &many);
        assert_eq!(met.lines.count() * SLOTS, 65_536);
        // As many others, and the old ones no more.
        let many = keys(50_000);
        for _ in 0..30 {
            not_found(&mut met, &ROWS, book, &many);
        }
        few_are_not(&mut met, &many);
        assert!(met.lines.count() <= 16_384, "{}", met.lines.count());
        // What is forgotten leaves no rows behind.
        let ids = many
            .iter()
            .map(|&s| visit(&mut met, &ROWS, book, s, 8).0.id());
        let highest = ids.max().unwrap();
        assert!((highest as usize) < many.len() * 5 / 4, "{highest}");
    }

    #[test]
    fn where_it_cannot_grow_no_more_rows_are_begun_than_it_has_room_for() {
        static ROWS: Rows = Rows::new();
        let book = ROWS.open().unwrap();
        let mut met = empty();
        // In one phase, and twice as many as it has slots.
        let all = stacks(2 * (MOST_LINES * SLOTS) as u32, &mut Random::new(6));
        let mut highest = 0;
        for _ in 0..4 {
            let ids = all
                .iter()
                .map(|&s| visit(&mut met, &ROWS, book, s, 8).0.id());
            highest = highest.max(ids.max().unwrap());
        }
        assert_eq!(met.lines.count(), MOST_LINES);
        assert!((highest as usize) < all.len(), "{highest}");
        // What is in use drives out what is not.
        let few = &all[..50_000];
        let missed: Vec<usize> = (0..6)
            .map(|_| not_found(&mut met, &ROWS, book, few))
            .collect();
        assert!(missed[5] < few.len() / 500, "{missed:?}");
    }

    #[test]
    fn a_line_finds_its_tags() {
        let mut random = Random::new(8);
        for _ in 0..2000 {
            let mut line = Line([0; SLOTS]);
            let filled = random.index(SLOTS + 1);
            for slot in &mut line.0[..filled] {
                *slot = tag(random.below(4) << 56) << ROW_BITS | random.below(1 << ROW_BITS) as u32;
            }
            let tag = tag(random.below(4) << 56);
            let with_tag = |(i, slot): (usize, &Slot)| u32::from(slot >> ROW_BITS == tag) << i;
            let truth: u32 = line.0.iter().enumerate().map(with_tag).sum();
            assert_eq!(line.with(tag), truth);
            assert_eq!(line.is_full(), filled == SLOTS);
            // Any one of them.
            let wanted = random.index(SLOTS);
            let at = line.0[wanted];
            let is = |slot: &mut Slot| (*slot == at).then_some(*slot);
            let expected = (at >> ROW_BITS == tag).then_some(at);
            assert_eq!(line.find_at_once(tag, is), expected);
            assert_eq!(line.find_in_turn(tag, is), expected);
        }
    }
}
