//! The stack by call frame information, for builds without frame pointers.
//!
//! Every function's unwind rows are in `.eh_frame`, which is part of the program in memory, with a
//! sorted index in `.eh_frame_hdr` (Linux Standard Base Core, "Exception frames"; DWARF 5, 6.4).
//! Looking a row up costs about a microsecond, so the rule for each return address is kept in a
//! table of our own: after the first time a frame costs one probe. Only the two registers that
//! Rust's and C's functions define their frame by are followed, the stack pointer and `rbp`; a
//! frame that needs another ends the walk.

use core::sync::atomic::{
    AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, NativeEndian, Pointer, ReaderOffset,
    Register, RegisterRule, UnwindContext, UnwindContextStorage, UnwindSection, UnwindTableRow,
    X86_64,
};

use super::mapped::{MappedVec, map};
use super::unwind::{MAX_FRAMES, Registers};

/// How to get from a frame to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Whether the frame's address is relative to `rbp`, else to the stack pointer.
    from_bp: bool,
    /// Bytes from that register to the canonical frame address, the stack pointer of the caller.
    cfa: i32,
    /// Where the caller's `rbp` is saved, relative to the canonical frame address; `None` if it is
    /// still in the register.
    saved_bp: Option<i32>,
}

/// A rule in a word: never 0, so that 0 is a free slot. `None` (the walk ends here) has a word, too.
const OFFSET_BITS: u32 = 28;
const VALID: u64 = 1 << 63;
const ENDS: u64 = 1 << 62;
const FROM_BP: u64 = 1 << 61;
const SAVED_BP: u64 = 1 << 60;

fn pack(rule: Option<Rule>) -> u64 {
    let field = |offset: i32| u64::from(offset as u32) & ((1 << OFFSET_BITS) - 1);
    let fits = |offset: i32| offset.unsigned_abs() < 1 << (OFFSET_BITS - 1);
    match rule {
        Some(r) if fits(r.cfa) && fits(r.saved_bp.unwrap_or(0)) => {
            let bp = if r.from_bp { FROM_BP } else { 0 };
            let saved = r.saved_bp.map_or(0, |o| SAVED_BP | field(o) << OFFSET_BITS);
            VALID | bp | saved | field(r.cfa)
        }
        _ => VALID | ENDS,
    }
}

fn unpack(word: u64) -> Option<Rule> {
    // Shifted up and down again, so that the sign spreads.
    let offset = |shift: u32| {
        let unused = 32 - OFFSET_BITS;
        (((word >> shift) as u32) << unused).cast_signed() >> unused
    };
    (word & ENDS == 0).then(|| Rule {
        from_bp: word & FROM_BP != 0,
        cfa: offset(0),
        saved_bp: (word & SAVED_BP != 0).then(|| offset(OFFSET_BITS)),
    })
}

/// How a walk got from a frame to its caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The frame: where in its function it is, and its registers there.
    pc: usize,
    pub(super) sp: usize,
    bp: usize,
    /// Where the return address was read, and what it is.
    ret_at: usize,
    pub(super) ret: usize,
    /// Where the caller's `rbp` was read, if it was, and what it is.
    bp_at: Option<usize>,
    caller_bp: usize,
    from_bp: bool,
    /// What `rbp` is in this frame decides where a caller's frame is.
    needs_bp: bool,
    /// Words that this and the steps of its callers depend on.
    pub(super) words: usize,
}

/// A word of the stack that a walk depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    at: usize,
    is: usize,
}

impl Word {
    pub(super) const NONE: Self = Self { at: 0, is: 0 };

    /// Bits that differ from what is there now.
    #[inline]
    pub(super) fn differs(&self, now: impl FnOnce(usize) -> usize) -> usize {
        now(self.at) ^ self.is
    }
}

