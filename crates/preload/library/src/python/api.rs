//! Functions of the interpreter.

use core::ffi::{CStr, c_char, c_int as Number, c_void};
use core::mem::transmute_copy;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::recorder::heap;

/// An object of Python's.
#[repr(C)]
pub(super) struct Object {
    _opaque: [u8; 0],
}

pub(super) type Ref = *mut Object;
type Text = *const c_char;

/// `_PyFrameEvalFunction`: evaluates a frame of a thread.
pub(super) type EvaluateFrame = unsafe extern "C" fn(*mut c_void, *mut c_void, Number) -> Ref;

/// `Py_AuditHookFunction`: is told of an event by its name and its arguments.
pub(super) type AuditHook = extern "C" fn(Text, Ref, *mut c_void) -> Number;

/// `PyMethodDef`: a function for Python.
#[repr(C)]
pub(super) struct MethodDef {
    name: Text,
    function: extern "C" fn(Ref, Ref) -> Ref,
    flags: Number,
    doc: Text,
}

// SAFETY: it is never changed, and its texts are constants.
unsafe impl Sync for MethodDef {}

impl MethodDef {
    /// A function that takes its arguments as a tuple.
    pub(super) const fn new(name: &'static CStr, function: extern "C" fn(Ref, Ref) -> Ref) -> Self {
        const METH_VARARGS: Number = 1;
        Self {
            name: name.as_ptr(),
            function,
            flags: METH_VARARGS,
            doc: core::ptr::null(),
        }
    }
}

/// `Py_file_input`: the text is that of a file.
const FILE_INPUT: Number = 257;

/// The functions, by the names in the interpreter's headers. They have had these types since 3.10.
pub(super) struct Api {
    is_initialized: unsafe extern "C" fn() -> Number,
    is_finalizing: unsafe extern "C" fn() -> Number,
    this_thread: unsafe extern "C" fn() -> *mut c_void,
    ensure: unsafe extern "C" fn() -> Number,
    release: unsafe extern "C" fn(Number),
    collect: unsafe extern "C" fn() -> isize,
    enable_collector: unsafe extern "C" fn() -> Number,
    disable_collector: unsafe extern "C" fn() -> Number,
    increment: unsafe extern "C" fn(Ref),
    decrement: unsafe extern "C" fn(Ref),
    new_dict: unsafe extern "C" fn() -> Ref,
    set_item: unsafe extern "C" fn(Ref, Text, Ref) -> Number,
    text: unsafe extern "C" fn(Text) -> Ref,
    builtins: unsafe extern "C" fn() -> Ref,
    function: unsafe extern "C" fn(*const MethodDef, Ref, Ref) -> Ref,
    item: unsafe extern "C" fn(Ref, isize) -> Ref,
    call: unsafe extern "C" fn(Ref, Ref, Ref) -> Ref,
    is_true: unsafe extern "C" fn(Ref) -> Number,
    compile: unsafe extern "C" fn(Text, Text, Number) -> Ref,
    evaluate: unsafe extern "C" fn(Ref, Ref, Ref) -> Ref,
    print_error: unsafe extern "C" fn(),
    interpreter: unsafe extern "C" fn() -> *mut c_void,
    set_evaluate_frame: unsafe extern "C" fn(*mut c_void, EvaluateFrame),
    pub(super) evaluate_frame: EvaluateFrame,
    add_audit_hook: unsafe extern "C" fn(AuditHook, *mut c_void) -> Number,
    number: unsafe extern "C" fn(usize) -> Ref,
    none: usize,
}

