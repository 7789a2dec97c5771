//! One row: its two counters, whose blocks they count, and what is seldom asked of it.
//!
//! What each call counts in is sixteen bytes, and all else that is known of a row lies elsewhere: of hundreds
//! of thousands of stacks only so much is wanted in the processor's caches. The two counters have room in
//! which a row says whose it is.

use core::sync::atomic::{
    AtomicI32, AtomicI64, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use crate::model::block::Birth;
use crate::model::block::StackId;

/// Adds to a counter that only this thread writes.
macro_rules! add {
    ($counter:expr, $by:expr) => {{
        let counter = &$counter;
        counter.store(counter.load(Relaxed).wrapping_add($by), Relaxed)
    }};
}
pub(super) use add;

/// What is added to a row, or taken off it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) blocks: i32,
    pub(super) bytes: i64,
    /// What they take in the C library's heap.
    pub(super) chunk: i64,
}

impl Amount {
    /// One block.
    #[inline(always)]
    pub(super) fn of_block(size: usize, chunk: u64) -> Self {
        Self {
            blocks: 1,
            bytes: size as i64,
            chunk: chunk as i64,
        }
    }
}

/// Whose blocks a row counts: those of a stack, by its key, and of a birth. 48 bits, as random as the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

const MARK_BITS: u32 = 48;
/// So many of them are kept with the bytes, which have the 48 bits above, as an address has. The others are
/// kept with the blocks.
const MARK_LOW_BITS: u32 = 16;

impl Mark {
    #[inline(always)]
    pub(super) fn of(key: u64, birth: u32) -> Self {
        // Added, because the births that are in use at a time are near each other: only two keys that differ by
        // so little can be taken for each other, however long a run is.
        const UNUSED: u32 = u64::BITS - MARK_BITS;
        Self(key.wrapping_add(u64::from(birth) << UNUSED) >> UNUSED)
    }

    #[inline(always)]
    fn low(self) -> u64 {
        self.0 & ((1 << MARK_LOW_BITS) - 1)
    }

    #[inline(always)]
    fn high(self) -> u64 {
        self.0 >> MARK_LOW_BITS
    }
}

/// Blocks of one stack and birth, allocated by one thread: those that it has allocated less those that it
/// has freed itself. Where others free them both grow on, and go around: what counts is the difference to what
/// the others have freed. If the blocks do, after four billion, the mark is another, and the stack has a new row.
#[repr(C, align(16))]
pub(super) struct Row {
    /// In the low half, and above it the high bits of the mark.
    blocks: AtomicU64,
    /// Above the low bits of the mark.
    bytes: AtomicU64,
}

const _: () = assert!(size_of::<Row>() == 16 && MARK_BITS - MARK_LOW_BITS == i32::BITS);

impl Row {
    #[inline(always)]
    pub(super) fn is(&self, mark: Mark) -> bool {
        self.blocks.load(Relaxed) >> i32::BITS == mark.high()
            && self.bytes.load(Relaxed) & ((1 << MARK_LOW_BITS) - 1) == mark.low()
    }

    #[inline(always)]
    pub(super) fn count(&self, amount: Amount) {
        let Amount { blocks, bytes, .. } = amount;
        add!(self.blocks, blocks as u64);
        add!(self.bytes, (bytes as u64) << MARK_LOW_BITS);
    }

    #[inline(always)]
    pub(super) fn discount(&self, amount: Amount) {
        let Amount { blocks, bytes, .. } = amount;
        add!(self.bytes, (-bytes as u64) << MARK_LOW_BITS);
        add!(self.blocks, -i64::from(blocks) as u64);
    }

    fn begin(&self, mark: Mark) {
        self.blocks.store(mark.high() << i32::BITS, Relaxed);
        self.bytes.store(mark.low(), Relaxed);
    }
}

/// What is seldom asked of a row.
#[repr(C, align(32))]
pub(super) struct Rest {
    /// Of its stack.
    key: AtomicU64,
    stack_id: AtomicU32,
    /// Of its blocks, as the heap's clock has it: `cycle << 3 | phase`; or [`BEGINS`].
    birth: AtomicU32,
    /// The owner's when it was begun.
    epoch: AtomicU32,
    /// Freed by others than the owner: 0 or less.
    other_blocks: AtomicI32,
    other_bytes: AtomicI64,
}

/// Of a row that is just begun for another stack or birth: whoever reads it now looks again.
const BEGINS: u32 = u32::MAX;

