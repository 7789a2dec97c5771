//! Programs in Python: their functions as marks, and their garbage.
//!
//! The interpreter's functions are looked up by name, so that this library needs none.

mod api;
mod frames;

use core::ffi::{CStr, c_char, c_int, c_void};
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::python::ENV_ALLOCATOR;
use crate::recorder::heap;
use crate::session;
use api::{Api, MethodDef, Ref};

/// What marks the calls of a function. Frames of this file are not shown.
const SCRIPT: &str = include_str!("call_marks.py");
const FILE_NAME: &CStr = c"<afterdrop>";

/// The function whose calls are marks, until the interpreter watches it.
static TO_WATCH: Mutex<Option<CString>> = Mutex::new(None);

/// Whether the interpreter does not tell yet when it runs a program.
static IS_HOOK_MISSING: AtomicBool = AtomicBool::new(false);

/// Whether garbage is collected at marks.
static COLLECTS: AtomicBool = AtomicBool::new(false);

/// Prepares the process for its interpreter, before that begins.
pub(crate) fn prepare() {
    let found = heap::find_python();
    if found.is_some_and(|python| python.is_free_threaded)
        && std::env::var_os(ENV_ALLOCATOR).is_some_and(|value| value == "malloc")
    {
        // Such an interpreter has objects of its own allocator only, and does not start otherwise.
        // SAFETY: the loader runs this before the program, on its only thread.
        unsafe { std::env::remove_var(ENV_ALLOCATOR) };
    }
}

/// Marks a cycle at each call of a function, as soon as the interpreter runs a program. Called before it begins.
pub(crate) fn watch(function: &str) {
    let Some(python) = heap::find_python() else {
        return;
    };
    match python.failure {
        // A null byte is no part of a name.
        None => {
            *to_watch() = CString::new(function).ok();
            IS_HOOK_MISSING.store(true, Relaxed);
        }
        Some(why) => eprintln!(
            "afterdrop: cannot watch the calls of {function} in Python {}: {why}",
            python.version
        ),
    }
}

/// Called when the program opens a file. The interpreter does so before it begins, and after it has chosen its
/// allocators: what is allocated before that would be freed by another one.
pub(crate) fn opened() {
    if IS_HOOK_MISSING.load(Relaxed)
        && IS_HOOK_MISSING.swap(false, Relaxed)
        && let Some(api) = Api::get()
    {
        match api.is_running() {
            true => api.with_lock(|| api.add_audit_hook(audit)),
            false => api.add_audit_hook(audit),
        }
    }
}

/// Whether the interpreter ends: what is freed and allocated then belongs to no cycle.
pub(crate) fn is_ending() -> bool {
    heap::knows_python() && Api::get().is_some_and(Api::is_ending)
}

fn to_watch() -> MutexGuard<'static, Option<CString>> {
    TO_WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called by the interpreter at what its audit hooks are told of, with its lock held (PEP 578). No other call of
/// the interpreter tells that it is about to run the program and holds no lock of its own.
extern "C" fn audit(event: *const c_char, _arguments: Ref, _: *mut c_void) -> c_int {
    // SAFETY: the name of an event is a text.
    let event = unsafe { CStr::from_ptr(event) }.to_bytes();
    if event == b"import" || event.starts_with(b"cpython.run_") {
        // What follows may import modules, too.
        let target = to_watch().take();
        if let (Some(target), Some(api)) = (target, Api::get()) {
            // It is recorded as the program's set-up: the interpreter keeps what is freed in lists, and gives it
            // to the program.
            run_script(api, &target);
        }
    }
    0
}

/// Collects garbage at each mark from now on.
pub(crate) fn collect_at_marks() {
    COLLECTS.store(true, Relaxed);
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
    static FUNCTIONS: [MethodDef; 3] = [
        MethodDef::new(c"count_frames", count_frames),
        MethodDef::new(c"mark", mark),
        MethodDef::new(c"watch_frames", watch_frames),
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

/// `count_frames(code)`: the frames of this code on the stack. Frame objects, which Python itself would make to
/// count them, would stay as long as the frames.
extern "C" fn count_frames(_module: Ref, arguments: Ref) -> Ref {
    let Some(api) = Api::get() else {
        return core::ptr::null_mut();
    };
    let code = api.item(arguments, 0) as usize;
    api.number(heap::count_python_frames(code))
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