impl Api {
    /// The functions; `None` if there is no interpreter in the process yet.
    pub(super) fn get() -> Option<&'static Self> {
        static API: OnceLock<Api> = OnceLock::new();
        match API.get() {
            Some(api) => Some(api),
            None => {
                let found = Self::find()?;
                Some(API.get_or_init(|| found))
            }
        }
    }

    fn find() -> Option<Self> {
        // The loader allocates a message for each name that it does not find.
        let _paused = heap::pause();
        // SAFETY: the functions of these names have these types.
        unsafe {
            Some(Self {
                is_initialized: function(c"Py_IsInitialized")?,
                // The second is its name before 3.13.
                is_finalizing: match function(c"Py_IsFinalizing") {
                    Some(found) => found,
                    None => function(c"_Py_IsFinalizing")?,
                },
                this_thread: function(c"PyGILState_GetThisThreadState")?,
                ensure: function(c"PyGILState_Ensure")?,
                release: function(c"PyGILState_Release")?,
                collect: function(c"PyGC_Collect")?,
                enable_collector: function(c"PyGC_Enable")?,
                disable_collector: function(c"PyGC_Disable")?,
                increment: function(c"Py_IncRef")?,
                decrement: function(c"Py_DecRef")?,
                new_dict: function(c"PyDict_New")?,
                set_item: function(c"PyDict_SetItemString")?,
                text: function(c"PyUnicode_FromString")?,
                builtins: function(c"PyEval_GetBuiltins")?,
                function: function(c"PyCFunction_NewEx")?,
                item: function(c"PyTuple_GetItem")?,
                call: function(c"PyObject_CallFunctionObjArgs")?,
                is_true: function(c"PyObject_IsTrue")?,
                compile: function(c"Py_CompileString")?,
                evaluate: function(c"PyEval_EvalCode")?,
                print_error: function(c"PyErr_Print")?,
                interpreter: function(c"PyInterpreterState_Get")?,
                set_evaluate_frame: function(c"_PyInterpreterState_SetEvalFrameFunc")?,
                evaluate_frame: function(c"_PyEval_EvalFrameDefault")?,
                add_audit_hook: function(c"PySys_AddAuditHook")?,
                number: function(c"PyLong_FromSize_t")?,
                none: heap::symbol::<Object>(c"_Py_NoneStruct")? as usize,
            })
        }
    }

    /// Whether the interpreter has begun and this thread is one of its threads.
    pub(super) fn is_running(&self) -> bool {
        // SAFETY: both may be called at any time.
        unsafe { (self.is_initialized)() != 0 && !(self.this_thread)().is_null() }
    }

    /// Whether the interpreter ends, or has ended.
    pub(super) fn is_ending(&self) -> bool {
        static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
        // SAFETY: both may be called at any time.
        let (is_initialized, is_finalizing) =
            unsafe { ((self.is_initialized)() != 0, (self.is_finalizing)() != 0) };
        let has_begun = HAS_BEGUN.load(Relaxed) || is_initialized;
        HAS_BEGUN.store(has_begun, Relaxed);
        is_finalizing || has_begun && !is_initialized
    }

    /// Adds a function that is told of events. May be called before the interpreter begins.
    pub(super) fn add_audit_hook(&self, hook: AuditHook) {
        // SAFETY: the function is one of this library, which is never unloaded.
        unsafe { (self.add_audit_hook)(hook, core::ptr::null_mut()) };
    }

    /// Calls `work` with the interpreter's lock held.
    pub(super) fn with_lock(&self, work: impl FnOnce()) {
        // SAFETY: the interpreter runs, and the lock is released by the thread that has taken it.
        unsafe {
            let state = (self.ensure)();
            work();
            (self.release)(state);
        }
    }

    // Of all that follow the caller holds the interpreter's lock.

    /// Collects all garbage.
    pub(super) fn collect(&self) {
        // It does nothing where the program has turned automatic collections off.
        // SAFETY: the lock is held.
        unsafe {
            let was_enabled = (self.enable_collector)();
            (self.collect)();
            if was_enabled == 0 {
                (self.disable_collector)();
            }
        }
    }

    /// A reference to `None`.
    pub(super) fn none(&self) -> Ref {
        let none = core::ptr::with_exposed_provenance_mut(self.none);
        self.keep(none);
        none
    }

    /// A number of Python's; null if there is no memory.
    pub(super) fn number(&self, value: usize) -> Ref {
        // SAFETY: the lock is held.
        unsafe { (self.number)(value) }
    }

    /// Adds a reference to an object.
    pub(super) fn keep(&self, object: Ref) {
        // SAFETY: the lock is held, and nothing is done with null.
        unsafe { (self.increment)(object) };
    }

    /// An element of a tuple; null if there is none.
    pub(super) fn item(&self, tuple: Ref, index: isize) -> Ref {
        // SAFETY: the lock is held; what is no tuple, or an index that it does not have, gives null.
        unsafe { (self.item)(tuple, index) }
    }

    /// Whether a function returns something that is true for an argument. An error is printed.
    pub(super) fn is_true(&self, function: Ref, argument: Ref) -> bool {
        // SAFETY: the lock is held, and both are live. The arguments end in null.
        unsafe {
            let result = (self.call)(function, argument, core::ptr::null_mut());
            if result.is_null() {
                (self.print_error)();
                return false;
            }
            let is_true = (self.is_true)(result) == 1;
            (self.decrement)(result);
            is_true
        }
    }

    /// Lets the interpreter evaluate its frames by a function.
    pub(super) fn evaluate_frames_by(&self, function: EvaluateFrame) {
        // SAFETY: the lock is held, so that there is an interpreter.
        unsafe { (self.set_evaluate_frame)((self.interpreter)(), function) };
    }

    /// Runs a script whose names are `target`, a text, and these functions. Returns whether it succeeded; an error
    /// is printed.
    pub(super) fn run(
        &self,
        script: &CStr,
        file: &CStr,
        target: &CStr,
        functions: &'static [MethodDef],
    ) -> bool {
        let null = core::ptr::null_mut();
        // SAFETY: the lock is held. A failed call gives null, which is not passed on. The functions that the
        // script defines keep the namespace.
        unsafe {
            let names = (self.new_dict)();
            if names.is_null() {
                return false;
            }
            let add = |name: Text, value: Ref| {
                !value.is_null() && (self.set_item)(names, name, value) == 0
            };
            let are_added = add(c"__builtins__".as_ptr(), (self.builtins)())
                && add(c"target".as_ptr(), (self.text)(target.as_ptr()))
                && functions
                    .iter()
                    .all(|function| add(function.name, (self.function)(function, null, null)));
            let code = match are_added {
                true => (self.compile)(script.as_ptr(), file.as_ptr(), FILE_INPUT),
                false => null,
            };
            let result = match code.is_null() {
                true => null,
                false => (self.evaluate)(code, names, names),
            };
            if result.is_null() {
                (self.print_error)();
                return false;
            }
            (self.decrement)(result);
            (self.decrement)(code);
            true
        }
    }
}

/// The function of a name.
///
/// # Safety
/// `F` is the type of a pointer to it.
unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
    let address = heap::symbol::<c_void>(name)?;
    // SAFETY: the contract of this function: a pointer to a function is an address.
    Some(unsafe { transmute_copy::<*const c_void, F>(&address) })
}
