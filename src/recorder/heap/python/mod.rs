//! The Python frames of a stack.
//!
//! All functions of Python run in one function of C's, so that native frames do not tell which. The
//! interpreter keeps a list of its own frames for each thread. A stack with Python in it is recorded
//! as the native frames that the innermost Python function has called, and then Python's frames; the
//! interpreter's native frames between are left out.
//!
//! 1. [`interpreter`] finds the interpreter, and [`offsets`] says where it keeps what.
//! 2. [`frames`] walks the running thread's frames: code object and instruction of each, and where on
//!    the native stack Python begins. These are the key of a stack that was seen before.
//! 3. [`locations`] gives a frame that is new the number of its file, function and line. Code objects
//!    die, so that they are decoded at once ([`line_table`], [`texts`]). The number stands in a
//!    stack in the place of a return address ([`LOCATION_BIT`](crate::model::python::LOCATION_BIT)).
//!
//! The holder search reads the interpreter's objects by its [`layout`].
//!
//! Only the running thread changes its frames, and they and their code objects live while it is in
//! them: they may be read without the interpreter's lock.

#[cfg(feature = "preload")]
mod frames;
#[cfg(feature = "preload")]
mod interpreter;
mod layout;
mod line_table;
#[cfg(feature = "preload")]
mod locations;
mod objects;
mod offsets;
mod texts;

#[cfg(feature = "preload")]
pub(super) use frames::{Begins, PythonFrames};
#[cfg(feature = "preload")]
pub(crate) use interpreter::{Found, find, is_known, object_allocator, symbol};
pub(crate) use layout::Layout;
pub(crate) use line_table::line_of;
#[cfg(feature = "preload")]
pub(crate) use locations::read_location;
#[cfg(feature = "preload")]
pub(super) use locations::{is_unlocked, resolve};
pub(crate) use objects::characters_of;
#[cfg(test)]
pub(crate) use offsets::Offsets;
pub(crate) use offsets::RunningFrame;
