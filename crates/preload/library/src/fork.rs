//! What happens when the process forks: the copy goes on as a process of its own.
//!
//! The locks of this library are taken before the fork, so that the copy does not find one held by a thread that
//! it does not have. Those of the recorder are not, because a thread may wait for them while it holds a lock that
//! the C library takes at a fork: the recorder stops in a copy in which one is held.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use crate::openings::{self, OpeningsGuard};
use crate::recorder::heap;
use crate::session::{self, SessionGuard};
use crate::start::mark_by_time;

/// The locks, in the order in which they are taken. Dropped by hand, because a destructor of a thread-local
/// would allocate.
type Locks = ManuallyDrop<(OpeningsGuard, SessionGuard)>;

thread_local! {
    /// What this thread holds while it forks.
    static HELD: RefCell<Option<Locks>> = const { RefCell::new(None) };
}

/// Follows all forks from now on.
pub(crate) fn follow() {
    // SAFETY: the handlers are functions of this library, which is never unloaded.
    unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_copy)) };
}

extern "C" fn before() {
    if !heap::records_c() || heap::is_paused() {
        return;
    }
    let _paused = heap::pause();
    let locks = (openings::lock(), session::lock());
    HELD.set(Some(ManuallyDrop::new(locks)));
}

extern "C" fn in_parent() {
    if let Some(held) = HELD.take() {
        let _paused = heap::pause();
        drop(ManuallyDrop::into_inner(held));
    }
}

/// Runs after the recorder has decided whether it goes on.
extern "C" fn in_copy() {
    let held = HELD.take();
    if !heap::records_c() {
        if held.is_some() {
            eprintln!(
                "afterdrop: a forked process is not recorded: another thread was in the recorder"
            );
        }
        return;
    }
    let _paused = heap::pause();
    let plan = held.and_then(|held| {
        let (mut openings, mut session) = ManuallyDrop::into_inner(held);
        openings.forget();
        session.forget()
    });
    let Some(plan) = plan else {
        heap::stop_recording_in_copy();
        return;
    };
    if let Err(error) = mark_by_time(plan) {
        eprintln!("afterdrop: cannot mark the cycles of a forked process: {error}");
    }
}
