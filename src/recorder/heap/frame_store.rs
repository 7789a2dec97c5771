//! The return addresses of all interned stacks, stored once where stacks have them in common.
//!
//! Most stacks share their outer frames with an earlier stack. So a stack stores its inner frames,
//! and refers to another stack for the outer ones: a tree of calls. The other stack is found by the
//! hash of the outer frames, in a direct-mapped index with eviction. If an entry was evicted, frames
//! are stored twice, which costs memory and nothing else.
//!
//! Used under the lock of the interner (`stack_interner.rs`).

use super::frame::MAX_FRAMES;
use super::mapped_ring::MappedRing;
use super::mapped_vec::MappedVec;

/// A return address, and the hash of it and of all outer ones.
pub(super) type HashedFrame = (usize, u64);

/// The inner frames of a stack, and where the outer ones are.
#[derive(Clone, Copy)]
struct StoredStack {
    /// Index of the innermost frame in all addresses.
    start: u32,
    /// A stack with the same outer frames. Of no meaning if there are none.
    parent: u32,
    /// Frames stored for this stack.
    inner: u8,
    /// Frames shared with the parent.
    outer: u8,
    is_truncated: bool,
}

const _: () = assert!(MAX_FRAMES <= u8::MAX as usize);

/// An entry of the index: the stack that stores the innermost of these outer frames itself.
#[derive(Clone, Copy)]
struct OuterFrames {
    hash: u64,
    stack: u32,
    /// Number of outer frames; 0 in an empty entry.
    count: u8,
}

/// Entries of the index. It grows with the number of stacks, up to 1 MiB.
const FIRST_ENTRIES: usize = 1 << 10;
const MAX_ENTRIES: usize = 1 << 16;
const GROWTH: usize = 4;

pub(super) struct FrameStore {
    stacks: MappedVec<StoredStack>,
    /// The stored frames of all stacks, each innermost first.
    addresses: MappedVec<usize>,
    index: MappedRing<OuterFrames>,
}

impl FrameStore {
    pub(super) const fn new() -> Self {
        Self {
            stacks: MappedVec::new(),
            addresses: MappedVec::new(),
            index: MappedRing::empty(),
        }
    }

    /// Number of stacks. They are numbered `0..len`.
    pub(super) fn len(&self) -> usize {
        self.stacks.as_slice().len()
    }

    /// Stores a stack of at most [`MAX_FRAMES`] frames, innermost first, under the next number;
    /// `None` if there is no room.
    pub(super) fn push(
        &mut self,
        is_truncated: bool,
        frames: impl ExactSizeIterator<Item = HashedFrame> + Clone,
    ) -> Option<()> {
        let number = u32::try_from(self.len()).ok()?;
        let start = u32::try_from(self.addresses.as_slice().len()).ok()?;
        if self.len() >= self.index.len() && self.index.len() < MAX_ENTRIES {
            let grown = (self.index.len() * GROWTH).max(FIRST_ENTRIES);
            // If the system refuses memory, the index stays as it is. Its entries need not be
            // copied: new ones replace them.
            if let Ok(grown) = MappedRing::new(grown) {
                self.index = grown;
            }
        }
        let len = frames.len();
        let (outer, parent) = self.shared_with(frames.clone());
        let inner = len - outer;
        for (address, _) in frames.clone().take(inner) {
            self.addresses.push(address).ok()?;
        }
        self.stacks
            .push(StoredStack {
                start,
                parent,
                inner: u8::try_from(inner).ok()?,
                outer: u8::try_from(outer).ok()?,
                is_truncated,
            })
            .ok()?;
        for (count, (_, hash)) in (outer + 1..=len).rev().zip(frames) {
            if let Some(entry) = self.index.get(Self::slot(hash)) {
                *entry = OuterFrames {
                    hash,
                    stack: number,
                    count: count as u8,
                };
            }
        }
        Some(())
    }

    fn slot(hash: u64) -> usize {
        (hash ^ hash >> 32) as usize
    }

    /// How many outer frames a stack shares with an earlier one, and the number of that one.
    fn shared_with(&mut self, frames: impl ExactSizeIterator<Item = HashedFrame>) -> (usize, u32) {
        let len = frames.len();
        let shared = (1..=len).rev().zip(frames).find_map(|(count, (_, hash))| {
            let entry = self.index.get(Self::slot(hash))?;
            let is_equal = !cfg!(without = "sharing")
                && entry.hash == hash
                && usize::from(entry.count) == count;
            is_equal.then_some((count, entry.stack))
        });
        shared.unwrap_or((0, 0))
    }

