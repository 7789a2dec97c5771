//! Which loaded object the code at an address belongs to, and where its unwind sections are.
//!
//! From version 2.35 on glibc has an index of all loaded objects, which is read without a lock
//! (`_dl_find_object`, in its manual "Finding the Object of an Address"). Elsewhere the objects are those
//! that were loaded when [`init`] ran, and a frame in a later one ends the walk.

use super::mapped_vec::MappedVec;
use super::mapping::map;
use crate::recorder::primitive::{
    AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Release},
};

/// The code of a loaded object and its unwind sections, which stay mapped as long as the object.
#[derive(Clone, Copy)]
pub(super) struct Module {
    code: (usize, usize),
    /// `.eh_frame_hdr`, and what may be behind it.
    pub(super) header: (usize, usize),
    /// End of the segment that `.eh_frame` is in.
    pub(super) frames_end: usize,
}

/// What `_dl_find_object` fills in (dlfcn.h).
#[repr(C)]
struct FoundObject {
    flags: u64,
    map_start: usize,
    map_end: usize,
    link_map: usize,
    /// The segment `PT_GNU_EH_FRAME`; 0 if there is none.
    eh_frame_header: usize,
    reserved: [u64; 7],
}

type FindObject = unsafe extern "C" fn(address: usize, to: *mut FoundObject) -> libc::c_int;

/// glibc's function; null if it has none.
static FIND_OBJECT: AtomicPtr<libc::c_void> = AtomicPtr::new(core::ptr::null_mut());

/// The modules that were loaded when [`init`] ran, if there is no such function.
static MODULES: AtomicPtr<Module> = AtomicPtr::new(core::ptr::null_mut());
static MODULE_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Prepares [`find`]. Returns false if the system refuses memory.
pub(super) fn init() -> bool {
    // SAFETY: the name ends in a null byte. A symbol that does not exist gives null.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) };
    FIND_OBJECT.store(found, Release);
    if !found.is_null() {
        return true;
    }
    let mut modules: MappedVec<Module> = MappedVec::new();
    // SAFETY: the callback has the required signature, gets `modules` back as `data`, and runs only
    // before this call returns (tests: `both_ways_find_the_same_sections`).
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut modules).cast()) };
    let found = modules.as_slice();
    let kept: *mut Module = map(size_of_val(found).max(1)).cast();
    if kept.is_null() {
        return false;
    }
    // SAFETY: `kept` was mapped above with room for all modules, and no other thread has it yet.
    unsafe { core::ptr::copy_nonoverlapping(found.as_ptr(), kept, found.len()) };
    MODULES.store(kept, Release);
    MODULE_COUNT.store(found.len(), Release);
    true
}

/// The module with the code at an address; `None` if there is none, or it has no unwind sections.
pub(super) fn find(address: usize) -> Option<Module> {
    let find_object = FIND_OBJECT.load(Acquire);
    if !find_object.is_null() {
        // SAFETY: glibc's function of this name has this type since it was added in 2.35.
        let find_object =
            unsafe { core::mem::transmute::<*mut libc::c_void, FindObject>(find_object) };
        return find_loaded(find_object, address);
    }
    let (modules, count) = (MODULES.load(Acquire), MODULE_COUNT.load(Acquire));
    // SAFETY: `init` wrote `count` modules there before it published them, and the mapping is never
    // unmapped.
    let modules = unsafe { core::slice::from_raw_parts(modules.as_ref()?, count) };
    let is_in = |m: &&Module| (m.code.0..m.code.1).contains(&address);
    modules.iter().find(is_in).copied()
}

fn find_loaded(find_object: FindObject, address: usize) -> Option<Module> {
    let mut found = FoundObject {
        flags: 0,
        map_start: 0,
        map_end: 0,
        link_map: 0,
        eh_frame_header: 0,
        reserved: [0; 7],
    };
    // SAFETY: fills a local variable of the right type. It takes no lock, so that a hook may call it
    // (tests: `both_ways_find_the_same_sections`).
    let is_found = unsafe { find_object(address, &mut found) } == 0;
    let header = Some(found.eh_frame_header).filter(|&at| is_found && at != 0)?;
    Some(Module {
        code: (found.map_start, found.map_end),
        header: (header, found.map_end),
        frames_end: found.map_end,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same_sections() {
        let mut modules: MappedVec<Module> = MappedVec::new();
        // SAFETY: the callback has the required signature, and gets `modules` back as `data`.
        unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut modules).cast()) };
        assert!(init());
        assert!(
            modules.as_slice().len() >= 3,
            "the test, libc and libgcc at least"
        );
        for module in modules.as_slice() {
            let found = find(module.code.0 + 1).unwrap();
            assert_eq!(found.header.0, module.header.0);
            assert!(found.frames_end >= module.frames_end);
        }
        assert!(find(8).is_none());
    }
}
