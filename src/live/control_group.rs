//! The memory limit of this process's control group, and how much of it is used.
//!
//! References: Documentation/admin-guide/cgroup-v2.rst (`memory.max`, `memory.current`, `memory.stat`);
//! Documentation/admin-guide/cgroup-v1/memory.rst (`memory.limit_in_bytes`, `memory.usage_in_bytes`).

use std::fs;
use std::path::{Path, PathBuf};

/// A limit above this is none: version 1 has the largest number of pages in its place.
const NO_LIMIT: u64 = 1 << 60;

/// Bytes that are used, and the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) used: u64,
    pub(super) limit: u64,
}

/// The usage of the group with the least room: that of this process, or one of those that it is in. `None` if none has
/// a limit.
pub(super) fn usage() -> Option<Usage> {
    usage_of(
        &fs::read_to_string("/proc/self/cgroup").ok()?,
        Path::new("/sys/fs/cgroup"),
    )
}

/// The same for the contents of `/proc/self/cgroup`, with the hierarchies at `root`.
fn usage_of(groups: &str, root: &Path) -> Option<Usage> {
    let mut tightest: Option<Usage> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let is_v2 = number == "0" && controllers.is_empty();
        if !is_v2 && !controllers.split(',').any(|name| name == "memory") {
            continue;
        }
        let hierarchy = match is_v2 {
            true => root.to_owned(),
            false => root.join("memory"),
        };
        for folder in folders(&hierarchy, path) {
            let Some(usage) = read(&folder, is_v2) else {
                continue;
            };
            let room = |usage: Usage| usage.limit.saturating_sub(usage.used);
            if tightest.is_none_or(|before| room(usage) < room(before)) {
                tightest = Some(usage);
            }
        }
    }
    tightest
}

/// The folders of a group and of those that it is in. In a container the path may be that outside of it: then the root is
/// the group's.
fn folders(hierarchy: &Path, path: &str) -> Vec<PathBuf> {
    let group = hierarchy.join(path.trim_start_matches('/'));
    let all = group
        .ancestors()
        .take_while(|folder| folder.starts_with(hierarchy));
    all.map(Path::to_owned).collect()
}

fn read(folder: &Path, is_v2: bool) -> Option<Usage> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(folder.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    // A file that is read again and again fills the page cache, which the kernel gives back when memory is needed.
    let (limit, used, cache) = match is_v2 {
        true => ("memory.max", "memory.current", "inactive_file "),
        false => (
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file ",
        ),
    };
    let limit = number(limit).filter(|&limit| limit < NO_LIMIT)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix(cache));
    let cached: u64 = cached.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    Some(Usage {
        used: number(used)?.saturating_sub(cached),
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::private_folder;

    fn made(files: &[(&str, &str)]) -> PathBuf {
        let root = private_folder::unpredictable_path();
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_group_of_version_2_counts_without_its_page_cache() {
        let root = made(&[
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "900\n"),
            (
                "a/memory.stat",
                "anon 700\ninactive_file 150\nactive_file 50\n",
            ),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "800\n"),
        ]);
        let usage = usage_of("0::/a/b\n", &root);
        assert_eq!(
            usage,
            Some(Usage {
                used: 750,
                limit: 1000
            })
        );
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_memory_group_of_version_1_counts() {
        let root = made(&[
            ("memory/x/memory.limit_in_bytes", "5000\n"),
            ("memory/x/memory.usage_in_bytes", "4000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "7000\n"),
        ]);
        let usage = usage_of("9:cpu,cpuacct:/y\n8:memory:/x\n", &root);
        assert_eq!(
            usage,
            Some(Usage {
                used: 4000,
                limit: 5000
            })
        );
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let root = made(&[("memory.max", "1000\n"), ("memory.current", "10\n")]);
        let usage = usage_of("0::/system.slice/docker-4711.scope\n", &root);
        assert_eq!(
            usage,
            Some(Usage {
                used: 10,
                limit: 1000
            })
        );
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let root = made(&[("a/memory.max", "max\n"), ("a/memory.current", "10\n")]);
        assert_eq!(usage_of("0::/a\n", &root), None);
        assert_eq!(usage_of("garbage\n::\n", &root), None);
        fs::remove_dir_all(root).unwrap();
    }
}
