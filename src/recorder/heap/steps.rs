//! The steps of a walk by call frame information, remembered and verified as frames are.
//!
//! A walk is a chain: where a frame's caller is depends on the rule for its code, and that on the return
//! address that was read before. [`Steps`] keeps the last walk, and what it depends on, so that the next
//! one verifies it with loads that do not wait for each other. Innermost frames that lie where they lay,
//! but were called from elsewhere, need one look at the rules each.

use super::cfi::Rule;
use super::cfi::rule_at;
use super::unwind::{MAX_FRAMES, Registers, Stack};

const WORD: usize = size_of::<usize>();

/// Once in so many walks it is tried whether more steps are those of the walk before.
const TRIED_EVERY: u32 = 64;

/// Where a call is that returns to this address: before it, maybe in another row of the unwind table.
fn before(ret: usize) -> usize {
    ret - 1
}

/// How a walk got from a frame to its caller.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The frame: where in its function it is, and its registers there.
    pc: usize,
    sp: usize,
    bp: usize,
    rule: Rule,
    /// Where the return address was read, and what it is.
    ret_at: usize,
    ret: usize,
    /// What the caller's `rbp` is.
    caller_bp: usize,
    /// What `rbp` is in this frame decides where a caller's frame is.
    needs_bp: bool,
    /// Words that this and the steps of its callers depend on.
    words: usize,
}

/// A word of the stack that a walk depends on.
#[derive(Clone, Copy, Debug)]
struct Word {
    at: usize,
    is: usize,
}

impl Word {
    const NONE: Self = Self { at: 0, is: 0 };

    /// Whether it is what it was.
    #[inline]
    fn is_still(&self, stack: &impl Stack) -> bool {
        // SAFETY: it was inside when it was read; a stack's upper end does not move, and from a live frame
        // on it stays mapped.
        let (now, _) = unsafe { stack.words(self.at) };
        now == self.is
    }
}

impl Step {
    const NONE: Self = Self {
        pc: 0,
        sp: 0,
        bp: 0,
        rule: Rule::NONE,
        ret_at: 0,
        ret: 0,
        caller_bp: 0,
        needs_bp: false,
        words: 0,
    };

    /// The step from a frame; `None` where the walk ends. `read` gives the word at an address of the
    /// stack.
    fn from(
        frame: Registers,
        read: impl Fn(usize) -> Option<usize>,
        rule_at: impl FnOnce(usize) -> Option<Rule>,
    ) -> Option<Self> {
        let Registers { pc, sp, bp } = frame;
        let rule = rule_at(pc)?;
        let base = if rule.is_from_bp() { bp } else { sp };
        let cfa = base.wrapping_add_signed(rule.cfa());
        if cfa <= sp {
            // A caller's frame is always above: anything else would loop.
            return None;
        }
        let ret_at = cfa - WORD;
        let ret = read(ret_at).filter(|&ret| ret != 0)?;
        let mut step = Self {
            pc,
            sp,
            bp,
            rule,
            ret_at,
            ret,
            caller_bp: bp,
            needs_bp: true,
            words: 0,
        };
        if let Some(at) = step.bp_at() {
            step.caller_bp = read(at)?;
        }
        Some(step)
    }

    /// Where the caller's `rbp` was read, if it was.
    fn bp_at(&self) -> Option<usize> {
        let cfa = self.ret_at + WORD;
        let offset = self.rule.saved_bp()?;
        Some(cfa.wrapping_add_signed(offset))
    }

    /// The frame that it leads to.
    fn caller(&self) -> Registers {
        Registers {
            pc: before(self.ret),
            sp: self.ret_at + WORD,
            bp: self.caller_bp,
        }
    }

