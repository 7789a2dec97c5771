//! The return addresses of all stacks, kept once where stacks have them in common.
//!
//! Most stacks are those of an earlier one but for a few inner frames. So a stack has these by itself, and
//! its outer frames are those of another: a tree, as a program's calls are. Which other one that is is found
//! by a hash of the outer frames, in a table that forgets: then frames are kept twice, and nothing else.

use super::mapped_ring::MappedRing;
use super::mapped_vec::MappedVec;
use super::unwind::MAX_FRAMES;

/// A return address, and a hash of it and of all outer ones.
pub(super) type Frame = (usize, u64);

/// The inner frames of a stack, and where the outer ones are.
#[derive(Clone, Copy)]
struct Stack {
    /// Of the inner frames, in all addresses.
    start: u32,
    /// The stack that has the outer ones, too; if there are none, any.
    other: u32,
    inner: u8,
    outer: u8,
    cut: bool,
}

const _: () = assert!(MAX_FRAMES <= u8::MAX as usize);

/// Outer frames of a stack.
#[derive(Clone, Copy)]
struct Outer {
    hash: u64,
    stack: u32,
    /// 0 if this is none.
    count: u8,
}

/// The outer frames that are found again: so many first, and more where there are more stacks, up to 1 MiB.
const FIRST_FOUND: usize = 1 << 10;
const MOST_FOUND: usize = 1 << 16;
const GROWTH: usize = 4;

pub(super) struct Frames {
    stacks: MappedVec<Stack>,
    /// Innermost first within each stack.
    addresses: MappedVec<usize>,
    found: MappedRing<Outer>,
}

impl Frames {
    pub(super) const fn new() -> Self {
        Self {
            stacks: MappedVec::new(),
            addresses: MappedVec::new(),
            found: MappedRing::empty(),
        }
    }

    /// Stacks that are kept: their numbers are `0..len`.
    pub(super) fn len(&self) -> usize {
        self.stacks.as_slice().len()
    }

    /// Keeps a stack of at most [`MAX_FRAMES`], innermost first, under the next number; `None` if there is no
    /// room.
    pub(super) fn push(
        &mut self,
        cut: bool,
        frames: impl ExactSizeIterator<Item = Frame> + Clone,
    ) -> Option<()> {
        let number = u32::try_from(self.len()).ok()?;
        let start = u32::try_from(self.addresses.as_slice().len()).ok()?;
        if self.len() >= self.found.len() && self.found.len() < MOST_FOUND {
            let grown = (self.found.len() * GROWTH).max(FIRST_FOUND);
            // Without memory it stays as it is.
            if let Ok(grown) = MappedRing::new(grown) {
                self.found = grown;
            }
        }
        let len = frames.len();
        let (outer, other) = self.in_common(frames.clone());
        let inner = len - outer;
        for (address, _) in frames.clone().take(inner) {
            self.addresses.push(address).ok()?;
        }
        self.stacks
            .push(Stack {
                start,
                other,
                inner: u8::try_from(inner).ok()?,
                outer: u8::try_from(outer).ok()?,
                cut,
            })
            .ok()?;
        for (count, (_, hash)) in (outer + 1..=len).rev().zip(frames) {
            if let Some(found) = self.found.get(Self::place(hash)) {
                *found = Outer {
                    hash,
                    stack: number,
                    count: count as u8,
                };
            }
        }
        Some(())
    }

    fn place(hash: u64) -> usize {
        (hash ^ hash >> 32) as usize
    }

    /// How many outer frames a stack has in common with an earlier one, which has the innermost of these by
    /// itself; and that.
    fn in_common(&mut self, frames: impl ExactSizeIterator<Item = Frame>) -> (usize, u32) {
        let len = frames.len();
        let known = (1..=len).rev().zip(frames).find_map(|(count, (_, hash))| {
            let found = self.found.get(Self::place(hash))?;
            let is_it = found.hash == hash && usize::from(found.count) == count;
            is_it.then_some((count, found.stack))
        });
        known.unwrap_or((0, 0))
    }

    /// Copies the return addresses of the stack of a number, innermost first, into `to`, and says whether it was
    /// cut. Leaves `to` empty if there is none.
    pub(super) fn read(&self, number: usize, to: &mut MappedVec<usize>) -> bool {
        to.clear();
        let stacks = self.stacks.as_slice();
        let Some(&of) = stacks.get(number) else {
            return false;
        };
        let mut stack = of;
        // The outer frames that are wanted of it.
        let mut wanted = stack.inner + stack.outer;
        loop {
            let inner = usize::from(wanted - stack.outer);
            let end = stack.start as usize + usize::from(stack.inner);
            let inner = &self.addresses.as_slice()[end - inner..end];
            // Without room the stack stays short, as one that was cut.
            if to.extend_from_slice(inner).is_err() {
                return true;
            }
            if stack.outer == 0 {
                return of.cut;
            }
            wanted = stack.outer;
            stack = stacks[stack.other as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::recorder::heap::unwind::mix;

    /// The frames of a stack, innermost first, from its return addresses, outermost first.
    fn frames(calls: &[usize]) -> Vec<Frame> {
        let with_hash = |hash: &mut u64, &ret: &usize| {
            *hash = mix(*hash, ret);
            Some((ret, *hash))
        };
        let mut frames: Vec<Frame> = calls.iter().scan(0, with_hash).collect();
        frames.reverse();
        frames
    }

    fn is_kept(kept: &Frames, number: usize, calls: &[usize], cut: bool) {
        let mut to = MappedVec::new();
        assert_eq!(kept.read(number, &mut to), cut, "{number}");
        assert!(to.as_slice().iter().rev().eq(calls), "{number}");
    }

    #[test]
    fn every_stack_comes_back_as_it_was() {
        let mut kept = Frames::new();
        let mut random = Random::new(31);
        let mut calls: Vec<usize> = Vec::new();
        let mut all = Vec::new();
        for _ in 0..20_000 {
            // Now and then from the beginning.
            let gone = match random.index(300) {
                0 => MAX_FRAMES,
                _ => random.index(8),
            };
            calls.truncate(calls.len().saturating_sub(gone));
            for _ in 0..random.index((MAX_FRAMES + 1 - calls.len()).min(9)) {
                calls.push(1 + random.index(3));
            }
            let cut = random.below(5) == 0;
            // Some again, and some that are the outer frames of others.
            kept.push(cut, frames(&calls).into_iter()).unwrap();
            all.push((calls.clone(), cut));
        }
        assert_eq!(kept.len(), all.len());
        for (number, (calls, cut)) in all.iter().enumerate() {
            is_kept(&kept, number, calls, *cut);
        }
        assert!(all.iter().any(|(calls, _)| calls.len() > 100));
        let mut to = MappedVec::new();
        assert!(!kept.read(all.len(), &mut to) && to.as_slice().is_empty());
    }

    #[test]
    fn what_stacks_have_in_common_is_kept_once() {
        let mut kept = Frames::new();
        let outer: Vec<usize> = (100..130).collect();
        // Six levels of eight calls, as a program comes to them in any order.
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
            kept.push(false, frames(&stack(path)).into_iter()).unwrap();
        }
        for (number, &path) in paths[..STACKS].iter().enumerate() {
            is_kept(&kept, number, &stack(path), false);
        }
        let each = kept.addresses.as_slice().len() as f64 / STACKS as f64;
        assert!(each < 2.5, "{each} of 36 frames");
    }
}
