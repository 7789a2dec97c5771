//! A counter row: how many blocks and bytes are live of one stack and one birth, allocated by one
//! thread.
//!
//! A row has two parts, which lie in different memory. [`RowCounters`] is what every call changes:
//! 16 bytes, so that the rows of hundreds of thousands of stacks fit into the processor's caches.
//! [`RowInfo`] is everything else. The counters have spare bits, which hold a [`Fingerprint`] of the
//! stack and birth that the row is for, so that a lookup verifies a row without its `RowInfo`.
//!
//! Invariants:
//! 1. Only the owner, the thread that the row belongs to, adds to a row. So a row that is empty
//!    stays empty until its owner uses it, and the owner may restart it for another stack or birth.
//! 2. The owner also subtracts in the counters. Other threads that free such blocks subtract in
//!    `RowInfo`, atomically. The counts of a row are the sums of both.
//! 3. Both sums wrap around at the same number of bits, so that a difference stays right where the
//!    owner only allocates and others only free.
//!
//! Memory ordering:
//! - Readers use a row as a sequence lock whose sequence number is the stack key, the epoch, the
//!   stack and the birth. [`CounterRow::restart`] stores [`RESTARTING`] as the birth before a release
//!   fence, and the new birth last, with release. [`CounterRow::snapshot`] reads the sequence
//!   number, the counts, and after an acquire fence the sequence number again. The fence is for the
//!   bytes of others, which are read last; the loads before them acquire.
//! - A free by another thread subtracts the bytes first and the blocks with release. The owner
//!   restarts a row only after it has read a sum of 0 blocks, with acquire: all bytes are subtracted
//!   by then, and none can be subtracted from the restarted row.
//! - The owner's count is read before that of others, and the owner counts with release: a reader
//!   that sees a count sees all that others had freed by then. Frees in between make the sum smaller
//!   than it was at any instant, never larger. The owner's frees release too, or else a reader that
//!   sees one would miss what others had freed before.
//!
//! `tests/orderings/run` shows that each of these is needed.