    /// With what is known once the step of its caller is: whether that needs this frame's `rbp`, or
    /// what it has saved of the caller's. The words that it depends on are put behind the caller's.
    fn beneath(mut self, caller: Option<&Self>, words: &mut [Word]) -> Self {
        let caller_needs = caller.is_none_or(|caller| caller.needs_bp);
        self.needs_bp = self.rule.is_from_bp() || (self.bp_at().is_none() && caller_needs);
        self.words = caller.map_or(0, |caller| caller.words);
        let saved = self.bp_at().filter(|_| caller_needs);
        for (at, is) in [(Some(self.ret_at), self.ret), (saved, self.caller_bp)] {
            if let Some(at) = at {
                words[self.words] = Word { at, is };
                self.words += 1;
            }
        }
        self
    }

    /// Whether it begins at this frame, as far as matters.
    fn is_from(&self, frame: Registers) -> bool {
        (self.sp, self.pc) == (frame.sp, frame.pc) && (self.bp == frame.bp || !self.needs_bp)
    }
}

/// The steps of a thread's last walk, outermost frame first. Valid if all its bytes are zero: there are none.
pub(super) struct Steps {
    len: usize,
    /// Outer steps of the last walk whose words are taken to be those of the next: as many as were each
    /// time that the guess was wrong, and more now and then. 0 if nothing may attach.
    kept: usize,
    /// Walks that went on from there.
    walks: u32,
    last: [Step; MAX_FRAMES],
    /// Those of a walk before it is known where they attach.
    fresh: [Step; MAX_FRAMES],
    /// What the steps depend on: each on so many of the first of these.
    words: [Word; 2 * MAX_FRAMES],
}

/// What a walk found: the steps are `..len`, of which those `..kept` are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stepped {
    pub(super) kept: usize,
    pub(super) len: usize,
    /// The stack has more frames than [`MAX_FRAMES`].
    pub(super) cut: bool,
}

impl Steps {
    pub(super) const fn new() -> Self {
        Self {
            len: 0,
            kept: 0,
            walks: 0,
            last: [Step::NONE; MAX_FRAMES],
            fresh: [Step::NONE; MAX_FRAMES],
            words: [Word::NONE; 2 * MAX_FRAMES],
        }
    }

    /// Forgets them: nothing may attach.
    pub(super) fn forget(&mut self) {
        (self.len, self.kept) = (0, 0);
    }