impl Step {
    pub(super) const NONE: Self = Self {
        pc: 0,
        sp: 0,
        bp: 0,
        ret_at: 0,
        ret: 0,
        bp_at: None,
        caller_bp: 0,
        from_bp: false,
        needs_bp: false,
        words: 0,
    };

    /// The step from a frame; `None` where the walk ends. `read` gives the word at an address of the
    /// stack.
    pub(super) fn from(
        frame: Registers,
        read: impl Fn(usize) -> Option<usize>,
        rule_at: impl FnOnce(usize) -> Option<Rule>,
    ) -> Option<Self> {
        const WORD: usize = size_of::<usize>();
        let Registers { pc, sp, bp } = frame;
        let rule = rule_at(pc)?;
        let base = if rule.from_bp { bp } else { sp };
        let cfa = base.wrapping_add_signed(rule.cfa as isize);
        if cfa <= sp {
            // A caller's frame is always above: anything else would loop.
            return None;
        }
        let ret_at = cfa - WORD;
        let ret = read(ret_at).filter(|&ret| ret != 0)?;
        let bp_at = rule.saved_bp;
        let bp_at = bp_at.map(|offset| cfa.wrapping_add_signed(offset as isize));
        Some(Self {
            pc,
            sp,
            bp,
            ret_at,
            ret,
            bp_at,
            caller_bp: match bp_at {
                Some(at) => read(at)?,
                None => bp,
            },
            from_bp: rule.from_bp,
            needs_bp: true,
            words: 0,
        })
    }

    /// The frame that it leads to.
    pub(super) fn caller(&self) -> Registers {
        Registers {
            // The call is before the address that it returns to, maybe in another row.
            pc: self.ret - 1,
            sp: self.ret_at + size_of::<usize>(),
            bp: self.caller_bp,
        }
    }

    /// With what is known once the step of its caller is: whether that needs this frame's `rbp`, or
    /// what it has saved of the caller's. The words that it depends on are put behind the caller's.
    pub(super) fn beneath(mut self, caller: Option<&Self>, words: &mut [Word]) -> Self {
        let caller_needs = caller.is_none_or(|caller| caller.needs_bp);
        self.needs_bp = self.from_bp || (self.bp_at.is_none() && caller_needs);
        self.words = caller.map_or(0, |caller| caller.words);
        let saved = self.bp_at.filter(|_| caller_needs);
        for (at, is) in [(Some(self.ret_at), self.ret), (saved, self.caller_bp)] {
            if let Some(at) = at {
                words[self.words] = Word { at, is };
                self.words += 1;
            }
        }
        self
    }

    /// Whether it begins at this frame, as far as matters.
    pub(super) fn is_from(&self, frame: Registers) -> bool {
        (self.sp, self.pc) == (frame.sp, frame.pc) && (self.bp == frame.bp || !self.needs_bp)
    }
}

/// A loaded object's unwind sections, in memory for as long as the object is.
#[derive(Clone, Copy)]
struct Module {
    code: (usize, usize),
    header: (usize, usize),
    /// End of the mapping that `.eh_frame` is in.
    frames_end: usize,
}

/// The modules that were loaded when [`prepare`] ran; later ones end the walk.
static MODULES: AtomicPtr<Module> = AtomicPtr::new(core::ptr::null_mut());
static MODULE_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Rules by address: `[address, rule]` pairs of atomics, in one mapping that is never given back.
static RULES: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
const RULE_SLOTS: usize = 1 << 16;
/// Slots that are tried for an address before its rule is looked up each time.
const PROBES: usize = 8;

