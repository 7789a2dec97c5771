//! The beginning of functions, in interpreters before 3.12, which have no `sys.monitoring`: until the wanted one
//! is called, the interpreter evaluates its frames by a function of this library (PEP 523).

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

use super::api::{Api, Object, Ref};
use crate::session;

/// What is asked whether a function is the wanted one.
static FOUND: AtomicPtr<Object> = AtomicPtr::new(core::ptr::null_mut());

/// The names that the wanted function may have: interned texts.
static NAMES: [AtomicPtr<Object>; 2] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 2];

/// Whether a thread asks at the moment. It may give the interpreter's lock to others meanwhile.
static IS_ASKING: AtomicBool = AtomicBool::new(false);

/// Offsets in a frame and in a code object, of 3.11.
const CODE: usize = 32;
const CODE_NAME: usize = 120;

/// Begins to ask `found` about each function of one of these names that is called. The interpreter's lock is
/// held.
pub(super) fn watch(api: &Api, found: Ref, names: [Ref; 2]) {
    for object in [found, names[0], names[1]] {
        api.keep(object);
    }
    FOUND.store(found, Relaxed);
    for (place, name) in NAMES.iter().zip(names) {
        place.store(name, Relaxed);
    }
    api.evaluate_frames_by(evaluate);
}

/// Evaluates a frame as the interpreter does, after it has asked about its function.
///
/// # Safety
/// Called by the interpreter, with its lock held.
unsafe extern "C" fn evaluate(thread: *mut c_void, frame: *mut c_void, throws: c_int) -> Ref {
    let Some(api) = Api::get() else {
        return core::ptr::null_mut();
    };
    // SAFETY: a frame that begins has its code object, and that its name.
    let (code, name) = unsafe {
        let code: Ref = frame.byte_add(CODE).cast::<Ref>().read();
        (code, code.byte_add(CODE_NAME).cast::<Ref>().read())
    };
    let is_candidate = throws == 0 && NAMES.iter().any(|n| n.load(Relaxed) == name);
    if is_candidate && !IS_ASKING.swap(true, Relaxed) {
        let is_found = api.is_true(FOUND.load(Relaxed), code);
        IS_ASKING.store(false, Relaxed);
        if is_found {
            api.evaluate_frames_by(api.evaluate_frame);
            session::mark();
        }
    }
    // SAFETY: the arguments are those of the interpreter.
    unsafe { (api.evaluate_frame)(thread, frame, throws) }
}
