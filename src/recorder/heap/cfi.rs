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

use super::cfi_modules;
use super::cfi_rule::Rule;
use super::mapping::map;
use crate::recorder::primitive::{
    AtomicPtr, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// The rule cache: pairs of an address and a rule, in a mapping that is never unmapped.
static RULES: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
/// Enough for the return addresses of the program. In a program that is not ours, such as one that imports
/// TensorFlow, there are many more.
const RULE_SLOTS: usize = if cfg!(feature = "preload") {
    1 << 19
} else {
    1 << 16
};
/// Slots that an address may be in.
const PROBES: usize = 8;

/// How often rules were forgotten.
#[cfg(feature = "preload")]
static FORGOTTEN: AtomicU64 = AtomicU64::new(0);

/// How often rules were forgotten. What was learned by rules before that may not be true any more.
#[cfg(feature = "preload")]
#[inline]
pub(super) fn forgotten() -> u64 {
    FORGOTTEN.load(Relaxed)
}

/// Prepares to find unwind sections. Must be called before [`rule_at`]; a second call does nothing. Returns
/// false if the system refuses memory.
pub(super) fn init() -> bool {
    if !RULES.load(Acquire).is_null() {
        return true;
    }
    let rules: *mut AtomicU64 = map(RULE_SLOTS * 2 * size_of::<AtomicU64>()).cast();
    if rules.is_null() || !cfi_modules::init() {
        return false;
    }
    RULES.store(rules, Release);
    true
}

/// Forgets all rules, after an object was unloaded: another one may get its addresses.
#[cfg(feature = "preload")]
pub(crate) fn forget_rules() {
    FORGOTTEN.fetch_add(1, Relaxed);
    let rules = RULES.load(Acquire);
    if !rules.is_null() {
        // SAFETY: the mapping is the rule cache, which has this size. Its pages become zero, which are free
        // slots; a slot that another thread fills meanwhile keeps an address or a rule without the other,
        // which no reader takes for a rule.
        unsafe {
            libc::madvise(
                rules.cast(),
                RULE_SLOTS * 2 * size_of::<AtomicU64>(),
                libc::MADV_DONTNEED,
            )
        };
    }
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
                match rule.load(Relaxed) {
                    // The rules were forgotten while this one was stored.
                    0 => return evaluate(address),
                    word => return Rule::from_word(word),
                }
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
    let module = cfi_modules::find(address)?;
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