/// Finds the unwind sections of all loaded objects. Call once, before [`rule_at`]; false if the
/// system gives no memory for it.
pub(super) fn prepare() -> bool {
    let mut modules: MappedVec<Module> = MappedVec::new();
    // SAFETY: the callback has the signature that is asked for, gets `modules` back as `data`, and
    // runs before this call returns.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut modules).cast()) };
    let found = modules.as_slice();
    let kept: *mut Module = map(size_of_val(found).max(1)).cast();
    let rules: *mut AtomicU64 = map(RULE_SLOTS * 2 * size_of::<AtomicU64>()).cast();
    if kept.is_null() || rules.is_null() {
        return false;
    }
    // SAFETY: just mapped, with room for all of them, and not yet known to anyone.
    unsafe { core::ptr::copy_nonoverlapping(found.as_ptr(), kept, found.len()) };
    MODULES.store(kept, Release);
    MODULE_COUNT.store(found.len(), Release);
    RULES.store(rules, Release);
    true
}

/// Takes one loaded object in.
unsafe extern "C" fn collect(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader hands over a valid object description and what `prepare` gave it.
    let (info, modules) = unsafe { (&*info, &mut *data.cast::<MappedVec<Module>>()) };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader describes that many program headers there.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let range = |h: &libc::Elf64_Phdr| {
        let start = (info.dlpi_addr + h.p_vaddr) as usize;
        (start, start + h.p_memsz as usize)
    };
    let header = headers
        .iter()
        .find(|h| h.p_type == libc::PT_GNU_EH_FRAME)
        .map(range);
    let loaded = || headers.iter().filter(|h| h.p_type == libc::PT_LOAD);
    if let Some(header) = header {
        let inside = |&(start, end): &(usize, usize)| start <= header.0 && header.0 < end;
        let frames_end = loaded()
            .map(range)
            .find(inside)
            .map_or(header.1, |(_, end)| end);
        for code in loaded().filter(|h| h.p_flags & libc::PF_X != 0).map(range) {
            // Without room the module's frames end the walk.
            let _ = modules.push(Module {
                code,
                header,
                frames_end,
            });
        }
    }
    0
}

/// The rule for the code at `address`, from the table or from the unwind sections; `None` where
/// the walk ends.
pub(super) fn rule_at(address: usize) -> Option<Rule> {
    let rules = RULES.load(Acquire);
    if rules.is_null() {
        return None;
    }
    let start = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    for probe in 0..PROBES {
        let slot = (start as usize + probe) & (RULE_SLOTS - 1);
        // SAFETY: the mapping holds `RULE_SLOTS` pairs of atomics and is never given back.
        let (key, rule) = unsafe { (&*rules.add(2 * slot), &*rules.add(2 * slot + 1)) };
        match key.load(Acquire) {
            0 => {
                let found = look_up(address);
                // Another thread may take the slot first; then this rule is not kept.
                if rule
                    .compare_exchange(0, pack(found), Release, Relaxed)
                    .is_ok()
                {
                    key.store(address as u64, Release);
                }
                return found;
            }
            k if k == address as u64 => return unpack(rule.load(Relaxed)),
            _ => {}
        }
    }
    look_up(address)
}

/// Room for one evaluation on the stack: four rows of remembered state, sixteen registers each.
struct OnStack;

impl<T: ReaderOffset> UnwindContextStorage<T> for OnStack {
    type Rules = [(Register, RegisterRule<T>); 24];
    type Stack = [UnwindTableRow<T, Self>; 4];
}

#[cold]
fn look_up(address: usize) -> Option<Rule> {
    let (modules, count) = (MODULES.load(Acquire), MODULE_COUNT.load(Acquire));
    // SAFETY: `prepare` wrote `count` modules there, and they are never given back.
    let modules = unsafe { core::slice::from_raw_parts(modules.as_ref()?, count) };
    let module = modules
        .iter()
        .find(|m| (m.code.0..m.code.1).contains(&address))?;
    let section = |start: usize, end: usize| {
        // SAFETY: the loader keeps the object's read-only segments mapped, and both ends are
        // inside the one that holds its unwind sections.
        let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, end - start) };
        EndianSlice::new(bytes, NativeEndian)
    };
    let (start, end) = module.header;
    let bases = BaseAddresses::default().set_eh_frame_hdr(start as u64);
    let header = EhFrameHdr::from(section(start, end));
    let header = header.parse(&bases, size_of::<usize>() as u8).ok()?;
    let Pointer::Direct(frames) = header.eh_frame_ptr() else {
        return None;
    };
    let frames = usize::try_from(frames).ok()?;
    if frames >= module.frames_end {
        return None;
    }
    let bases = bases.set_eh_frame(frames as u64);
    let eh_frame = EhFrame::from(section(frames, module.frames_end));
    let mut context = UnwindContext::<usize, OnStack>::new_in();
    let row = header
        .table()?
        .unwind_info_for_address(
            &eh_frame,
            &bases,
            &mut context,
            address as u64,
            EhFrame::cie_from_offset,
        )
        .ok()?;
    rule_of(row)
}

