//! Location of thread-local memory: the thread pointer, and the offset of each module from it.

use crate::recorder::heap::Paused;

/// Thread-local memory of a module: the executable, or a shared object that was loaded at program
/// start. It has the same offset from the thread pointer in every thread ("static TLS").
#[derive(Clone, Copy, Debug)]
pub(super) struct TlsModule {
    /// Load bias: the difference between the addresses in memory and in the file.
    pub(super) bias: usize,
    /// Offset of the memory from the thread pointer.
    pub(super) offset: isize,
    pub(super) bytes: usize,
}

/// Modules with larger offsets were loaded later: their memory is allocated for each thread, at
/// another offset.
const MAX_OFFSET: usize = 1 << 20;

/// All modules with thread-local memory. Allocates.
pub(super) fn modules(_: &Paused) -> Vec<TlsModule> {
    unsafe extern "C" fn add(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        modules: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: `dl_iterate_phdr` passes a valid record and the pointer that it was given, which
        // is to the `Vec` below; nothing else refers to that during the call.
        let (info, modules) = unsafe { (&*info, &mut *modules.cast::<Vec<TlsModule>>()) };
        // SAFETY: the record has the address and the number of the module's program headers, and
        // the module stays loaded during the call.
        let headers =
            unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let tls = headers.iter().find(|h| h.p_type == libc::PT_TLS);
        let at = info.dlpi_tls_data.expose_provenance();
        if let Some(tls) = tls.filter(|_| at != 0) {
            modules.push(TlsModule {
                bias: info.dlpi_addr as usize,
                offset: at.wrapping_sub(thread_pointer()) as isize,
                bytes: tls.p_memsz as usize,
            });
        }
        0
    }
    let mut modules: Vec<TlsModule> = Vec::new();
    // SAFETY: the callback has the type that `dl_iterate_phdr` asks for, and `modules` outlives the
    // call (tests/holders.rs: the case `held:main_thread_local` needs its result).
    unsafe { libc::dl_iterate_phdr(Some(add), core::ptr::from_mut(&mut modules).cast()) };
    modules.retain(|m| m.offset.unsigned_abs() < MAX_OFFSET);
    modules
}

/// The running thread's thread pointer.
pub(super) fn thread_pointer() -> usize {
    let tp: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the first word of a thread's control block, at `fs:0`, is the block's own address
    // (System V ABI, "ELF Handling for Thread-Local Storage"); the instruction only reads it.
    unsafe {
        core::arch::asm!("mov {}, fs:[0]", out(reg) tp, options(nostack, readonly, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: copies a register that every thread may read; touches neither memory nor flags.
    unsafe {
        core::arch::asm!("mrs {}, tpidr_el0", out(reg) tp, options(nostack, nomem, preserves_flags));
    }
    tp
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::pause;
    use core::cell::Cell;

    #[test]
    fn a_thread_local_lies_in_a_module() {
        thread_local!(static VALUE: Cell<u64> = const { Cell::new(7) });
        let modules = modules(&pause());
        let find = || {
            let address = VALUE.with(|v| v.as_ptr().addr());
            modules.iter().position(|m| {
                let start = thread_pointer().wrapping_add_signed(m.offset);
                (start..start + m.bytes).contains(&address)
            })
        };
        let module = find();
        assert!(module.is_some());
        std::thread::scope(|s| assert_eq!(s.spawn(find).join().unwrap(), module));
    }
}
