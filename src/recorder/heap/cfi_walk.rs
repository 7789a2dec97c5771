//! The stack walk by call frame information, and the prediction that saves most of it.
//!
//! A walk is a dependent chain: the rule for a frame depends on the return address read before, and
//! the rule says where the next one is. [`CfiWalker`] keeps the steps of the last walk, and the
//! stack words on which each step depends. The next walk verifies these words, with loads that do
//! not depend on each other, in place of following the chain.
//!
//! 1. The outer steps are predicted to be unchanged. The inner ones are checked one by one: an inner
//!    frame at the same address may have been called from elsewhere, if the rule there is the same.
//! 2. If any word differs from the prediction, a full walk is made. It ends where it attaches to a
//!    recorded step all of whose words are unchanged.
//!
//! Invariants:
//! 1. The result of a walk depends on the stack's memory only, not on what was recorded before.
//! 2. The words that the first n recorded steps depend on are a prefix of all recorded words.

use super::cfi::rule_at;
use super::cfi_rule::Rule;
use super::frame::{MAX_FRAMES, WORD};
use super::registers::Registers;
use super::stack_memory::StackMemory;

/// After this many right predictions, more steps are predicted to be unchanged.
const RAISE_EVERY: u32 = 64;

/// An address inside the call that returns to this address. The return address itself may be in
/// another row of the unwind table.
fn call_pc(return_address: usize) -> usize {
    return_address - 1
}

/// One step of a walk, from a frame to its caller.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The registers in the frame.
    pc: usize,
    sp: usize,
    bp: usize,
    rule: Rule,
    /// Address of the return address on the stack.
    return_at: usize,
    return_address: usize,
    /// The caller's `rbp`.
    caller_bp: usize,
    /// Whether the value of `rbp` in this frame decides where the frame of any caller is.
    needs_bp: bool,
    /// How many recorded words this step and the steps of its callers depend on.
    words: usize,
}

/// A word of the stack on which a walk depends.
#[derive(Clone, Copy, Debug)]
struct StackWord {
    at: usize,
    value: usize,
}

/// A word of the stack on which a walk depends, and what it is: a return address, or the frame pointer of a
/// caller.
#[cfg(any(feature = "preload", test))]
#[derive(Clone, Copy, Debug)]
pub(super) struct DecidingWord {
    pub(super) at: usize,
    pub(super) value: usize,
    pub(super) is_frame_pointer: bool,
}

impl StackWord {
    const EMPTY: Self = Self { at: 0, value: 0 };

    /// Whether the stack still holds the recorded value.
    #[inline]
    fn is_unchanged(&self, stack: &impl StackMemory) -> bool {
        // SAFETY: the word was inside the bounds when it was recorded, and it is at or above a
        // frame that is live now (stack_memory.rs, invariant 1; tests:
        // `the_result_does_not_depend_on_earlier_walks`).
        let (now, _) = unsafe { stack.words(self.at) };
        now == self.value
    }
}

/// Whether all words are unchanged. There is no early exit, so that the loads do not depend on each
/// other.
#[inline]
fn are_unchanged(words: &[StackWord], stack: &impl StackMemory) -> bool {
    words
        .iter()
        .fold(true, |all, word| all & word.is_unchanged(stack))
}

impl Step {
    const EMPTY: Self = Self {
        pc: 0,
        sp: 0,
        bp: 0,
        rule: Rule::END,
        return_at: 0,
        return_address: 0,
        caller_bp: 0,
        needs_bp: false,
        words: 0,
    };

