//! The stack by call frame information, for builds without frame pointers.
//!
//! Every function's unwind rows are in `.eh_frame`, which is part of the program in memory, with a
//! sorted index in `.eh_frame_hdr` (Linux Standard Base Core, "Exception frames"; DWARF 5, 6.4).
//! RunningSearch a row up costs about a microsecond, so the rule for each return address is kept in a
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

use super::mapped_vec::MappedVec;
use super::mapping::map;

/// How to get from a frame to its caller, in a word: never 0, so that 0 is a free slot of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule(u64);

const OFFSET_BITS: u32 = 28;
const VALID: u64 = 1 << 63;
/// The walk ends here.
const ENDS: u64 = 1 << 62;
const FROM_BP: u64 = 1 << 61;
const SAVED_BP: u64 = 1 << 60;

impl Rule {
    pub(super) const NONE: Self = Self(VALID | ENDS);

    /// A frame whose address is so many bytes from a register, `rbp` or else the stack pointer, with the
    /// caller's `rbp` saved so many bytes from that address, if it is not still in the register. `None`
    /// if an offset does not fit: then the walk ends.
    pub(super) fn new(from_bp: bool, cfa: i32, saved_bp: Option<i32>) -> Option<Self> {
        let field = |offset: i32| u64::from(offset as u32) & ((1 << OFFSET_BITS) - 1);
        let fits = |offset: i32| offset.unsigned_abs() < 1 << (OFFSET_BITS - 1);
        (fits(cfa) && fits(saved_bp.unwrap_or(0))).then(|| {
            let bp = if from_bp { FROM_BP } else { 0 };
            let saved = saved_bp.map_or(0, |o| SAVED_BP | field(o) << OFFSET_BITS);
            Self(VALID | bp | saved | field(cfa))
        })
    }

    /// Whether the frame's address is relative to `rbp`, else to the stack pointer.
    pub(super) fn is_from_bp(self) -> bool {
        self.0 & FROM_BP != 0
    }

    /// Bytes from that register to the canonical frame address, the stack pointer of the caller.
    pub(super) fn cfa(self) -> isize {
        self.offset(0)
    }

    /// Where the caller's `rbp` is saved, relative to the canonical frame address; `None` if it is still
    /// in the register.
    pub(super) fn saved_bp(self) -> Option<isize> {
        (self.0 & SAVED_BP != 0).then(|| self.offset(OFFSET_BITS))
    }

    fn offset(self, shift: u32) -> isize {
        // Shifted up and down again, so that the sign spreads.
        let unused = 32 - OFFSET_BITS;
        ((((self.0 >> shift) as u32) << unused).cast_signed() >> unused) as isize
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
                let word = found.unwrap_or(Rule::NONE).0;
                if rule.compare_exchange(0, word, Release, Relaxed).is_ok() {
                    key.store(address as u64, Release);
                }
                return found;
            }
            k if k == address as u64 => {
                let word = rule.load(Relaxed);
                return (word & ENDS == 0).then_some(Rule(word));
            }
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
    Rule::new(from_bp, i32::try_from(*offset).ok()?, saved_bp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_survives_packing() {
        for from_bp in [false, true] {
            for cfa in [8, 16, -8, 1 << 20, -(1 << 20)] {
                for saved_bp in [None, Some(-16), Some(-(1 << 20)), Some(0)] {
                    let rule = Rule::new(from_bp, cfa, saved_bp).unwrap();
                    assert_eq!(rule.is_from_bp(), from_bp);
                    assert_eq!(rule.cfa(), cfa as isize);
                    assert_eq!(rule.saved_bp(), saved_bp.map(|o| o as isize));
                    assert_ne!(rule.0, 0);
                    assert_eq!(rule.0 & ENDS, 0);
                }
            }
        }
        assert_eq!(
            Rule::new(false, i32::MAX, None),
            None,
            "what does not fit ends the walk"
        );
    }
}
