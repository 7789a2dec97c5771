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
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
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

/// Smallest limit in bytes: with less, the process cannot start to measure.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
const MIN_BYTES: u64 = 8 << 20;

/// Parses a limit: see [`parse_bytes`].
///
/// # Errors
/// What is wrong with the text.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes if bytes < MIN_BYTES => Err(format!("must be at least 8M, got {text}")),
        bytes => Ok(bytes),
    }
}

/// Parses a number of bytes with or without a binary unit: `512M`, `2G`, `33554432`.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err("the unit must be K, M or G".into()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "must be a whole number of bytes, such as 33554432 or 32M")?;
    match number.checked_mul(1 << shift) {
        None => Err("must be less than 2^64 bytes".into()),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_and_a_minimum() {
        assert_eq!(parse("8388608"), Ok(MIN_BYTES));
        assert_eq!(parse("512M"), Ok(512 << 20));
        assert_eq!(parse("2GiB"), Ok(2 << 30));
        for wrong in [
            "",
            "M",
            "-1",
            "1.5G",
            "5T",
            "0",
            "1K",
            "99999999999G",
            "1 G",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_group_that_cannot_be_limited_is_removed() {
        // A plain folder: like a group whose parent does not delegate the memory controller.
        let root = std::env::temp_dir().join(format!("afterdrop-group-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        assert!(Cgroup::create(&root, "bare", 1000).is_err());
        assert!(!root.join("bare").exists(), "the folder has been removed");
        assert!(!MemoryLimit::new(1 << 30).describe().is_empty());
        fs::remove_dir_all(&root).unwrap();
    }
}