    /// The step from a frame to its caller; `None` where the walk ends. `read` gives the word at an
    /// address of the stack.
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
            // The frame of a caller is always above: anything else would loop.
            return None;
        }
        let return_at = cfa - WORD;
        let return_address = read(return_at).filter(|&ret| ret != 0)?;
        let mut step = Self {
            pc,
            sp,
            bp,
            rule,
            return_at,
            return_address,
            caller_bp: bp,
            needs_bp: true,
            words: 0,
        };
        if let Some(at) = step.saved_bp_at() {
            step.caller_bp = read(at)?;
        }
        Some(step)
    }

    /// Address of the caller's saved `rbp`, if it is saved in this frame.
    fn saved_bp_at(&self) -> Option<usize> {
        let cfa = self.return_at + WORD;
        let offset = self.rule.saved_bp()?;
        Some(cfa.wrapping_add_signed(offset))
    }

    /// The registers in the caller's frame.
    fn caller(&self) -> Registers {
        Registers {
            pc: call_pc(self.return_address),
            sp: self.return_at + WORD,
            bp: self.caller_bp,
        }
    }

    /// Completes the step once that of its caller is known: whether `rbp` matters, and which words
    /// the step depends on. These are written behind those of the caller.
    ///
    /// `end_needs_bp` says whether the value of `rbp` where the walk ends matters.
    fn linked(
        mut self,
        caller: Option<&Self>,
        end_needs_bp: bool,
        words: &mut [StackWord],
    ) -> Self {
        let caller_needs_bp = caller.map_or(end_needs_bp, |caller| caller.needs_bp);
        self.needs_bp = self.rule.is_from_bp() || (self.saved_bp_at().is_none() && caller_needs_bp);
        self.words = caller.map_or(0, |caller| caller.words);
        let saved_bp_at = self.saved_bp_at().filter(|_| caller_needs_bp);
        for (at, value) in [
            (Some(self.return_at), self.return_address),
            (saved_bp_at, self.caller_bp),
        ] {
            if let Some(at) = at {
                words[self.words] = StackWord { at, value };
                self.words += 1;
            }
        }
        self
    }

    /// Whether this is a step from a frame with these registers, as far as they matter.
    fn starts_at(&self, frame: Registers) -> bool {
        (self.sp, self.pc) == (frame.sp, frame.pc) && (self.bp == frame.bp || !self.needs_bp)
    }
}

/// The steps of a thread's last walk, outermost frame first. Valid if all its bytes are zero: then
/// there are none.
pub(super) struct CfiWalker {
    len: usize,
    /// Outer steps predicted to be unchanged: the fewest to which a walk has attached after a wrong
    /// prediction, raised now and then. 0 if there is nothing to attach to.
    predicted: usize,
    /// Walks in which the prediction was right.
    predicted_walks: u32,
    /// Where the last walk had to end.
    end: usize,
    steps: [Step; MAX_FRAMES],
    /// Steps of a full walk, innermost first, before it is known where they attach.
    new_steps: [Step; MAX_FRAMES],
    /// The words that the steps depend on.
    words: [StackWord; 2 * MAX_FRAMES],
}

/// The result of a walk: the steps are `..len`, of which `..attached` are those of the last walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CfiWalk {
    pub(super) attached: usize,
    pub(super) len: usize,
    /// Whether the stack has more than [`MAX_FRAMES`] frames.
    pub(super) truncated: bool,
}

impl CfiWalker {
    pub(super) const fn new() -> Self {
        Self {
            len: 0,
            predicted: 0,
            predicted_walks: 0,
            end: 0,
            steps: [Step::EMPTY; MAX_FRAMES],
            new_steps: [Step::EMPTY; MAX_FRAMES],
            words: [StackWord::EMPTY; 2 * MAX_FRAMES],
        }
    }

    /// Forgets the last walk, so that nothing attaches to it.
    pub(super) fn clear(&mut self) {
        (self.len, self.predicted) = (0, 0);
    }

