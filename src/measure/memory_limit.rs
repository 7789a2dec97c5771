//! A memory limit for the measured process: by a control group if the machine allows it, otherwise by
//! `RLIMIT_DATA`.
//!
//! References: Documentation/admin-guide/cgroup-v2.rst (`memory.max`, `cgroup.procs`); getrlimit(2)
//! (`RLIMIT_DATA`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How a limit is enforced.
#[derive(Debug)]
pub(crate) enum MemoryLimit {
    /// Resident memory, by a control group for the process.
    Cgroup(Cgroup),
    /// Private writable address space in bytes, by `RLIMIT_DATA`.
    Data(u64),
}

impl MemoryLimit {
    /// A limit in bytes, by a control group if possible.
    pub(crate) fn new(bytes: u64) -> Self {
        let name = format!("afterdrop-{}", std::process::id());
        match own_cgroup().and_then(|parent| Cgroup::create(&parent, &name, bytes).ok()) {
            Some(group) => Self::Cgroup(group),
            None => Self::Data(bytes),
        }
    }

    /// What is limited and how, for a report.
    #[cfg(feature = "cli")]
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Cgroup(_) => "resident memory, by a control group",
            Self::Data(_) => {
                "private address space, by RLIMIT_DATA; includes what the allocator only reserves"
            }
        }
    }

    /// Applies the limit to a process that has just been started.
    ///
    /// # Errors
    /// If the process cannot be moved to the control group.
    pub(crate) fn apply(&self, pid: u32) -> io::Result<()> {
        match self {
            Self::Cgroup(group) => fs::write(group.0.join("cgroup.procs"), pid.to_string()),
            Self::Data(_) => Ok(()),
        }
    }

    /// The limit that the process has to set for itself, by `RLIMIT_DATA`, before it begins.
    pub(crate) fn rlimit_data(&self) -> Option<u64> {
        match self {
            Self::Cgroup(_) => None,
            Self::Data(bytes) => Some(*bytes),
        }
    }
}

/// A control group, which is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Creates a group in `parent` with a limit in bytes.
    ///
    /// # Errors
    /// If this is not permitted, or `parent` does not delegate the memory controller.
    fn create(parent: &Path, name: &str, bytes: u64) -> io::Result<Self> {
        let path = parent.join(name);
        fs::create_dir(&path)?;
        let group = Self(path);
        // Without the memory controller the file does not exist, and must not be created.
        let limit = |name: &str| fs::OpenOptions::new().write(true).open(group.0.join(name));
        io::Write::write_all(&mut limit("memory.max")?, bytes.to_string().as_bytes())?;
        if let Ok(mut swap) = limit("memory.swap.max") {
            // Otherwise the process would be swapped out instead of stopped.
            io::Write::write_all(&mut swap, b"0")?;
        }
        Ok(group)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The process has ended. If the removal fails, an empty group is left, which does no harm.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Folder of this process's control group, if version 2 is mounted.
fn own_cgroup() -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if !root.join("cgroup.controllers").exists() {
        return None;
    }
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_cannot_be_limited_is_removed() {
        // A plain folder: like a group whose parent does not delegate the memory controller.
        let root = std::env::temp_dir().join(format!("afterdrop-group-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        assert!(Cgroup::create(&root, "bare", 1000).is_err());
        assert!(!root.join("bare").exists(), "the folder has been removed");
        #[cfg(feature = "cli")]
        assert!(!MemoryLimit::new(1 << 30).describe().is_empty());
        fs::remove_dir_all(&root).unwrap();
    }
}
