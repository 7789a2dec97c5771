//! Processor time.

use std::time::Duration;

/// Processor time of this thread, which does not include that of other processes.
pub fn thread_time() -> Duration {
    // SAFETY: `timespec` is valid if all its bytes are zero.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: fills a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