    /// Return addresses of the steps in a range of indices.
    pub(super) fn return_addresses(
        &self,
        range: core::ops::Range<usize>,
    ) -> impl Iterator<Item = usize> + '_ {
        self.steps[range].iter().map(|step| step.return_address)
    }

    /// The words that decided the last walk, of `len` steps, innermost first.
    #[cfg(any(feature = "preload", test))]
    pub(super) fn deciding_words(&self, len: usize) -> impl Iterator<Item = DecidingWord> + '_ {
        (0..len).rev().flat_map(move |i| {
            let first = i.checked_sub(1).map_or(0, |outer| self.steps[outer].words);
            let words = self.words[first..self.steps[i].words].iter().enumerate();
            words.map(|(number, &StackWord { at, value })| DecidingWord {
                at,
                value,
                // The first word of each step is the return address.
                is_frame_pointer: number > 0,
            })
        })
    }

    /// Whether the last walk, of `len` steps, depends on the value of `rbp` where it began.
    #[cfg(any(feature = "preload", test))]
    pub(super) fn needs_frame_pointer(&self, len: usize) -> bool {
        self.steps[..len].last().is_none_or(|step| step.needs_bp)
    }

    #[cfg(test)]
    pub(super) fn predicted_walks(&self) -> u32 {
        self.predicted_walks
    }

    /// How many of the `candidates` outermost steps depend on unchanged words only, counted from
    /// the outermost.
    fn unchanged(&self, candidates: usize, stack: &impl StackMemory) -> usize {
        let words = &self.words[..self.steps[candidates - 1].words];
        if are_unchanged(words, stack) {
            return candidates;
        }
        let unchanged = words
            .iter()
            .take_while(|word| word.is_unchanged(stack))
            .count();
        let steps = self.steps[..candidates].iter();
        steps.take_while(|step| step.words <= unchanged).count()
    }

    /// Walks from a frame outwards. The frame with the address `end` in it, and its callers, are left
    /// out.
    pub(super) fn walk(
        &mut self,
        start: Registers,
        stack: &impl StackMemory,
        end: usize,
    ) -> CfiWalk {
        if end != self.end {
            // The outermost step is where another walk had to end.
            self.clear();
            self.end = end;
        }
        match self.walk_predicted(start, stack) {
            Some(found) => found,
            None => self.walk_full(start, stack),
        }
    }

    /// The walk if all frames are where they were and the outer ones are the same, which is the
    /// usual case. An inner frame may have been called from elsewhere, if the rule there is the
    /// same. Otherwise `None`, and only the steps that were predicted to be unchanged remain.
    fn walk_predicted(&mut self, start: Registers, stack: &impl StackMemory) -> Option<CfiWalk> {
        let (predicted, len) = (self.predicted, self.len);
        if predicted == 0
            || predicted > len
            || len > MAX_FRAMES
            || !self.steps[len - 1].starts_at(start)
        {
            return None;
        }
        self.len = predicted;
        for inner in (predicted..len).rev() {
            let (outer, from) = self.steps.split_at_mut(inner);
            let (step, caller) = (&mut from[0], outer.last_mut()?);
            let words = &mut self.words[caller.words..step.words];
            let (return_word, saved_bp) = words.split_first_mut()?;
            // SAFETY: the word was inside the bounds when it was recorded, and it is above the
            // innermost frame, which is live (stack_memory.rs, invariant 1; tests:
            // `the_result_does_not_depend_on_earlier_walks`).
            let return_address = unsafe { stack.words(step.return_at).0 };
            if !are_unchanged(saved_bp, stack) {
                return None;
            }
            if return_address != step.return_address {
                if return_address == 0 || rule_at(call_pc(return_address)) != Some(caller.rule) {
                    return None;
                }
                (step.return_address, return_word.value) = (return_address, return_address);
                caller.pc = call_pc(return_address);
            }
        }
        if !are_unchanged(&self.words[..self.steps[predicted - 1].words], stack) {
            return None;
        }
        self.len = len;
        self.predicted_walks = self.predicted_walks.wrapping_add(1);
        if self.predicted_walks.is_multiple_of(RAISE_EVERY) {
            self.predicted = usize::midpoint(predicted, len);
        }
        Some(CfiWalk {
            attached: predicted,
            len,
            truncated: false,
        })
    }

    /// Walks step by step until the walk attaches to a recorded step or the stack ends.
    fn walk_full(&mut self, start: Registers, stack: &impl StackMemory) -> CfiWalk {
        let mut frame = start;
        let mut candidates = self.len;
        let (mut new, mut attached, mut truncated) = (0_usize, 0, false);
        let mut end_needs_bp = true;
        loop {
            // Stacks grow downwards: inner frames have lower addresses.
            while candidates > 0 && self.steps[candidates - 1].sp < frame.sp {
                candidates -= 1;
            }
            if candidates > 0 && self.steps[candidates - 1].starts_at(frame) {
                candidates = self.unchanged(candidates, stack);
                if candidates > 0 && self.steps[candidates - 1].starts_at(frame) {
                    attached = candidates;
                    break;
                }
            }
            let read = |at| Some(stack.read(at)?.0);
            let Some(step) = Step::from(frame, read, rule_at) else {
                break;
            };
            if step.return_at > self.end {
                // The step before has led to this frame, whose rule says where it ends.
                end_needs_bp = step.rule.is_from_bp();
                new = new.saturating_sub(1);
                break;
            }
            if new == MAX_FRAMES {
                truncated = true;
                break;
            }
            self.new_steps[new] = step;
            new += 1;
            frame = step.caller();
        }
        if attached + new > MAX_FRAMES {
            // Attached, the backtrace would be too long. A walk from scratch records the innermost
            // frames.
            self.len = 0;
            return self.walk_full(start, stack);
        }
        let mut len = attached;
        for i in (0..new).rev() {
            let caller = len.checked_sub(1).map(|outer| self.steps[outer]);
            self.steps[len] =
                self.new_steps[i].linked(caller.as_ref(), end_needs_bp, &mut self.words);
            len += 1;
        }
        // The outermost recorded step of a truncated walk is not that of the stack, so that no walk
        // may attach to it.
        self.len = if truncated { 0 } else { len };
        self.predicted = match self.predicted {
            _ if truncated => 0,
            0 => attached,
            before => before.min(attached),
        };
        CfiWalk {
            attached,
            len,
            truncated,
        }
    }
}

