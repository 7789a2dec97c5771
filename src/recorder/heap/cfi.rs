//! Unwind rules from call frame information, for builds without frame pointers.
//!
//! Every function's unwind rows are in `.eh_frame`, which is part of the program in memory, with a
//! sorted index in `.eh_frame_hdr` (Linux Standard Base Core, "Exception frames"; DWARF 5, 6.4).
//! Evaluating a row takes about a microsecond, so the rule for each return address is cached: after
//! the first time, a frame costs one probe. Only the two registers by which functions of Rust and C
//! define their frames are followed, the stack pointer and `rbp`. A frame that needs another
//! register ends the walk.
//!
//! # The rule cache
//! An open-addressing hash table of fixed size with linear probing, read and written without a lock.
//! It is not a [`MappedTable`](super::mapped_table) because that needs `&mut self` to insert, and
//! threads walk their stacks concurrently.
//!
//! Invariants, and the memory ordering that they need:
//! 1. A slot is claimed by a compare-and-exchange of its rule from 0, and only then gets its
//!    address, by a store with release. A reader loads the address with acquire, so that a matching
//!    address comes with its rule.
//! 2. A slot never changes once it has an address. The table does not grow: what finds no slot
//!    within [`PROBES`] is evaluated each time.

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, NativeEndian, Pointer, ReaderOffset,
    Register, RegisterRule, UnwindContext, UnwindContextStorage, UnwindSection, UnwindTableRow,
    X86_64,
};

use super::cfi_rule::Rule;
use super::mapped_vec::MappedVec;
use super::mapping::map;
use crate::recorder::primitive::{
    AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// The code of a loaded object and its unwind sections, which stay mapped as long as the object.
#[derive(Clone, Copy)]
struct Module {
    code: (usize, usize),
    /// `.eh_frame_hdr`.
    header: (usize, usize),
    /// End of the segment that `.eh_frame` is in.
    frames_end: usize,
}

/// The modules that were loaded when [`init`] ran. A frame in a later one ends the walk.
static MODULES: AtomicPtr<Module> = AtomicPtr::new(core::ptr::null_mut());
static MODULE_COUNT: AtomicUsize = AtomicUsize::new(0);

/// The rule cache: pairs of an address and a rule, in a mapping that is never unmapped.
static RULES: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
const RULE_SLOTS: usize = 1 << 16;
/// Slots that an address may be in.
const PROBES: usize = 8;

/// Finds the unwind sections of all objects that are loaded now. Must be called before [`rule_at`];
/// a second call does nothing. Returns false if the system refuses memory.
pub(super) fn init() -> bool {
    if !RULES.load(Acquire).is_null() {
        return true;
    }
    let mut modules: MappedVec<Module> = MappedVec::new();
    // SAFETY: the callback has the required signature, gets `modules` back as `data`, and runs only
    // before this call returns (unwinder.rs, tests: `both_unwinders_find_the_same_frames`).
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut modules).cast()) };
    let found = modules.as_slice();
    let kept: *mut Module = map(size_of_val(found).max(1)).cast();
    let rules: *mut AtomicU64 = map(RULE_SLOTS * 2 * size_of::<AtomicU64>()).cast();
    if kept.is_null() || rules.is_null() {
        return false;
    }
    // SAFETY: `kept` was mapped above with room for all modules, and no other thread has it yet.
    unsafe { core::ptr::copy_nonoverlapping(found.as_ptr(), kept, found.len()) };
    MODULES.store(kept, Release);
    MODULE_COUNT.store(found.len(), Release);
    RULES.store(rules, Release);
    true
}

/// Adds a loaded object to the `MappedVec<Module>` at `data`.
unsafe extern "C" fn collect(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader passes a valid description of an object, and as `data` the vector that
    // `init` passed to it.
    let (info, modules) = unsafe { (&*info, &mut *data.cast::<MappedVec<Module>>()) };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader describes `dlpi_phnum` program headers at `dlpi_phdr`, which is not null.
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
            // Without memory for it, frames in the module end the walk.
            let _ = modules.push(Module {
                code,
                header,
                frames_end,
            });
        }
    }
    0
}

/// The rule for the code at `address`, from the cache or from the unwind sections; `None` where the
/// walk ends.
pub(super) fn rule_at(address: usize) -> Option<Rule> {
    let rules = RULES.load(Acquire);
    if rules.is_null() {
        return None;
    }
    let start = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    for probe in 0..PROBES {
        let slot = (start as usize + probe) & (RULE_SLOTS - 1);
        // SAFETY: the mapping holds `RULE_SLOTS` pairs of atomics, `slot` is masked below that, and
        // the mapping is never unmapped.
        let (key, rule) = unsafe { (&*rules.add(2 * slot), &*rules.add(2 * slot + 1)) };
        match key.load(Acquire) {
            0 => {
                let found = evaluate(address);
                // If another thread claims the slot first, this rule is not cached.
                let word = Rule::to_word(found);
                if rule.compare_exchange(0, word, Release, Relaxed).is_ok() {
                    key.store(address as u64, Release);
                }
                return found;
            }
            k if k == address as u64 => {
                return Rule::from_word(rule.load(Relaxed));
            }
            _ => {}
        }
    }
    evaluate(address)
}

/// Storage for one evaluation on the call stack, without allocation: four saved rows of at most 24
/// register rules.
struct OnStack;

impl<T: ReaderOffset> UnwindContextStorage<T> for OnStack {
    type Rules = [(Register, RegisterRule<T>); 24];
    type Stack = [UnwindTableRow<T, Self>; 4];
}

/// Evaluates the call frame information for the code at `address`.
#[cold]
fn evaluate(address: usize) -> Option<Rule> {
    let (modules, count) = (MODULES.load(Acquire), MODULE_COUNT.load(Acquire));
    // SAFETY: `init` wrote `count` modules there before it published them, and the mapping is never
    // unmapped.
    let modules = unsafe { core::slice::from_raw_parts(modules.as_ref()?, count) };
    let module = modules
        .iter()
        .find(|m| (m.code.0..m.code.1).contains(&address))?;
    let section = |start: usize, end: usize| {
        // SAFETY: the loader keeps the read-only segments of a loaded object mapped, and both ends
        // are inside the one that holds its unwind sections (`collect`).
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

/// The rule of an unwind row; `None` if it needs anything but the stack pointer and `rbp`.
fn rule_of(row: &UnwindTableRow<usize, OnStack>) -> Option<Rule> {
    let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else {
        return None;
    };
    let from_bp = match *register {
        X86_64::RSP => false,
        X86_64::RBP => true,
        _ => return None,
    };
    // A call pushes the return address just below the CFA. Code that says otherwise has no
    // ordinary frame.
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