impl Rest {
    /// The stack and birth of the blocks.
    pub(super) fn of(&self) -> (StackId, u32) {
        (self.stack_id.load(Relaxed), self.birth.load(Relaxed))
    }

    /// The stack whose blocks these are.
    pub(super) fn stack(&self) -> Stack {
        Stack {
            key: self.key.load(Relaxed),
            stack_id: self.stack_id.load(Relaxed),
        }
    }

    /// Takes blocks off for a thread that is not the owner, or is in the middle of it.
    #[inline(always)]
    pub(super) fn discount(&self, amount: Amount) {
        self.other_bytes.fetch_sub(amount.bytes, Relaxed);
        self.other_blocks.fetch_sub(amount.blocks, Release);
    }

    /// No stack leads to it any more.
    pub(super) fn forget(&self, now: Now) {
        self.epoch.store(now.epoch.wrapping_sub(1), Relaxed);
    }

    /// Whether its stack was met lately and leads to it, and so is likely to allocate again.
    pub(super) fn is_of_use(&self, now: Now) -> bool {
        let cycle = |birth| Birth::unpacked(birth).cycle;
        self.epoch.load(Relaxed) == now.epoch
            && cycle(self.birth.load(Relaxed)) + 1 >= cycle(now.birth)
    }
}

/// A stack by its key, and its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    /// Not 0.
    pub(super) key: u64,
    pub(super) stack_id: StackId,
}

/// Both parts of a row.
#[derive(Clone, Copy)]
pub(super) struct Whole {
    pub(super) row: &'static Row,
    pub(super) rest: &'static Rest,
}

impl Whole {
    pub(super) fn blocks(self) -> i32 {
        // The owner's first: what others have freed since makes it less, never more than it was.
        let own = self.row.blocks.load(Acquire) as i32;
        own.wrapping_add(self.rest.other_blocks.load(Acquire))
    }

    pub(super) fn bytes(self) -> i64 {
        // Both go around at so many bits.
        let own = self.row.bytes.load(Acquire) >> MARK_LOW_BITS;
        let sum = own.wrapping_add(self.rest.other_bytes.load(Acquire) as u64);
        (sum << MARK_LOW_BITS) as i64 >> MARK_LOW_BITS
    }

    /// Its stack, birth, bytes and blocks at one instant, while its owner goes on; `None` if it is just begun anew.
    pub(super) fn seen(self) -> Option<(StackId, u32, i64, i32)> {
        let whose = || {
            let Rest {
                key,
                stack_id,
                birth,
                epoch,
                ..
            } = self.rest;
            (
                key.load(Relaxed),
                epoch.load(Relaxed),
                stack_id.load(Relaxed),
                birth.load(Acquire),
            )
        };
        let before = whose();
        let (blocks, bytes) = (self.blocks(), self.bytes());
        // What was read is not of a later time than this.
        fence(Acquire);
        let (.., stack_id, birth) = before;
        let is_one = birth != BEGINS && whose() == before;
        is_one.then_some((stack_id, birth, bytes, blocks))
    }

    /// Makes an empty row of its owner's that of another stack or birth.
    pub(super) fn begin(self, stack: Stack, now: Now) {
        // Whoever sees any of what follows sees this, too; and what is counted later, the new birth.
        self.rest.birth.store(BEGINS, Relaxed);
        fence(Release);
        self.row.begin(Mark::of(stack.key, now.birth));
        self.rest.other_blocks.store(0, Relaxed);
        self.rest.other_bytes.store(0, Relaxed);
        self.rest.key.store(stack.key, Relaxed);
        self.rest.epoch.store(now.epoch, Relaxed);
        self.rest.stack_id.store(stack.stack_id, Relaxed);
        self.rest.birth.store(now.birth, Release);
        fence(Release);
    }
}

/// When a row is begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) birth: u32,
    /// Rows that were begun in an earlier one are no longer found by their stacks.
    pub(super) epoch: u32,
}

#[cfg(test)]
impl Stack {
    /// One that has this stack.
    pub(super) fn of_stack(stack_id: StackId) -> Self {
        let key = crate::base::random::Random::new(u64::from(stack_id)).any() | 1;
        Self { key, stack_id }
    }
}

