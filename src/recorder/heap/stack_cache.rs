//! The stack cache: from the key of a stack to the row that its blocks were counted in last, for one
//! thread.
//!
//! A table with eviction (`tag_table.rs`) that stores four bytes of each stack: the number of a row
//! and a tag. The row itself verifies the match. So a program of hundreds of thousands of stacks
//! needs two dependent loads for each lookup, one from a small table and one from the row. A row has
//! 48 bits of the key and the table uses others: among 200,000 stacks, the probability that one is
//! taken for another is less than 1e-6.
//!
//! The table starts at one page and grows fourfold when it has evicted as many keys as it has
//! buckets, soon after it was emptied: then the evicted stacks come back. Where that took long, much
//! of what is in the table is no longer used, and it is emptied in place of growing, to stay small
//! enough for the processor's caches. Emptying the table starts a new *epoch*: rows of an earlier
//! epoch are no longer referred to, and may be restarted for other stacks.
//!
//! Large tables have a prefetch trace (`prefetch.rs`), which is asked first.

use super::counter_row::{Fingerprint, KeyedStack, OwnedRow, Timestamp};
use super::counter_rows::CounterRows;
use super::prefetch::{PrefetchTrace, Visit};
use super::tag_table::{BUCKET_SLOTS, MAX_SCANNED_BUCKETS, TagTable};
use super::thread_counters::ThreadCounters;

/// Buckets of the first table.
const FIRST_BUCKETS: usize = MAX_SCANNED_BUCKETS;

/// Buckets of the largest table: 4 MiB, enough for a million stacks. The prefetch trace takes four
/// times as much.
const MAX_BUCKETS: usize = if cfg!(without = "growth") {
    FIRST_BUCKETS
} else if cfg!(test) {
    1 << 14
} else {
    1 << 16
};

/// Factor by which the table grows.
const GROWTH: usize = 4;

/// Smallest table for which the prefetch trace is on. A smaller one fits into the processor's
/// caches.
const FIRST_BUCKETS_WITH_TRACE: usize = 1 << 10;

/// The table grows if it was filled with fewer lookups for each of its slots than this.
const MAX_LOOKUPS_TO_GROW: usize = 8;

/// Valid if all its bytes are zero: then it is empty.
pub(super) struct StackCache {
    table: TagTable,
    /// Keys evicted in this epoch.
    evictions: usize,
    /// Lookups in this epoch.
    lookups: usize,
    /// How often the table was emptied.
    epoch: u32,
    trace: PrefetchTrace,
}

impl StackCache {
    fn timestamp(&self, birth: u32) -> Timestamp {
        Timestamp {
            birth,
            epoch: self.epoch,
        }
    }

    /// The row for blocks of a stack and a birth, by the stack's key, which is not 0; `None` if the
    /// stack is not in the cache, or there is no room for a row.
    #[inline]
    pub(super) fn find(
        &mut self,
        rows: &'static CounterRows,
        thread: &ThreadCounters,
        key: u64,
        birth: u32,
    ) -> Option<OwnedRow> {
        debug_assert!(key != 0);
        self.lookups += 1;
        let fingerprint = Fingerprint::of(key, birth);
        let of_birth = |id| Some(rows.own(id)).filter(|row| row.matches(fingerprint));
        if let Some(visit) = self.trace.next_if(key) {
            let found = of_birth(visit.row);
            if found.is_some() {
                return found;
            }
            let row = self.renew(rows, thread, key, self.timestamp(birth))?;
            self.trace.set_row(row.id());
            return Some(row);
        }
        let found = self.table.find(key, of_birth);
        let row = match found {
            Some(row) => row,
            None => self.renew(rows, thread, key, self.timestamp(birth))?,
        };
        self.trace.record(Visit { key, row: row.id() });
        Some(row)
    }

    /// The row for a new birth of a stack that is in the cache by its row for another birth.
    #[cold]
    fn renew(
        &mut self,
        rows: &'static CounterRows,
        thread: &ThreadCounters,
        key: u64,
        now: Timestamp,
    ) -> Option<OwnedRow> {
        self.table.replace(key, |id| {
            let stack = Some(rows.stack(id)).filter(|stack| stack.key == key)?;
            match rows.own(id) {
                // The trace had an older row of the stack.
                row if row.matches(Fingerprint::of(key, now.birth)) => Some(row),
                _ => rows.start(thread, stack, now, Some(id)),
            }
        })
    }

    /// Starts a row for blocks of a stack and a birth, and adds it to the cache. The stack must not
    /// be in the cache, and its key not 0. `None` if there is no room for a row.
    pub(super) fn insert(
        &mut self,
        rows: &'static CounterRows,
        thread: &ThreadCounters,
        stack: KeyedStack,
        birth: u32,
    ) -> Option<OwnedRow> {
        let buckets = self.table.buckets();
        if self.evictions >= buckets && buckets < MAX_BUCKETS {
            self.reset();
        }
        let now = self.timestamp(birth);
        let row = rows.start(thread, stack, now, None)?;
        let key = stack.key;
        self.trace.record(Visit { key, row: row.id() });
        match self.table.insert(key, row, self.evictions) {
            Ok(None) => {}
            Ok(Some(evicted)) => {
                rows.release(evicted, now);
                self.evictions += 1;
            }
            // There is no table. Nothing refers to the row but the blocks in it.
            Err(_) => rows.release(row.id(), now),
        }
        Some(row)
    }

