//! The shared library that `afterdrop exec` has the loader load into a program before all others.
//!
//! Its sources are in `library/`. The build script compiles them as a package of their own, because a
//! shared library cannot be a dependency.

/// The shared library, an ELF file for this target.
pub const LIBRARY: &[u8] = include_bytes!(env!("AFTERDROP_PRELOAD_LIBRARY"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_a_shared_object() {
        const SHARED_OBJECT: u8 = 3;
        assert_eq!(&LIBRARY[..4], b"\x7fELF");
        assert_eq!(LIBRARY[16], SHARED_OBJECT);
    }
}