#[cfg(test)]
impl Now {
    /// In the first epoch.
    pub(super) fn at(birth: u32) -> Self {
        Self { birth, epoch: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn new() -> Whole {
        let row = Row {
            blocks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        let rest = Rest {
            key: AtomicU64::new(0),
            stack_id: AtomicU32::new(0),
            birth: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            other_blocks: AtomicI32::new(0),
            other_bytes: AtomicI64::new(0),
        };
        Whole {
            row: Box::leak(Box::new(row)),
            rest: Box::leak(Box::new(rest)),
        }
    }

    #[test]
    fn what_is_counted_leaves_the_mark_as_it_is() {
        let whole = new();
        let mut random = Random::new(12);
        for number in 0..200 {
            let Stack { key, stack_id } = Stack::of_stack(number);
            // The highest birth that there is, too.
            let birth = [number, u32::MAX >> 10][number as usize % 2];
            whole.begin(Stack { key, stack_id }, Now::at(birth));
            // Up to all bytes that an address space has.
            let amounts = [1, 40, 4096, (1 << 46) - 1].map(|bytes| Amount {
                blocks: 1 + random.below(1 << 28) as i32,
                bytes,
                chunk: 0,
            });
            let bytes = amounts.iter().map(|a| a.bytes).sum();
            let blocks = amounts.iter().map(|a| a.blocks).sum();
            amounts.iter().for_each(|&amount| whole.row.count(amount));
            assert_eq!(whole.seen(), Some((stack_id, birth, bytes, blocks)));
            let mark = Mark::of(key, birth);
            assert!(whole.row.is(mark));
            for bit in 0..MARK_BITS {
                assert!(!whole.row.is(Mark(mark.0 ^ 1 << bit)), "{bit}");
            }
            for (i, &amount) in amounts.iter().enumerate() {
                match i % 2 {
                    0 => whole.row.discount(amount),
                    _ => whole.rest.discount(amount),
                }
            }
            assert!(whole.row.is(mark));
            assert_eq!(whole.seen(), Some((stack_id, birth, 0, 0)));
        }
    }

    #[test]
    fn a_mark_is_of_one_stack_and_birth() {
        let mut random = Random::new(13);
        let all = |random: &mut Random| (random.any(), random.below(1 << 22) as u32);
        for _ in 0..10_000 {
            let (key, birth) = all(&mut random);
            let mark = Mark::of(key, birth);
            assert!(mark.0 >> MARK_BITS == 0);
            assert_ne!(Mark::of(key, birth ^ 1 << random.below(22)), mark);
            assert_ne!(Mark::of(key ^ 1 << (16 + random.below(48)), birth), mark);
        }
    }

    #[test]
    fn what_others_free_goes_around_with_what_is_allocated() {
        let whole = new();
        let stack = Stack::of_stack(3);
        whole.begin(stack, Now::at(9));
        let live = Amount::of_block(40, 0);
        whole.row.count(live);
        let amount = Amount {
            blocks: 1 << 29,
            bytes: 3 << 45,
            chunk: 0,
        };
        for round in 1..=20 {
            whole.row.count(amount);
            let all = (3, 9, 40 + (3 << 45), 1 + (1 << 29));
            assert_eq!(whole.seen(), Some(all), "{round}");
            whole.rest.discount(amount);
            assert_eq!(whole.seen(), Some((3, 9, 40, 1)), "{round}");
            // After so many blocks the stack is to have another.
            assert_eq!(whole.row.is(Mark::of(stack.key, 9)), round < 8);
        }
        whole.row.discount(live);
        assert_eq!(whole.seen(), Some((3, 9, 0, 0)));
    }

    #[test]
    fn a_row_is_not_seen_while_it_is_begun() {
        let whole = new();
        whole.begin(Stack::of_stack(1), Now::at(9));
        whole.row.count(Amount::of_block(8, 0));
        assert_eq!(whole.seen(), Some((1, 9, 8, 1)));
        whole.rest.birth.store(BEGINS, Relaxed);
        assert_eq!(whole.seen(), None);
        whole.begin(Stack::of_stack(2), Now::at(10));
        assert_eq!(whole.seen(), Some((2, 10, 0, 0)));
    }

    #[test]
    fn a_row_is_of_use_for_a_cycle_and_while_its_stack_leads_to_it() {
        let whole = new();
        let cycle = |cycle, epoch| Now {
            birth: Birth { cycle, phase: 2 }.packed(),
            epoch,
        };
        whole.begin(Stack::of_stack(1), cycle(5, 7));
        assert!(whole.rest.is_of_use(cycle(5, 7)) && whole.rest.is_of_use(cycle(6, 7)));
        assert!(!whole.rest.is_of_use(cycle(7, 7)) && !whole.rest.is_of_use(cycle(5, 8)));
        whole.rest.forget(cycle(5, 7));
        assert!(!whole.rest.is_of_use(cycle(5, 7)));
    }
}