    /// Return addresses of the steps in a range of indices.
    pub(super) fn returns(
        &self,
        range: core::ops::Range<usize>,
    ) -> impl Iterator<Item = usize> + '_ {
        self.last[range].iter().map(|step| step.ret)
    }

    #[cfg(test)]
    pub(super) fn stepped_on(&self) -> u32 {
        self.walks
    }

    /// How many of so many outer steps, from the outermost, still depend on the same words.
    fn unchanged(&self, candidates: usize, stack: &impl Stack) -> usize {
        let words = &self.words[..self.last[candidates - 1].words];
        if hold(words, stack) {
            return candidates;
        }
        let same = words.iter().take_while(|word| word.is_still(stack)).count();
        let steps = self.last[..candidates].iter();
        steps.take_while(|step| step.words <= same).count()
    }

    /// Walks from a frame outwards.
    pub(super) fn walk(&mut self, start: Registers, stack: &impl Stack) -> Stepped {
        match self.walk_on(start, stack) {
            Some(found) => found,
            None => self.walk_anew(start, stack),
        }
    }

    /// What is found if all frames lie where they lay, and the outer ones are the same: the usual case.
    /// An inner one may have been called from elsewhere, if the rule there is the same. Otherwise `None`,
    /// and only the outer steps are kept.
    fn walk_on(&mut self, start: Registers, stack: &impl Stack) -> Option<Stepped> {
        let (kept, len) = (self.kept, self.len);
        if kept == 0 || kept > len || len > MAX_FRAMES || !self.last[len - 1].is_from(start) {
            return None;
        }
        self.len = kept;
        for inner in (kept..len).rev() {
            let (outer, from) = self.last.split_at_mut(inner);
            let (step, caller) = (&mut from[0], outer.last_mut()?);
            let words = &mut self.words[caller.words..step.words];
            let (returned, saved) = words.split_first_mut()?;
            // SAFETY: it was inside when it was read, above the innermost frame, which is live; a stack's
            // upper end does not move.
            let ret = unsafe { stack.words(step.ret_at).0 };
            if !hold(saved, stack) {
                return None;
            }
            if ret != step.ret {
                if ret == 0 || rule_at(before(ret)) != Some(caller.rule) {
                    return None;
                }
                (step.ret, returned.is) = (ret, ret);
                caller.pc = before(ret);
            }
        }
        if !hold(&self.words[..self.last[kept - 1].words], stack) {
            return None;
        }
        self.len = len;
        self.walks = self.walks.wrapping_add(1);
        if self.walks.is_multiple_of(TRIED_EVERY) {
            self.kept = usize::midpoint(kept, len);
        }
        Some(Stepped {
            kept,
            len,
            cut: false,
        })
    }

    /// Steps until the walk attaches to a remembered step, or to the stack's end.
    fn walk_anew(&mut self, start: Registers, stack: &impl Stack) -> Stepped {
        let mut frame = start;
        let mut candidates = self.len;
        let (mut fresh, mut kept, mut cut) = (0, 0, false);
        loop {
            // Stacks grow downwards: inner frames have lower addresses.
            while candidates > 0 && self.last[candidates - 1].sp < frame.sp {
                candidates -= 1;
            }
            if candidates > 0 && self.last[candidates - 1].is_from(frame) {
                candidates = self.unchanged(candidates, stack);
                if candidates > 0 && self.last[candidates - 1].is_from(frame) {
                    kept = candidates;
                    break;
                }
            }
            let read = |at| Some(stack.read(at)?.0);
            let Some(step) = Step::from(frame, read, rule_at) else {
                break;
            };
            if fresh == MAX_FRAMES {
                cut = true;
                break;
            }
            self.fresh[fresh] = step;
            fresh += 1;
            frame = step.caller();
        }
        if kept + fresh > MAX_FRAMES {
            self.len = 0;
            return self.walk_anew(start, stack);
        }
        let attached = kept;
        for i in (0..fresh).rev() {
            let caller = kept.checked_sub(1).map(|outer| self.last[outer]);
            self.last[kept] = self.fresh[i].beneath(caller.as_ref(), &mut self.words);
            kept += 1;
        }
        // What is cut has no outer end that another walk may attach to.
        self.len = if cut { 0 } else { kept };
        self.kept = match self.kept {
            _ if cut => 0,
            0 => attached,
            before => before.min(attached),
        };
        Stepped {
            kept: attached,
            len: kept,
            cut,
        }
    }
}

/// Whether words are what they were. No early exit: the loads do not wait for each other.
#[inline]
fn hold(words: &[Word], stack: &impl Stack) -> bool {
    words
        .iter()
        .fold(true, |all, word| all & word.is_still(stack))
}

