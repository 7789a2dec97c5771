//! Catches a panic of the workload, and keeps its message.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, PoisonError};

use crate::recorder::heap;

/// The message of the last panic, with its location.
static MESSAGE: Mutex<String> = Mutex::new(String::new());

/// Calls `f`, and returns a panic as its message with its location.
///
/// The message is kept by a panic hook, because the payload of a panic does not have the location.
/// The hook stays installed, and calls the hook that was installed before it.
pub(super) fn catch_panic<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        keep_message(info);
        previous(info);
    }));
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|_| {
        let message = MESSAGE.lock().map(|m| m.clone()).unwrap_or_default();
        if message.is_empty() {
            "the workload panicked".into()
        } else {
            message
        }
    })
}

/// Keeps the message without recording the memory for it. The pause ends before the workload's own
/// hook runs: what that hook allocates belongs to the workload.
fn keep_message(info: &PanicHookInfo<'_>) {
    let _paused = heap::pause();
    *MESSAGE.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
}
