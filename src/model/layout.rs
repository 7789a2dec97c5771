//! Names of this crate's own folders, as they stand in symbols and line tables: by them frames and
//! statics of the tool are told from the program's. A test in each folder holds its name here right.

/// The module of the allocator's hooks.
pub(crate) const HOOKS: &str = "afterdrop::recorder::heap";

/// The module of all code that runs in the measured process, as both mangling schemes of Rust write it: each name behind its length.
pub(crate) const RECORDER_MANGLED: &str = "9afterdrop8recorder";

/// The folder of the workloads that come with the command, which count as the user's own code.
pub(crate) const WORKLOADS: &str = "src/workloads";