fn rule_of(row: &UnwindTableRow<usize, OnStack>) -> Option<Rule> {
    let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else {
        return None;
    };
    let from_bp = match *register {
        X86_64::RSP => false,
        X86_64::RBP => true,
        _ => return None,
    };
    // The return address is where the call put it; code that says otherwise is no plain frame.
    if row.register(X86_64::RA) != Some(RegisterRule::Offset(-8)) {
        return None;
    }
    let saved_bp = match row.register(X86_64::RBP) {
        Some(RegisterRule::Offset(offset)) => Some(i32::try_from(offset).ok()?),
        None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => None,
        _ => return None,
    };
    Some(Rule {
        from_bp,
        cfa: i32::try_from(*offset).ok()?,
        saved_bp,
    })
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

    #[test]
    fn a_rule_survives_packing() {
        for from_bp in [false, true] {
            for cfa in [8, 16, -8, 1 << 20, -(1 << 20)] {
                for saved_bp in [None, Some(-16), Some(-(1 << 20)), Some(0)] {
                    let rule = Rule {
                        from_bp,
                        cfa,
                        saved_bp,
                    };
                    assert_eq!(unpack(pack(Some(rule))), Some(rule));
                    assert_ne!(pack(Some(rule)), 0);
                }
            }
        }
        assert_eq!(unpack(pack(None)), None);
        let far = Rule {
            from_bp: false,
            cfa: i32::MAX,
            saved_bp: None,
        };
        assert_eq!(
            unpack(pack(Some(far))),
            None,
            "what does not fit ends the walk"
        );
    }

    #[test]
    fn a_made_up_stack_is_walked_by_its_rules() {
        // Frame 0 (code 100) is 24 bytes above sp and saved the caller's rbp 16 below its end;
        // frame 1 (code 200) is found from that rbp; nothing is known of code 300.
        let stack = [0, 0x1020, 200, 0, 0, 300, 0];
        let read = |at: usize| stack.get((at - 0x1000) / 8).copied();
        let rule = |at: usize| match at {
            100 => Some(Rule {
                from_bp: false,
                cfa: 24,
                saved_bp: Some(-16),
            }),
            199 => Some(Rule {
                from_bp: true,
                cfa: 16,
                saved_bp: None,
            }),
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
        let differ = |stack: [usize; 7]| {
            let now = |at: usize| stack[(at - 0x1000) / 8];
            words[..first.words]
                .iter()
                .any(|word| word.differs(now) != 0)
        };
        assert!(!differ([9, 0x1020, 200, 9, 9, 300, 9]));
        assert!(differ([0, 0x1021, 200, 0, 0, 300, 0]));
        assert!(differ([0, 0x1020, 201, 0, 0, 300, 0]));
        assert!(differ([0, 0x1020, 200, 0, 0, 301, 0]));
    }

    #[test]
    fn a_rule_that_does_not_go_up_ends_the_walk() {
        let rule = |_| {
            Some(Rule {
                from_bp: false,
                cfa: 0,
                saved_bp: None,
            })
        };
        let start = Registers {
            pc: 1,
            sp: 0x1000,
            bp: 0,
        };
        assert!(Step::from(start, |_| Some(7), rule).is_none());
    }
}
