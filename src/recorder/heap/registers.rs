//! The registers with which a stack walk starts.

/// Program counter, stack pointer and frame pointer of a running function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    /// An address in the function.
    pub(super) pc: usize,
    pub(super) sp: usize,
    /// The frame pointer. In a build without frame pointers it may have any value.
    pub(super) bp: usize,
}

/// The frame pointer of the running function. In a build without frame pointers it may have any
/// value.
#[inline(always)]
pub(crate) fn frame_pointer() -> usize {
    let bp: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: copies a register, and touches neither memory nor flags.
    unsafe {
        core::arch::asm!("mov {}, rbp", out(reg) bp, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: copies a register, and touches neither memory nor flags.
    unsafe {
        core::arch::asm!("mov {}, x29", out(reg) bp, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        bp = 0;
    }
    bp
}

/// The registers of the running function.
#[inline(always)]
pub(super) fn registers() -> Registers {
    let (pc, sp, bp): (usize, usize, usize);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: copies registers, and touches neither memory nor flags.
    unsafe {
        core::arch::asm!(
            "lea {}, [rip]", "mov {}, rsp", "mov {}, rbp",
            out(reg) pc, out(reg) sp, out(reg) bp,
            options(nomem, nostack, preserves_flags)
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: copies registers, and touches neither memory nor flags.
    unsafe {
        core::arch::asm!(
            "adr {}, .", "mov {}, sp", "mov {}, x29",
            out(reg) pc, out(reg) sp, out(reg) bp,
            options(nomem, nostack, preserves_flags)
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        (pc, sp, bp) = (0, 0, 0);
    }
    Registers { pc, sp, bp }
}