    /// Empties the table, and enlarges it if it was filled soon. A stack that comes back is walked,
    /// and starts another row if blocks are live in its old one. If the system refuses memory, the
    /// table stays as it is.
    #[cold]
    fn reset(&mut self) {
        let buckets = self.table.buckets();
        let is_filled_soon = self.lookups < MAX_LOOKUPS_TO_GROW * BUCKET_SLOTS * buckets;
        let buckets = if is_filled_soon {
            buckets * GROWTH
        } else {
            buckets
        };
        let buckets = buckets.clamp(FIRST_BUCKETS, MAX_BUCKETS);
        (self.evictions, self.lookups) = (0, 0);
        let Ok(table) = TagTable::new(buckets) else {
            return;
        };
        self.table = table;
        self.epoch = self.epoch.wrapping_add(1);
        let has_trace = buckets >= FIRST_BUCKETS_WITH_TRACE && !cfg!(without = "trace");
        self.trace
            .reset(if has_trace { buckets * BUCKET_SLOTS } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::model::block::StackId;
    use crate::recorder::heap::amount::Amount;
    use crate::recorder::heap::counter_row::RowId;
    use std::collections::{BTreeMap, HashMap};

    fn empty() -> StackCache {
        // SAFETY: a cache is valid if all its bytes are zero.
        unsafe { core::mem::zeroed() }
    }

    fn stacks(count: u32, random: &mut Random) -> Vec<KeyedStack> {
        let stack = |stack_id| KeyedStack {
            key: random.any() | 1,
            stack_id,
        };
        (1..=count).map(stack).collect()
    }

    fn amount() -> Amount {
        Amount::of_block(8, 0)
    }

    /// A cache and what it is used with.
    struct Fixture {
        cache: StackCache,
        rows: &'static CounterRows,
        thread: &'static ThreadCounters,
    }

    impl Fixture {
        fn new(rows: &'static CounterRows) -> Self {
            Self {
                cache: empty(),
                rows,
                thread: ThreadCounters::leaked(),
            }
        }

        fn find(&mut self, stack: KeyedStack, birth: u32) -> Option<OwnedRow> {
            self.cache.find(self.rows, self.thread, stack.key, birth)
        }

        /// The row of a stack, added if it is not in the cache; and whether it was.
        fn visit(&mut self, stack: KeyedStack, birth: u32) -> (OwnedRow, bool) {
            let found = self.find(stack, birth);
            let insert = || self.cache.insert(self.rows, self.thread, stack, birth);
            let row = found.or_else(insert).expect("there is room");
            let expected = Some((stack.stack_id, birth));
            assert_eq!(self.rows.stack_and_birth(row.id()), expected);
            assert_eq!(self.rows.stack(row.id()), stack);
            assert!(row.matches(Fingerprint::of(stack.key, birth)));
            (row, found.is_some())
        }

        /// Visits these stacks in order; how many were not in the cache.
        fn count_misses(&mut self, stacks: &[KeyedStack]) -> usize {
            stacks
                .iter()
                .filter(|stack| !self.visit(**stack, 8).1)
                .count()
        }

        /// Visits these stacks in order; the highest number of a row.
        fn highest_row(&mut self, stacks: &[KeyedStack]) -> RowId {
            let ids = stacks.iter().map(|&stack| self.visit(stack, 8).0.id());
            ids.max().unwrap()
        }
    }

    #[test]
    fn what_was_inserted_is_found_or_was_evicted() {
        static ROWS: CounterRows = CounterRows::new();
        let mut fixture = Fixture::new(&ROWS);
        let mut random = Random::new(3);
        assert!(fixture.find(KeyedStack::of(1), 8).is_none());
        let all = stacks(100_000, &mut random);
        let mut evicted = 0;
        for (i, &new) in all.iter().enumerate() {
            let birth = 8 + i as u32 / 30_000;
            let (_, was_found) = fixture.visit(new, birth);
            assert!(!was_found, "it was never inserted");
            // One of any age, for any birth.
            let old = all[random.index(i + 1)];
            match fixture.find(old, birth) {
                Some(row) => {
                    let is = |row: OwnedRow, birth| {
                        ROWS.stack(row.id()) == old
                            && ROWS.stack_and_birth(row.id()) == Some((old.stack_id, birth))
                    };
                    assert!(is(row, birth));
                    let other = fixture.find(old, birth + 1).unwrap();
                    assert!(is(other, birth + 1));
                }
                None => evicted += 1,
            }
        }
        assert!(evicted > 100, "it is emptied when it grows");
    }

    #[test]
    fn live_blocks_are_counted_for_their_stack_and_birth() {
        static ROWS: CounterRows = CounterRows::new();
        type Sums = BTreeMap<(StackId, u32), u64>;
        let mut fixture = Fixture::new(&ROWS);
        let mut random = Random::new(9);
        let all = stacks(4_000, &mut random);
        let mut live: Vec<(RowId, StackId, u32)> = Vec::new();
        for step in 0..200_000_usize {
            // Cycles of two phases, some with more stacks than the table has room for.
            let birth = (((step / 20_000 + 1) << 3) | (step / 10_000 % 2)) as u32;
            let in_use = if step / 40_000 % 2 == 0 {
                500
            } else {
                all.len()
            };
            let stack = all[random.index(in_use)];
            let (row, _) = fixture.visit(stack, birth);
            fixture.thread.add(row, amount());
            live.push((row.id(), stack.stack_id, birth));
            // Most blocks are freed at once, some later.
            let newest = live.len() - 1;
            let freed = match random.below(4) {
                0 if newest < 300 => continue,
                0 => random.index(live.len()),
                _ => newest,
            };
            ROWS.subtract(fixture.thread, live.swap_remove(freed).0, amount());
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
    fn a_stack_keeps_its_row_from_phase_to_phase_while_that_is_empty() {
        static ROWS: CounterRows = CounterRows::new();
        let mut fixture = Fixture::new(&ROWS);
        let all = stacks(300, &mut Random::new(5));
        // One block of each of three stacks leaks in each round; all others are freed at once.
        let mut round = |birth: u32| -> Vec<RowId> {
            let mut ids = Vec::new();
            for &stack in &all {
                let (row, _) = fixture.visit(stack, birth);
                fixture.thread.add(row, amount());
                if stack.stack_id % 100 != 0 {
                    ROWS.subtract(fixture.thread, row.id(), amount());
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
                // A row with blocks of an earlier phase is left to them.
                assert_eq!(others, 3);
            }
        }
        let mut leaked = HashMap::new();
        ROWS.for_each(|stack_id, _, _, blocks| *leaked.entry(stack_id).or_insert(0) += blocks);
        assert_eq!(leaked, HashMap::from([(100, 100), (200, 100), (300, 100)]));
    }

    #[test]
    fn it_grows_for_stacks_that_come_back_and_not_for_others() {
        static ROWS: CounterRows = CounterRows::new();
        let mut fixture = Fixture::new(&ROWS);
        let mut random = Random::new(4);
        let mut stacks = |count| stacks(count, &mut random);
        let few = stacks(400);
        assert_eq!(fixture.count_misses(&few), 400);
        assert_eq!(fixture.count_misses(&few), 0);
        assert_eq!(fixture.cache.table.buckets(), FIRST_BUCKETS);
        // Now and then others that never come back.
        for _ in 0..100 {
            for _ in 0..20 {
                fixture.count_misses(&few);
            }
            fixture.count_misses(&stacks(80));
        }
        assert_eq!(fixture.cache.table.buckets(), FIRST_BUCKETS);
        let many = stacks(50_000);
        for _ in 0..10 {
            fixture.count_misses(&many);
        }
        // At three quarters of its slots, some keys evict each other.
        let check_few_miss = |fixture: &mut Fixture, many: &[KeyedStack]| {
            let misses = fixture.count_misses(many);
            assert!(misses < many.len() / 500, "{misses}");
        };
        check_few_miss(&mut fixture, &many);
        assert_eq!(fixture.cache.table.buckets() * BUCKET_SLOTS, 65_536);
        // As many others, and the old ones never again.
        let many = stacks(50_000);
        for _ in 0..30 {
            fixture.count_misses(&many);
        }
        check_few_miss(&mut fixture, &many);
        let buckets = fixture.cache.table.buckets();
        assert!(buckets <= 16_384, "{buckets}");
        // The rows of evicted stacks are used again.
        let highest = fixture.highest_row(&many);
        assert!((highest as usize) < many.len() * 5 / 4, "{highest}");
    }

    #[test]
    fn the_largest_table_needs_no_more_rows_than_it_has_room_for() {
        static ROWS: CounterRows = CounterRows::new();
        let mut fixture = Fixture::new(&ROWS);
        // In one phase, and twice as many stacks as the table has slots.
        let all = stacks(2 * (MAX_BUCKETS * BUCKET_SLOTS) as u32, &mut Random::new(6));
        let mut highest = 0;
        for _ in 0..4 {
            highest = highest.max(fixture.highest_row(&all));
        }
        assert_eq!(fixture.cache.table.buckets(), MAX_BUCKETS);
        assert!((highest as usize) < all.len(), "{highest}");
        // Stacks in use evict those that are not.
        let few = &all[..50_000];
        let misses: Vec<usize> = (0..6).map(|_| fixture.count_misses(few)).collect();
        assert!(misses[5] < few.len() / 500, "{misses:?}");
    }
}