/// Walks from `start` into `to`: the count.
pub(super) fn walk_into(
    start: Registers,
    read: impl Fn(usize) -> Option<usize>,
    to: &mut [usize; MAX_FRAMES],
) -> usize {
    let mut frame = start;
    for (count, to) in to.iter_mut().enumerate() {
        let Some(step) = Step::from(frame, &read, rule_at) else {
            return count;
        };
        *to = step.ret;
        frame = step.caller();
    }
    MAX_FRAMES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::unwind::{Bounds, Remembered, registers};
    use std::hint::black_box;

    #[test]
    fn a_made_up_stack_is_walked_by_its_rules() {
        // Frame 0 (code 100) is 24 bytes above sp and saved the caller's rbp 16 below its end;
        // frame 1 (code 200) is found from that rbp; nothing is known of code 300.
        let stack = [0, 0x1020, 200, 0, 0, 300, 0];
        let read = |at: usize| stack.get((at - 0x1000) / 8).copied();
        let rule = |at: usize| match at {
            100 => Rule::new(false, 24, Some(-16)),
            199 => Rule::new(true, 16, None),
            _ => None,
        };
        let start = Registers {
            pc: 100,
            sp: 0x1000,
            bp: 1,
        };
        let first = Step::from(start, read, rule).unwrap();
        let second = Step::from(first.caller(), read, rule).unwrap();
        assert_eq!([first.ret, second.ret], [200, 300]);
        assert!(Step::from(second.caller(), read, rule).is_none());

        // The second frame needs `rbp`, which the first has saved for it: what `rbp` is in the first
        // does not matter.
        let mut words = [Word::NONE; 4];
        let second = second.beneath(None, &mut words);
        let first = first.beneath(Some(&second), &mut words);
        let other = |bp, from: Registers| Registers { bp, ..from };
        assert!(first.is_from(other(2, start)));
        assert!(second.is_from(first.caller()));
        assert!(!second.is_from(other(2, first.caller())));
        assert_eq!((second.words, first.words), (1, 3));
        let hold = |stack: [usize; 7]| {
            let now = |at: usize| Some((stack[(at - 0x1000) / 8], 0));
            hold(&words[..first.words], &now)
        };
        assert!(hold([9, 0x1020, 200, 9, 9, 300, 9]));
        assert!(!hold([0, 0x1021, 200, 0, 0, 300, 0]));
        assert!(!hold([0, 0x1020, 201, 0, 0, 300, 0]));
        assert!(!hold([0, 0x1020, 200, 0, 0, 301, 0]));
    }

    #[test]
    fn a_rule_that_does_not_go_up_ends_the_walk() {
        let rule = |_| Rule::new(false, 0, None);
        let start = Registers {
            pc: 1,
            sp: 0x1000,
            bp: 0,
        };
        assert!(Step::from(start, |_| Some(7), rule).is_none());
    }

    /// Calls these functions, each of which calls the next, from one of two places each, and looks in the
    /// last. They have frames of several sizes, so that as many bytes may be other frames.
    fn wander(calls: &[u8], look: &mut dyn FnMut()) {
        #[inline(never)]
        fn on<const WORDS: usize>(calls: &[u8], look: &mut dyn FnMut()) {
            let room = black_box([0_u64; WORDS]);
            // Not the last thing: a tail call would leave no frame.
            match calls[0] % 2 {
                0 => wander(&calls[1..], look),
                _ => {
                    wander(&calls[1..], look);
                    black_box(1);
                }
            }
            black_box(room);
        }
        match calls.first().map(|call| call / 2) {
            None => look(),
            Some(0) => on::<2>(calls, look),
            Some(1) => on::<6>(calls, look),
            Some(_) => on::<10>(calls, look),
        }
        black_box(());
    }

    #[test]
    fn what_was_walked_before_changes_nothing() {
        assert!(crate::recorder::heap::cfi::prepare());
        let bounds = Bounds::of_this_thread();
        let [mut known, mut fresh] = [(); 2].map(|()| Box::new(Remembered::new()));
        let mut random = crate::base::random::Random::new(7);
        let mut calls: Vec<u8> = (0..12).map(|_| random.below(6) as u8).collect();
        const WALKS: u32 = 20_000;
        for _ in 0..WALKS {
            wander(&calls, &mut || {
                let here = registers();
                let stack = bounds.reader(here.sp);
                *fresh = Remembered::new();
                let found = known.walk_by_cfi(here, stack);
                assert_eq!(found, fresh.walk_by_cfi(here, stack), "{calls:?}");
                assert!(known.stack().eq(fresh.stack()), "{calls:?}");
            });
            // Mostly inner ones, so that outer ones come to be taken for granted.
            let outermost = if random.below(100) == 0 {
                0
            } else {
                calls.len() - 3
            };
            let mut any = || outermost + random.index(calls.len() - outermost);
            let (one, other) = (any(), any());
            match random.below(3) {
                0 => calls[one] = random.below(6) as u8,
                1 => calls[one] ^= 1,
                _ => calls.swap(one, other),
            }
        }
        let went_on = known.stepped_on();
        assert!(went_on > WALKS / 10, "{went_on} of {WALKS}");
    }
}
