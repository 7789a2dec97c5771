//! Panics of the workload, as messages.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use crate::recorder::heap;

/// Runs `f`, and returns a panic as its message with its location.
///
/// A panic hook keeps the message, because the payload of the unwinding has no location.
pub(super) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    static MESSAGE: Mutex<String> = Mutex::new(String::new());
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _paused = heap::pause();
        if let Ok(mut message) = MESSAGE.lock() {
            *message = info.to_string();
        }
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
