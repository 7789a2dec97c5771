//! Room on the stack: a thread of the program may have little.

use std::thread::Builder;

use crate::recorder::heap;

/// Bytes of stack that the work of a mark takes at most, with a reserve.
const ROOM: usize = 128 << 10;

/// Calls `work`: on a thread of its own if the stack of this one has too little room for it, or is none that the
/// threading library knows.
pub(crate) fn with_room<R: Default + Send>(work: impl FnOnce() -> R + Send) -> R {
    if heap::stack_room() >= ROOM {
        return work();
    }
    let _paused = heap::pause();
    std::thread::scope(|scope| {
        let thread = Builder::new()
            .stack_size(2 * ROOM)
            .spawn_scoped(scope, work);
        // Without a thread, or if it panicked, the mark is lost, and nothing else.
        thread
            .ok()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    })
}
