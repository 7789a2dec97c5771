//! Reading memory whose layout is other code's: the frames of callers, and what the holder search
//! scans.
//!
//! The loads are assembly, because AddressSanitizer checks those that the compiler makes, and such
//! memory includes the space between variables, which it forbids to read. The compiler knows nothing
//! of what the memory holds; so each load is made where it is written, as a volatile one is.

/// The word at `at + OFFSET`.
///
/// # Safety
/// Its bytes are mapped and readable. The address need not be aligned.
#[inline(always)]
pub(super) unsafe fn word<const OFFSET: usize>(at: usize) -> usize {
    // SAFETY: reads one word, which the caller ensures to be readable, and changes no flags (test:
    // `all_words_are_those_in_memory`).
    unsafe {
        #[cfg(target_arch = "x86_64")]
        {
            let word: usize;
            core::arch::asm!(
                "mov {word}, [{at} + {offset}]",
                at = in(reg) at, offset = const OFFSET, word = lateout(reg) word,
                options(readonly, nostack, preserves_flags)
            );
            word
        }
        #[cfg(target_arch = "aarch64")]
        {
            let word: usize;
            core::arch::asm!(
                "ldr {word}, [{at}, {offset}]",
                at = in(reg) at, offset = const OFFSET, word = lateout(reg) word,
                options(readonly, nostack, preserves_flags)
            );
            word
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        core::ptr::with_exposed_provenance::<usize>(at + OFFSET).read_unaligned()
    }
}

/// The 128 bits at `base + 8 * offset`, encrypted by one AES round into a state: as
/// `_mm_aesenc_si128` does it.
///
/// # Safety
/// The 16 bytes are mapped and readable, and the processor has AES and AVX. The address need not be
/// aligned.
// Not compiled for AES itself, so that it is inlined without optimization, too.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn aes_round(
    state: core::arch::x86_64::__m128i,
    base: usize,
    offset: usize,
) -> core::arch::x86_64::__m128i {
    let result;
    // SAFETY: reads 16 bytes, which the caller ensures to be readable, and changes no flags (test:
    // `a_round_is_that_of_the_intrinsic`).
    unsafe {
        core::arch::asm!(
            "vaesenc {result}, {state}, [{base} + 8 * {offset}]",
            state = in(xmm_reg) state,
            base = in(reg) base,
            offset = in(reg) offset,
            result = lateout(xmm_reg) result,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_those_in_memory() {
        let bytes: Vec<u8> = (0..100).collect();
        for (i, expected) in bytes.windows(16).enumerate() {
            // SAFETY: the words are in `bytes`.
            let (here, behind) = unsafe {
                let at = bytes.as_ptr().addr() + i;
                (word::<0>(at), word::<8>(at))
            };
            assert_eq!(here.to_ne_bytes(), expected[..8]);
            assert_eq!(behind.to_ne_bytes(), expected[8..]);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_round_is_that_of_the_intrinsic() {
        use core::arch::x86_64::{__m128i, _mm_aesenc_si128, _mm_loadu_si128};
        if !(std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("avx")) {
            return;
        }
        #[target_feature(enable = "aes,avx")]
        fn compare() {
            let bytes: Vec<u8> = (0..100).collect();
            let load = |at: &u8| {
                // SAFETY: the callers leave 16 bytes behind `at`.
                unsafe { _mm_loadu_si128(std::ptr::from_ref(at).cast()) }
            };
            let state = load(&bytes[60]);
            for offset in 0..10 {
                let base = bytes.as_ptr().addr() + 1;
                let expected = _mm_aesenc_si128(state, load(&bytes[1 + 8 * offset]));
                // SAFETY: the 16 bytes are in `bytes`.
                let found = unsafe { aes_round(state, base, offset) };
                let [found, expected] = [found, expected].map(|v: __m128i| {
                    // SAFETY: both types are 16 bytes of which any are valid.
                    unsafe { core::mem::transmute::<__m128i, [u8; 16]>(v) }
                });
                assert_eq!(found, expected, "{offset}");
            }
        }
        // SAFETY: the processor has AES and AVX.
        unsafe { compare() };
    }
}