use super::amount::{Amount, add_unshared};
use crate::model::block::Birth;
use crate::model::block::StackId;
use crate::recorder::primitive::{
    AtomicI32, AtomicI64, AtomicU32, AtomicU64, IS_MODEL,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// Number of a row; [`NO_ROW`] is none.
pub(super) type RowId = u32;

pub(super) const NO_ROW: RowId = 0;

/// Bits of a row's number: there are at most 16 million rows.
pub(super) const ROW_BITS: u32 = if IS_MODEL { 3 } else { 24 };

/// The bits of a row's number.
pub(super) const ROW_MASK: u32 = (1 << ROW_BITS) - 1;

/// A 48-bit hash of the stack key and the birth that a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

const FINGERPRINT_BITS: u32 = 48;
/// Bits of the fingerprint below the bytes, which have the 48 bits above: as many as an address has.
/// The other bits are above the blocks.
const LOW_BITS: u32 = 16;

impl Fingerprint {
    #[inline(always)]
    pub(super) fn of(key: u64, birth: u32) -> Self {
        // Added and not hashed: births in use at the same time are close to each other, so that
        // only keys that differ by as little could be confused, however long a run is.
        const UNUSED: u32 = u64::BITS - FINGERPRINT_BITS;
        Self(key.wrapping_add(u64::from(birth) << UNUSED) >> UNUSED)
    }

    #[inline(always)]
    fn low(self) -> u64 {
        self.0 & ((1 << LOW_BITS) - 1)
    }

    #[inline(always)]
    fn high(self) -> u64 {
        self.0 >> LOW_BITS
    }
}

/// The part of a row that every call changes: what its owner has allocated less what its owner has
/// freed.
///
/// If the blocks wrap around after four billion, they carry into the fingerprint. Then the row no
/// longer matches, and its stack gets a new one.
#[repr(C, align(16))]
pub(super) struct RowCounters {
    /// Blocks in the low half, the high bits of the fingerprint above.
    blocks: AtomicU64,
    /// Bytes, above the low bits of the fingerprint.
    bytes: AtomicU64,
}

const _: () = assert!(size_of::<RowCounters>() == 16);
const _: () = assert!(FINGERPRINT_BITS - LOW_BITS == i32::BITS);

impl RowCounters {
    #[inline(always)]
    pub(super) fn matches(&self, fingerprint: Fingerprint) -> bool {
        self.blocks.load(Relaxed) >> i32::BITS == fingerprint.high()
            && self.bytes.load(Relaxed) & ((1 << LOW_BITS) - 1) == fingerprint.low()
    }

    /// Adds blocks; called by the owner.
    #[inline(always)]
    pub(super) fn add(&self, amount: Amount) {
        let Amount { blocks, bytes, .. } = amount;
        add_unshared!(self.blocks, blocks as u64, Release);
        add_unshared!(self.bytes, (bytes as u64) << LOW_BITS, Release);
    }

    /// Subtracts blocks; called by the owner.
    #[inline(always)]
    pub(super) fn subtract(&self, amount: Amount) {
        let Amount { blocks, bytes, .. } = amount;
        add_unshared!(self.bytes, (-bytes as u64) << LOW_BITS, Release);
        add_unshared!(self.blocks, -i64::from(blocks) as u64, Release);
    }

    fn restart(&self, fingerprint: Fingerprint) {
        self.blocks.store(fingerprint.high() << i32::BITS, Relaxed);
        self.bytes.store(fingerprint.low(), Relaxed);
    }
}

/// The part of a row that is rarely used.
#[repr(C, align(32))]
pub(super) struct RowInfo {
    /// Key of the row's stack.
    key: AtomicU64,
    stack_id: AtomicU32,
    /// Birth of the row's blocks, `cycle << 3 | phase`, or [`RESTARTING`].
    birth: AtomicU32,
    /// Epoch of the owner's stack cache in which the row was restarted.
    epoch: AtomicU32,
    /// Blocks freed by other threads, negated: 0 or less.
    other_blocks: AtomicI32,
    other_bytes: AtomicI64,
}

/// In place of the birth while the row is restarted: a reader that sees it tries again.
const RESTARTING: u32 = u32::MAX;

impl RowInfo {
    /// The stack and birth of the row's blocks.
    pub(super) fn stack_and_birth(&self) -> (StackId, u32) {
        (self.stack_id.load(Relaxed), self.birth.load(Relaxed))
    }

    pub(super) fn stack(&self) -> KeyedStack {
        KeyedStack {
            key: self.key.load(Relaxed),
            stack_id: self.stack_id.load(Relaxed),
        }
    }

    /// Subtracts blocks; called by a thread that is not the owner, or that interrupts the owner in
    /// a signal handler.
    #[inline(always)]
    pub(super) fn subtract(&self, amount: Amount) {
        self.other_bytes.fetch_sub(amount.bytes, Relaxed);
        self.other_blocks.fetch_sub(amount.blocks, Release);
    }

    /// Marks the row as no longer referred to by the stack cache.
    pub(super) fn release(&self, now: Timestamp) {
        self.epoch.store(now.epoch.wrapping_sub(1), Relaxed);
    }

    /// Whether the stack cache may still refer to the row and the row was used in this cycle or the
    /// last, so that its stack is likely to allocate again.
    pub(super) fn is_reserved(&self, now: Timestamp) -> bool {
        let cycle = |birth| Birth::unpacked(birth).cycle;
        self.epoch.load(Relaxed) == now.epoch
            && cycle(self.birth.load(Relaxed)) + 1 >= cycle(now.birth)
    }
}

/// A stack, and the key by which the stack cache finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyedStack {
    /// Not 0.
    pub(super) key: u64,
    pub(super) stack_id: StackId,
}

/// The birth of new blocks, and the epoch of the running thread's stack cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timestamp {
    pub(super) birth: u32,
    /// The stack cache does not refer to rows that were restarted in an earlier epoch.
    pub(super) epoch: u32,
}

/// Both parts of a row.
#[derive(Clone, Copy)]
pub(super) struct CounterRow {
    pub(super) counters: &'static RowCounters,
    pub(super) info: &'static RowInfo,
}

