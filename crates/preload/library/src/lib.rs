//! The recorder in a program that knows nothing of it, loaded before all other libraries.
//!
//! 1. The recorder's C functions ([`recorder::heap`]) are found first, by the program and by all of its
//!    libraries, and record every block from the first one on.
//! 2. When the loader runs the constructors, [`start`] reads the plan of the command. A process that
//!    has none stops recording.
//! 3. A mark ends a cycle and begins the next: the opening of a file ([`openings`]), a call
//!    of [`afterdrop_cycle`](symbols) or of a function of Python's ([`python`]), or time. The [`session`] takes
//!    the boundary on the thread of the mark, or on one of its own where that has too little stack ([`room`]).
//! 4. A forked copy of the process goes on as a process of its own: its journal begins with its first mark, and
//!    what was allocated before is its set-up.
//! 5. When the process exits, the session ends. If it is killed, the journal ends with the last boundary.
//!
//! The library's own blocks come from glibc directly ([`allocator`]) and are never recorded.

#![allow(
    dead_code,
    unused_imports,
    reason = "the recorder is that of the library `afterdrop`, all of which no single door uses"
)]
#![warn(clippy::all)]

mod allocator;
mod base;
mod fork;
mod model;
mod openings;
mod process;
mod python;
mod recorder;
mod room;
mod session;
mod start;
mod symbols;

#[global_allocator]
static OWN_HEAP: allocator::CAllocator = allocator::CAllocator;