    /// Copies the return addresses of a stack, innermost first, into `to`. Returns whether the stack
    /// was truncated. Leaves `to` empty if there is no stack with this number.
    pub(super) fn read(&self, number: usize, to: &mut MappedVec<usize>) -> bool {
        to.clear();
        let stacks = self.stacks.as_slice();
        let Some(&first) = stacks.get(number) else {
            return false;
        };
        let mut stack = first;
        // Only this many outer frames of `stack` belong to the stack that is read.
        let mut wanted = stack.inner + stack.outer;
        loop {
            let inner = usize::from(wanted - stack.outer);
            let end = stack.start as usize + usize::from(stack.inner);
            let inner = &self.addresses.as_slice()[end - inner..end];
            // If the system refuses memory, the stack is read as a truncated one.
            if to.extend_from_slice(inner).is_err() {
                return true;
            }
            if stack.outer == 0 {
                return first.is_truncated;
            }
            wanted = stack.outer;
            stack = stacks[stack.parent as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::recorder::heap::frame::mix;

    /// The frames of a stack, innermost first, from its return addresses, outermost first.
    fn frames(calls: &[usize]) -> Vec<HashedFrame> {
        let with_hash = |hash: &mut u64, &ret: &usize| {
            *hash = mix(*hash, ret);
            Some((ret, *hash))
        };
        let mut frames: Vec<HashedFrame> = calls.iter().scan(0, with_hash).collect();
        frames.reverse();
        frames
    }

    fn check(store: &FrameStore, number: usize, calls: &[usize], is_truncated: bool) {
        let mut to = MappedVec::new();
        assert_eq!(store.read(number, &mut to), is_truncated, "{number}");
        assert!(to.as_slice().iter().rev().eq(calls), "{number}");
    }

    #[test]
    fn every_stack_is_read_as_it_was_stored() {
        let mut store = FrameStore::new();
        let mut random = Random::new(31);
        let mut calls: Vec<usize> = Vec::new();
        let mut all = Vec::new();
        for _ in 0..20_000 {
            // Sometimes all frames are new. Some stacks are stored again, and some are the outer
            // frames of others.
            let popped = match random.index(300) {
                0 => MAX_FRAMES,
                _ => random.index(8),
            };
            calls.truncate(calls.len().saturating_sub(popped));
            for _ in 0..random.index((MAX_FRAMES + 1 - calls.len()).min(9)) {
                calls.push(1 + random.index(3));
            }
            let is_truncated = random.below(5) == 0;
            store
                .push(is_truncated, frames(&calls).into_iter())
                .unwrap();
            all.push((calls.clone(), is_truncated));
        }
        assert_eq!(store.len(), all.len());
        for (number, (calls, is_truncated)) in all.iter().enumerate() {
            check(&store, number, calls, *is_truncated);
        }
        assert!(all.iter().any(|(calls, _)| calls.len() > 100));
        let mut to = MappedVec::new();
        assert!(!store.read(all.len(), &mut to) && to.as_slice().is_empty());
    }

    #[test]
    fn shared_frames_are_stored_once() {
        let mut store = FrameStore::new();
        let outer: Vec<usize> = (100..130).collect();
        // Six levels of eight calls, in random order.
        let mut random = Random::new(32);
        let mut paths: Vec<usize> = (0..1 << 18).collect();
        (1..paths.len()).for_each(|i| paths.swap(i, random.index(i + 1)));
        let stack = |path: usize| {
            let call = |level: usize| level << 8 | ((path >> (3 * level)) & 7);
            let levels = (0..6).rev().map(call);
            outer.iter().copied().chain(levels).collect::<Vec<_>>()
        };
        const STACKS: usize = 50_000;
        for &path in &paths[..STACKS] {
            store.push(false, frames(&stack(path)).into_iter()).unwrap();
        }
        for (number, &path) in paths[..STACKS].iter().enumerate() {
            check(&store, number, &stack(path), false);
        }
        let stored = store.addresses.as_slice().len() as f64 / STACKS as f64;
        assert!(stored < 2.5, "{stored} of 36 frames");
    }
}