impl CounterRow {
    pub(super) fn blocks(self) -> i32 {
        // The owner's count first: see the memory ordering in the module's docs.
        let own = self.counters.blocks.load(Acquire) as i32;
        // Acquire, because the owner may restart an empty row.
        own.wrapping_add(self.info.other_blocks.load(Acquire))
    }

    pub(super) fn bytes(self) -> i64 {
        let own = self.counters.bytes.load(Acquire) >> LOW_BITS;
        let sum = own.wrapping_add(self.info.other_bytes.load(Relaxed) as u64);
        (sum << LOW_BITS) as i64 >> LOW_BITS
    }

    /// The stack, birth, bytes and blocks of the row at one instant, while its owner goes on; `None`
    /// if the owner has restarted the row meanwhile.
    pub(super) fn snapshot(self) -> Option<(StackId, u32, i64, i32)> {
        let sequence = || {
            let RowInfo {
                key,
                stack_id,
                birth,
                epoch,
                ..
            } = self.info;
            (
                key.load(Relaxed),
                epoch.load(Relaxed),
                stack_id.load(Relaxed),
                birth.load(Acquire),
            )
        };
        let before = sequence();
        let (blocks, bytes) = (self.blocks(), self.bytes());
        // The sequence number must not be read again before the counts.
        fence(Acquire);
        let (.., stack_id, birth) = before;
        let is_consistent = birth != RESTARTING && sequence() == before;
        is_consistent.then_some((stack_id, birth, bytes, blocks))
    }

    /// Makes an empty row one for another stack or birth; called by its owner.
    pub(super) fn restart(self, stack: KeyedStack, now: Timestamp) {
        // A reader that sees any store below sees this one too.
        self.info.birth.store(RESTARTING, Relaxed);
        fence(Release);
        self.counters.restart(Fingerprint::of(stack.key, now.birth));
        self.info.other_blocks.store(0, Relaxed);
        self.info.other_bytes.store(0, Relaxed);
        self.info.key.store(stack.key, Relaxed);
        self.info.epoch.store(now.epoch, Relaxed);
        self.info.stack_id.store(stack.stack_id, Relaxed);
        self.info.birth.store(now.birth, Release);
    }
}

/// A row of the running thread, which may add to it.
#[derive(Clone, Copy)]
pub(super) struct OwnedRow {
    counters: &'static RowCounters,
    id: RowId,
}

impl OwnedRow {
    /// The caller has checked that the running thread owns the row.
    #[inline]
    pub(super) fn new(id: RowId, counters: &'static RowCounters) -> Self {
        Self { counters, id }
    }

    #[inline]
    pub(super) fn id(self) -> RowId {
        self.id
    }

    /// Whether the row is for this stack and birth, and was not restarted for another.
    #[inline(always)]
    pub(super) fn matches(self, fingerprint: Fingerprint) -> bool {
        self.counters.matches(fingerprint)
    }

    #[inline(always)]
    pub(super) fn add(self, amount: Amount) {
        self.counters.add(amount);
    }
}

#[cfg(test)]
impl KeyedStack {
    /// A stack with a random key.
    pub(super) fn of(stack_id: StackId) -> Self {
        let key = crate::base::random::Random::new(u64::from(stack_id)).any() | 1;
        Self { key, stack_id }
    }
}