/// Walks from `start` and writes the return addresses to `to`, innermost first. Returns their
/// number.
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
        *to = step.return_address;
        frame = step.caller();
    }
    MAX_FRAMES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::recorder::heap::cfi;
    use crate::recorder::heap::last_stack::LastStack;
    use crate::recorder::heap::registers::registers;
    use crate::recorder::heap::stack_memory::StackBounds;
    use std::hint::black_box;

    #[test]
    fn a_synthetic_stack_is_walked_by_its_rules() {
        // The CFA of frame 0 (code 100) is 24 bytes above sp, and the caller's rbp is saved 16 bytes
        // below it. The CFA of frame 1 (code 200) is relative to that rbp. Code 300 has no rule.
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
        assert_eq!([first.return_address, second.return_address], [200, 300]);
        assert!(Step::from(second.caller(), read, rule).is_none());

        // The second frame needs `rbp`, which the first one has saved. So the value of `rbp` in the
        // first frame does not matter.
        let mut words = [StackWord::EMPTY; 4];
        let second = second.linked(None, true, &mut words);
        let first = first.linked(Some(&second), true, &mut words);
        let with_bp = |bp, frame: Registers| Registers { bp, ..frame };
        assert!(first.starts_at(with_bp(2, start)));
        assert!(second.starts_at(first.caller()));
        assert!(!second.starts_at(with_bp(2, first.caller())));
        assert_eq!((second.words, first.words), (1, 3));
        let are_unchanged = |stack: [usize; 7]| {
            let now = |at: usize| Some((stack[(at - 0x1000) / 8], 0));
            are_unchanged(&words[..first.words], &now)
        };
        assert!(are_unchanged([9, 0x1020, 200, 9, 9, 300, 9]));
        assert!(!are_unchanged([0, 0x1021, 200, 0, 0, 300, 0]));
        assert!(!are_unchanged([0, 0x1020, 201, 0, 0, 300, 0]));
        assert!(!are_unchanged([0, 0x1020, 200, 0, 0, 301, 0]));
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

    /// Builds a call stack of functions with frames of several sizes, each called from one of two
    /// call sites, and calls `visit` in the innermost. The same bytes may be parts of other frames
    /// in the next call.
    fn with_calls(calls: &[u8], visit: &mut dyn FnMut()) {
        #[inline(never)]
        fn frame<const WORDS: usize>(calls: &[u8], visit: &mut dyn FnMut()) {
            let room = black_box([0_u64; WORDS]);
            // Neither is a tail call, which would leave no frame.
            match calls[0] % 2 {
                0 => with_calls(&calls[1..], visit),
                _ => {
                    with_calls(&calls[1..], visit);
                    black_box(1);
                }
            }
            black_box(room);
        }
        match calls.first().map(|call| call / 2) {
            None => visit(),
            Some(0) => frame::<2>(calls, visit),
            Some(1) => frame::<6>(calls, visit),
            Some(_) => frame::<10>(calls, visit),
        }
        black_box(());
    }

    #[test]
    fn the_result_does_not_depend_on_earlier_walks() {
        assert!(cfi::init());
        let bounds = StackBounds::of_this_thread();
        let [mut used, mut fresh] = [(); 2].map(|()| Box::new(LastStack::new()));
        let mut random = Random::new(7);
        let mut calls: Vec<u8> = (0..12).map(|_| random.below(6) as u8).collect();
        const WALKS: u32 = 20_000;
        for _ in 0..WALKS {
            with_calls(&calls, &mut || {
                let here = registers();
                let stack = bounds.reader(here.sp);
                *fresh = LastStack::new();
                let found = used.walk_cfi(here, stack);
                assert_eq!(found, fresh.walk_cfi(here, stack), "{calls:?}");
                assert!(
                    used.return_addresses().eq(fresh.return_addresses()),
                    "{calls:?}"
                );
            });
            // Mostly inner calls change, so that the outer ones are predicted to be unchanged.
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
        let predicted = used.predicted_walks();
        assert!(predicted > WALKS / 10, "{predicted} of {WALKS}");
    }
}
