//! What the holder search has to know of an interpreter, which is collected before the process is copied.

use super::offsets::Offsets;

/// Where an interpreter has what, and the addresses of its own types.
pub(crate) struct Layout {
    pub(crate) offsets: Offsets,
    /// Bytes before the values of an object whose keys its class has.
    pub(crate) values_head: usize,
    pub(crate) type_of_types: usize,
    pub(crate) code_type: usize,
    pub(crate) module_type: usize,
    pub(crate) cell_type: usize,
    /// The types of sets, and of those that never change.
    pub(crate) set_types: [usize; 2],
    /// The types of weak references.
    pub(crate) weak_types: [usize; 3],
    /// The types of objects that have a frame of the interpreter in them.
    pub(crate) types_with_frame: [usize; 4],
    /// These follow a list each, and take no lock. 0 is the end.
    pub(crate) first_interpreter: extern "C" fn() -> usize,
    pub(crate) next_interpreter: extern "C" fn(usize) -> usize,
    pub(crate) first_thread: extern "C" fn(usize) -> usize,
    pub(crate) next_thread: extern "C" fn(usize) -> usize,
}

#[cfg(feature = "preload")]
impl Layout {
    /// The layout of the process's interpreter, if its frames are read.
    pub(crate) fn find() -> Option<Self> {
        use super::interpreter::{interpreter, symbol};
        use super::offsets::RunningFrame;
        use core::ffi::CStr;
        use core::mem::transmute;

        let interpreter = interpreter()?;
        let address = |name: &CStr| symbol::<u8>(name);
        let of_type = |name: &CStr| address(name).map(|at| at as usize);
        // A type that a version does not have has no objects.
        let or_none = |name| of_type(name).unwrap_or(0);
        let first_interpreter = address(c"PyInterpreterState_Head")?;
        let next_interpreter = address(c"PyInterpreterState_Next")?;
        let first_thread = address(c"PyInterpreterState_ThreadHead")?;
        let next_thread = address(c"PyThreadState_Next")?;
        // SAFETY: the functions of these names have these types in all known versions: they take and return the
        // address of a state (tests/python.rs finds modules and frames by them).
        let (first_interpreter, next_interpreter, first_thread, next_thread) = unsafe {
            (
                transmute::<*const u8, extern "C" fn() -> usize>(first_interpreter),
                transmute::<*const u8, extern "C" fn(usize) -> usize>(next_interpreter),
                transmute::<*const u8, extern "C" fn(usize) -> usize>(first_thread),
                transmute::<*const u8, extern "C" fn(usize) -> usize>(next_thread),
            )
        };
        Some(Self {
            offsets: interpreter.offsets,
            // `PyDictValues` in `Include/internal/pycore_dict.h` begins with sizes from 3.13 on.
            values_head: match interpreter.offsets.running {
                RunningFrame::InThread { .. } => 8,
                RunningFrame::InRecord { .. } => 0,
            },
            type_of_types: interpreter.type_of_types,
            code_type: interpreter.code_type,
            module_type: of_type(c"PyModule_Type")?,
            cell_type: of_type(c"PyCell_Type")?,
            set_types: [c"PySet_Type", c"PyFrozenSet_Type"].map(or_none),
            weak_types: [
                c"_PyWeakref_RefType",
                c"_PyWeakref_ProxyType",
                c"_PyWeakref_CallableProxyType",
            ]
            .map(or_none),
            types_with_frame: [
                c"PyGen_Type",
                c"PyCoro_Type",
                c"PyAsyncGen_Type",
                c"PyFrame_Type",
            ]
            .map(or_none),
            first_interpreter,
            next_interpreter,
            first_thread,
            next_thread,
        })
    }
}