#[cfg(test)]
impl Timestamp {
    /// In the first epoch.
    pub(super) fn at(birth: u32) -> Self {
        Self { birth, epoch: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn new_row() -> CounterRow {
        let counters = RowCounters {
            blocks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        let info = RowInfo {
            key: AtomicU64::new(0),
            stack_id: AtomicU32::new(0),
            birth: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            other_blocks: AtomicI32::new(0),
            other_bytes: AtomicI64::new(0),
        };
        CounterRow {
            counters: Box::leak(Box::new(counters)),
            info: Box::leak(Box::new(info)),
        }
    }

    #[test]
    fn counting_leaves_the_fingerprint_unchanged() {
        let row = new_row();
        let mut random = Random::new(12);
        for number in 0..200 {
            let KeyedStack { key, stack_id } = KeyedStack::of(number);
            // Half of the time the highest possible birth.
            let birth = [number, u32::MAX >> 10][number as usize % 2];
            row.restart(KeyedStack { key, stack_id }, Timestamp::at(birth));
            // Up to all bytes of an address space.
            let amounts = [1, 40, 4096, (1 << 46) - 1].map(|bytes| Amount {
                blocks: 1 + random.below(1 << 28) as i32,
                bytes,
                chunk: 0,
            });
            let bytes = amounts.iter().map(|a| a.bytes).sum();
            let blocks = amounts.iter().map(|a| a.blocks).sum();
            amounts.iter().for_each(|&amount| row.counters.add(amount));
            assert_eq!(row.snapshot(), Some((stack_id, birth, bytes, blocks)));
            let fingerprint = Fingerprint::of(key, birth);
            assert!(row.counters.matches(fingerprint));
            for bit in 0..FINGERPRINT_BITS {
                let other = Fingerprint(fingerprint.0 ^ 1 << bit);
                assert!(!row.counters.matches(other), "{bit}");
            }
            for (i, &amount) in amounts.iter().enumerate() {
                match i % 2 {
                    0 => row.counters.subtract(amount),
                    _ => row.info.subtract(amount),
                }
            }
            assert!(row.counters.matches(fingerprint));
            assert_eq!(row.snapshot(), Some((stack_id, birth, 0, 0)));
        }
    }

    #[test]
    fn another_stack_or_birth_has_another_fingerprint() {
        let mut random = Random::new(13);
        let any = |random: &mut Random| (random.any(), random.below(1 << 22) as u32);
        for _ in 0..10_000 {
            let (key, birth) = any(&mut random);
            let fingerprint = Fingerprint::of(key, birth);
            assert!(fingerprint.0 >> FINGERPRINT_BITS == 0);
            let other_birth = birth ^ 1 << random.below(22);
            assert_ne!(Fingerprint::of(key, other_birth), fingerprint);
            let other_key = key ^ 1 << (16 + random.below(48));
            assert_ne!(Fingerprint::of(other_key, birth), fingerprint);
        }
    }

    #[test]
    fn counts_stay_right_when_they_wrap_around() {
        let row = new_row();
        let stack = KeyedStack::of(3);
        row.restart(stack, Timestamp::at(9));
        let live = Amount::of_block(40, 0);
        row.counters.add(live);
        let amount = Amount {
            blocks: 1 << 29,
            bytes: 3 << 45,
            chunk: 0,
        };
        for round in 1..=20 {
            row.counters.add(amount);
            let all = (3, 9, 40 + (3 << 45), 1 + (1 << 29));
            assert_eq!(row.snapshot(), Some(all), "{round}");
            row.info.subtract(amount);
            assert_eq!(row.snapshot(), Some((3, 9, 40, 1)), "{round}");
            // After four billion blocks the stack is to get another row.
            let still_matches = row.counters.matches(Fingerprint::of(stack.key, 9));
            assert_eq!(still_matches, round < 8);
        }
        row.counters.subtract(live);
        assert_eq!(row.snapshot(), Some((3, 9, 0, 0)));
    }

    #[test]
    fn there_is_no_snapshot_of_a_row_while_it_is_restarted() {
        let row = new_row();
        row.restart(KeyedStack::of(1), Timestamp::at(9));
        row.counters.add(Amount::of_block(8, 0));
        assert_eq!(row.snapshot(), Some((1, 9, 8, 1)));
        row.info.birth.store(RESTARTING, Relaxed);
        assert_eq!(row.snapshot(), None);
        row.restart(KeyedStack::of(2), Timestamp::at(10));
        assert_eq!(row.snapshot(), Some((2, 10, 0, 0)));
    }

    #[test]
    fn a_row_is_reserved_for_a_cycle_until_it_is_released() {
        let row = new_row();
        let cycle = |cycle, epoch| Timestamp {
            birth: Birth { cycle, phase: 2 }.packed(),
            epoch,
        };
        row.restart(KeyedStack::of(1), cycle(5, 7));
        assert!(row.info.is_reserved(cycle(5, 7)) && row.info.is_reserved(cycle(6, 7)));
        assert!(!row.info.is_reserved(cycle(7, 7)) && !row.info.is_reserved(cycle(5, 8)));
        row.info.release(cycle(5, 7));
        assert!(!row.info.is_reserved(cycle(5, 7)));
    }
}
