//! A limit on the memory of the measured child: a control group where the machine gives one, else
//! a limit on its private data.
//!
//! References: Documentation/admin-guide/cgroup-v2.rst (`memory.max`, `cgroup.procs`); getrlimit(2)
//! (`RLIMIT_DATA`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How a limit is kept.
#[derive(Debug)]
pub(crate) enum MemoryLimit {
    /// Resident memory, by a control group of its own.
    Group(Group),
    /// Private writable address space, by `RLIMIT_DATA`; bytes.
    Data(u64),
}

impl MemoryLimit {
    /// A limit of so many bytes, by the best means that this machine gives.
    pub(crate) fn of(bytes: u64) -> Self {
        let name = format!("afterdrop-{}", std::process::id());
        match own_group().and_then(|parent| Group::make(&parent, &name, bytes).ok()) {
            Some(group) => Self::Group(group),
            None => Self::Data(bytes),
        }
    }

    /// What is limited, in words.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Group(_) => "resident memory, by a control group",
            Self::Data(_) => {
                "private address space, by RLIMIT_DATA: what the allocator reserves counts, too"
            }
        }
    }

    /// Takes the child in, right after its start.
    pub(crate) fn take_in(&self, pid: u32) -> io::Result<()> {
        match self {
            Self::Group(group) => fs::write(group.0.join("cgroup.procs"), pid.to_string()),
            Self::Data(_) => Ok(()),
        }
    }

    /// What the child has to set for itself before it begins.
    pub(crate) fn data(&self) -> Option<u64> {
        match self {
            Self::Group(_) => None,
            Self::Data(bytes) => Some(*bytes),
        }
    }
}

/// A control group that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// Makes a group below `parent` with a limit of so many bytes.
    ///
    /// # Errors
    /// If it may not be made, or the parent does not hand the memory controller on.
    fn make(parent: &Path, name: &str, bytes: u64) -> io::Result<Self> {
        let path = parent.join(name);
        fs::create_dir(&path)?;
        let group = Self(path);
        // Without the controller the file is not there, and must not be made in its place.
        let limit = |name: &str| fs::OpenOptions::new().write(true).open(group.0.join(name));
        io::Write::write_all(&mut limit("memory.max")?, bytes.to_string().as_bytes())?;
        if let Ok(mut swap) = limit("memory.swap.max") {
            // Else a machine with swap space would only become slow.
            io::Write::write_all(&mut swap, b"0")?;
        }
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The child has ended by now; a group that stays is empty, and nothing depends on it.
        let _ = fs::remove_dir(&self.0);
    }
}

/// The folder of this process's own group in the unified hierarchy, if there is one.
fn own_group() -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if !root.join("cgroup.controllers").exists() {
        return None;
    }
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(root.join(path))
}

/// Least limit in bytes: below it a process cannot even begin to measure.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
const LEAST: u64 = 8 << 20;

/// `512M`, `2G`, `33554432`: bytes, with binary units.
///
/// # Errors
/// If it is no number of bytes, or none at all: what is wrong with it.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes if bytes < LEAST => Err("nothing runs in less than 8M".into()),
        bytes => Ok(bytes),
    }
}

/// A number of bytes, with a binary unit or without.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err("its unit is none of K, M and G".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "it is no number of bytes")?;
    match number.checked_mul(1 << shift) {
        None => Err("it is more than there can be".into()),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse("8388608"), Ok(LEAST));
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
    fn a_group_takes_its_limit_and_goes() {
        // A folder that looks like a group whose parent hands nothing on.
        let root = std::env::temp_dir().join(format!("afterdrop-group-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        assert!(Group::make(&root, "bare", 1000).is_err());
        assert!(
            !root.join("bare").exists(),
            "what could not be used is gone"
        );
        assert!(!MemoryLimit::of(1 << 30).describe().is_empty());
        fs::remove_dir_all(&root).unwrap();
    }
}
