//! Finding the interpreter in the process.

use core::ffi::{CStr, c_char, c_ulong};

use super::objects::word_at;
use super::offsets::{self, Offsets, PUBLISHED_WORDS, Version};
use crate::recorder::primitive::{
    AtomicPtr,
    Ordering::{Acquire, Release},
};

/// An interpreter whose frames are read.
pub(super) struct Interpreter {
    /// `PyGILState_GetThisThreadState`: the state of the running thread; 0 if it has none.
    this_thread: extern "C" fn() -> usize,
    /// The type of code objects.
    pub(super) code_type: usize,
    /// The type of types.
    pub(super) type_of_types: usize,
    pub(super) offsets: Offsets,
}

impl Interpreter {
    /// The state of the running thread, if it has one. It takes no lock: it reads a thread-specific
    /// value of the threading library.
    #[inline]
    pub(super) fn thread(&self) -> Option<usize> {
        match (self.this_thread)() {
            0 => None,
            state => Some(state),
        }
    }
}

/// The interpreter of the process; null until [`find`] has found one.
static INTERPRETER: AtomicPtr<Interpreter> = AtomicPtr::new(core::ptr::null_mut());

/// The interpreter of the process, if its frames are read.
#[inline]
pub(super) fn interpreter() -> Option<&'static Interpreter> {
    let found = INTERPRETER.load(Acquire);
    // SAFETY: null, or a leaked box that was complete when its address was stored with release.
    unsafe { found.as_ref() }
}

/// Whether there is an interpreter whose frames are read.
#[inline]
pub(crate) fn is_known() -> bool {
    interpreter().is_some()
}

/// What [`find`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The version, as `3.11.2`.
    pub(crate) version: String,
    /// Why its frames are not read.
    pub(crate) failure: Option<&'static str>,
    /// It runs without a global lock.
    pub(crate) is_free_threaded: bool,
}

/// Looks for an interpreter in the process; `None` if there is none. From now on stacks have its
/// frames, if it is of a known version.
pub(crate) fn find() -> Option<Found> {
    let Some(version) = symbol::<c_ulong>(c"Py_Version") else {
        let version = version_before_3_11()?;
        return Some(Found {
            version,
            failure: Some("the frames of versions before 3.11 are not read"),
            is_free_threaded: false,
        });
    };
    // SAFETY: `Py_Version` is a constant of this type.
    let version = unsafe { *version };
    let failure = match describe((version >> 16) as Version) {
        Ok(_) if interpreter().is_some() => None,
        Ok(interpreter) => {
            INTERPRETER.store(Box::into_raw(Box::new(interpreter)), Release);
            None
        }
        Err(why) => Some(why),
    };
    let [_, _, _, _, major, minor, micro, _] = version.to_be_bytes();
    let version = format!("{major}.{minor}.{micro}");
    Some(Found {
        version,
        failure,
        is_free_threaded: failure == Some(FREE_THREADED),
    })
}

/// The name of the allocator of objects, after the interpreter has begun: `malloc` if each is a block
/// of its own.
pub(crate) fn object_allocator() -> Option<&'static str> {
    let get = symbol::<u8>(c"_PyMem_GetCurrentAllocatorName")?;
    // SAFETY: the function of this name has this type in all versions, and returns null or a constant.
    let name = unsafe {
        let get: extern "C" fn() -> *const c_char = core::mem::transmute(get);
        let name = get();
        (!name.is_null()).then(|| CStr::from_ptr(name))
    };
    name?.to_str().ok()
}

const FREE_THREADED: &str = "it runs without a global lock";

fn describe(version: Version) -> Result<Interpreter, &'static str> {
    const UNKNOWN: &str = "where this version keeps its frames is not known";
    let this_thread = symbol::<u8>(c"PyGILState_GetThisThreadState").ok_or(UNKNOWN)?;
    let code_type = symbol::<u8>(c"PyCode_Type").ok_or(UNKNOWN)?;
    let type_of_types = symbol::<u8>(c"PyType_Type").ok_or(UNKNOWN)?;
    let offsets = match offsets::of_version(version) {
        Some(offsets) => offsets,
        None => {
            let runtime = symbol::<[u64; PUBLISHED_WORDS]>(c"_PyRuntime").ok_or(UNKNOWN)?;
            // The structure is many times as large. Words of it change, and are read once.
            // SAFETY: its first words are in it.
            let words =
                core::array::from_fn(|i| unsafe { word_at(runtime as usize + 8 * i) } as u64);
            match offsets::published(&words).ok_or(UNKNOWN)? {
                (_, true) => return Err(FREE_THREADED),
                (offsets, false) => offsets,
            }
        }
    };
    Ok(Interpreter {
        // SAFETY: the function of this name has this type in all known versions.
        this_thread: unsafe {
            core::mem::transmute::<*const u8, extern "C" fn() -> usize>(this_thread)
        },
        code_type: code_type as usize,
        type_of_types: type_of_types as usize,
        offsets,
    })
}

/// The version of an interpreter that has no `Py_Version`: `3.10.13`.
fn version_before_3_11() -> Option<String> {
    let get = symbol::<u8>(c"Py_GetVersion")?;
    // SAFETY: the function of this name has this type in all versions. It formats into a static
    // buffer, always the same text.
    let text = unsafe {
        let get: extern "C" fn() -> *const c_char = core::mem::transmute(get);
        CStr::from_ptr(get())
    };
    let text = text.to_string_lossy();
    Some(text.split(' ').next()?.to_owned())
}

/// The address of a symbol of the executable or of a library that it is linked with.
pub(crate) fn symbol<T>(name: &CStr) -> Option<*const T> {
    // SAFETY: the name ends in a null byte.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found.cast_const().cast())
}
