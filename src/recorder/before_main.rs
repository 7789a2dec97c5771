//! Runs a function before `main`: in an executable that was started again to work for a service, the program itself
//! must not begin.

/// Runs a function, which is `extern "C"` and takes nothing, before `main`.
///
/// The C library calls the functions of this section of the executable, and of each shared library, before `main`. The
/// standard library works there: it gets its arguments in the same way.
macro_rules! before_main {
    ($function:path) => {
        // SAFETY: the section holds the addresses of functions that are called without regard to their arguments, which
        // this static is (tests/live.rs: `the_service_does_not_begin_in_its_helper`).
        #[used]
        #[unsafe(link_section = ".init_array")]
        static BEFORE_MAIN: extern "C" fn() = $function;
    };
}
pub(crate) use before_main;
