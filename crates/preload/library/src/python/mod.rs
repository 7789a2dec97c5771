//! Programs in Python: their functions as marks, and their garbage.
//!
//! The interpreter's functions are looked up by name, so that this library needs none. They are called where
//! the program opens a file, which it does outside of the interpreter's lock, and at marks.

mod api;
mod frames;

use core::ffi::CStr;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::recorder::heap;
use crate::session;
use api::{Api, MethodDef, Ref};

/// What marks the calls of a function. Frames of this file are not shown.
const SCRIPT: &str = include_str!("call_marks.py");
const FILE_NAME: &CStr = c"<afterdrop>";

/// Environment variable that says which allocator the interpreter takes for its objects.
const ALLOCATOR: &str = "PYTHONMALLOC";

/// The function whose calls are marks, until the interpreter watches it.
static TO_WATCH: Mutex<Option<CString>> = Mutex::new(None);
static IS_TO_WATCH: AtomicBool = AtomicBool::new(false);

/// Whether garbage is collected at marks.
static COLLECTS: AtomicBool = AtomicBool::new(false);

/// Prepares the process for its interpreter, before that begins.
pub(crate) fn prepare() {
    let found = heap::find_python();
    if found.is_some_and(|python| python.is_free_threaded)
        && std::env::var_os(ALLOCATOR).is_some_and(|value| value == "malloc")
    {
        // Such an interpreter has objects of its own allocator only, and does not start otherwise.
        // SAFETY: the loader runs this before the program, on its only thread.
        unsafe { std::env::remove_var(ALLOCATOR) };
    }
}

/// Marks a cycle at each call of a function from now on, as soon as the interpreter runs.
pub(crate) fn watch(function: &str) {
    // A null byte is no part of a name.
    *TO_WATCH.lock().unwrap_or_else(PoisonError::into_inner) = CString::new(function).ok();
    IS_TO_WATCH.store(true, Relaxed);
}

/// Collects garbage at each mark from now on.
pub(crate) fn collect_at_marks() {
    COLLECTS.store(true, Relaxed);
}

/// Called when the program opens a file: begins to watch, if it has not yet and the interpreter runs.
pub(crate) fn opened() {
    if IS_TO_WATCH.load(Relaxed)
        && let Some(api) = Api::get()
        && api.is_running()
    {
        // What follows may open files, too.
        let target = TO_WATCH
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        IS_TO_WATCH.store(false, Relaxed);
        if let Some(target) = target {
            // What the interpreter allocates for it is not the program's.
            let _paused = heap::pause();
            api.with_lock(|| run_script(api, &target));
        }
    }
}

/// Collects garbage, if marks do that.
pub(crate) fn collect() {
    if COLLECTS.load(Relaxed)
        && let Some(api) = Api::get()
        && api.is_running()
    {
        api.with_lock(|| api.collect());
    }
}

/// Runs the script with its names. The interpreter's lock is held.
fn run_script(api: &Api, target: &CStr) {
    static FUNCTIONS: [MethodDef; 2] = [
        MethodDef {
            name: c"mark".as_ptr(),
            function: mark,
            flags: MethodDef::TAKES_TUPLE,
            doc: core::ptr::null(),
        },
        MethodDef {
            name: c"watch_frames".as_ptr(),
            function: watch_frames,
            flags: MethodDef::TAKES_TUPLE,
            doc: core::ptr::null(),
        },
    ];
    let script = CString::new(SCRIPT);
    if !script.is_ok_and(|script| api.run(&script, FILE_NAME, target, &FUNCTIONS)) {
        eprintln!(
            "afterdrop: cannot watch the calls of {}",
            target.to_string_lossy()
        );
    }
}

/// `mark()`: ends a cycle and begins the next.
extern "C" fn mark(_module: Ref, _arguments: Ref) -> Ref {
    session::mark();
    Api::get().map_or(core::ptr::null_mut(), Api::none)
}

/// `watch_frames(found, name, other_name)`: asks `found` about each function of these names that is called.
extern "C" fn watch_frames(_module: Ref, arguments: Ref) -> Ref {
    let Some(api) = Api::get() else {
        return core::ptr::null_mut();
    };
    let [found, name, other] = [0, 1, 2].map(|i| api.item(arguments, i));
    frames::watch(api, found, [name, other]);
    api.none()
}
