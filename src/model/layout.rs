//! Names of this crate's own modules and folders, as they appear in symbols and in line tables. They
//! distinguish the recorder's frames and statics from those of the program. Tests in the modules
//! check that the names are right.

/// Path of the module with the allocator's hooks.
pub(crate) const HOOKS: &str = "afterdrop::recorder::heap";

/// Path of the module of the recorder, as both mangling schemes of Rust encode it: each segment after
/// its length.
pub(crate) const RECORDER_MANGLED: &str = "9afterdrop8recorder";

/// Folder of the workloads that belong to the command. Their code counts as the user's own.
pub(crate) const WORKLOADS: &str = "src/workloads";
