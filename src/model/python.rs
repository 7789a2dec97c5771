//! Frames of Python in stacks.

use crate::base::json::fields;

/// Environment variable that says which allocator an interpreter takes for its objects.
#[cfg(any(feature = "exec", feature = "preload"))]
pub(crate) const ENV_ALLOCATOR: &str = "PYTHONMALLOC";

/// The number of a location: a file, a function and a line. From 1.
pub(crate) type LocationId = u32;

/// Set in an entry of a stack that is not a return address, but has the number of a location of
/// Python's in its lowest 32 bits. No code is mapped at such addresses.
pub(crate) const LOCATION_BIT: u64 = 1 << 63;

/// A location of Python's that a stack refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PythonLocation<S = String> {
    pub(crate) id: LocationId,
    pub(crate) file: S,
    /// Its qualified name: `Class.method`, `outer.<locals>.inner`.
    pub(crate) function: S,
    /// 0 if it is not known.
    pub(crate) line: u32,
}

fields! { PythonLocation<S> { id, file, function, line } }

/// The interpreter of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter<S = String> {
    /// `3.11.2`
    pub(crate) version: S,
    /// Why its frames are not read.
    pub(crate) failure: Option<S>,
    /// The allocator of its objects: `malloc` if each is a block of its own.
    pub(crate) allocator: Option<S>,
    /// Garbage is collected at each mark.
    pub(crate) collects: bool,
}

fields! { Interpreter<S> { version, failure: default, allocator: default, collects } }
