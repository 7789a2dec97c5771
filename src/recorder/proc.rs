//! What the kernel says about this process, read without allocating.

use std::fs::File;
use std::io::Read;

use crate::recorder::heap::MappedVec;

/// Bytes enough for the files of `/proc/self` that are read whole on the stack.
const SMALL: usize = 4096;

/// Reads a small file of `/proc` into `buffer`; the part that was filled.
fn read_small<'a>(path: &str, buffer: &'a mut [u8; SMALL]) -> Option<&'a str> {
    let mut file = File::open(path).ok()?;
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(_) => return None,
        }
    }
    std::str::from_utf8(&buffer[..filled]).ok()
}

/// Resident memory in bytes; `None` if the kernel does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let mut buffer = [0; SMALL];
    resident_of_status(read_small("/proc/self/status", &mut buffer)?)
}

/// The highest resident memory so far, in bytes; `None` if the kernel does not tell.
pub(crate) fn peak_resident_bytes() -> Option<u64> {
    let mut buffer = [0; SMALL];
    figure_of_status(read_small("/proc/self/status", &mut buffer)?, "VmHWM:")
}

/// The line `VmRSS:   1234 kB` of `/proc/self/status` (proc_pid_status(5)), in bytes.
fn resident_of_status(status: &str) -> Option<u64> {
    figure_of_status(status, "VmRSS:")
}

fn figure_of_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Threads of this process; 1 if the kernel does not tell.
pub(crate) fn threads() -> u64 {
    let mut buffer = [0; SMALL];
    read_small("/proc/self/stat", &mut buffer)
        .and_then(threads_of_stat)
        .unwrap_or(1)
}

/// Field 20 of `/proc/self/stat` (proc_pid_stat(5)). The second field, the command in
/// parentheses, may itself hold spaces and parentheses.
fn threads_of_stat(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(") ")?;
    behind.split(' ').nth(17)?.parse().ok()
}

/// Whether every other thread of this process sleeps or waits: none runs, or is about to.
///
/// Allocates, so that the caller has to keep its calls out of the ledger. `true` if the kernel
/// does not tell.
pub(crate) fn others_sleep() -> bool {
    let own = std::fs::read_link("/proc/thread-self").ok();
    let own = own.as_deref().and_then(std::path::Path::file_name);
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return true;
    };
    threads.flatten().all(|thread| {
        let mut buffer = [0; SMALL];
        let path = thread.path().join("stat");
        let stat = path.to_str().and_then(|p| read_small(p, &mut buffer));
        Some(&*thread.file_name()) == own || stat.is_none_or(|s| state_of_stat(s) != Some('R'))
    })
}

/// Open file descriptors, the one that it takes to look included; 0 if the kernel does not tell.
///
/// Allocates, as [`others_sleep`] does.
pub(crate) fn descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64)
}

/// Number and name of each thread, as far as the kernel tells.
///
/// Allocates, as [`others_sleep`] does.
pub(crate) fn thread_names() -> Vec<(u32, String)> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let named = threads.flatten().filter_map(|thread| {
        let id = thread.file_name().to_str()?.parse().ok()?;
        let name = std::fs::read(thread.path().join("comm")).ok()?;
        let name = String::from_utf8_lossy(&name);
        Some((id, name.trim_end().to_owned()))
    });
    let mut named: Vec<(u32, String)> = named.collect();
    named.sort_unstable();
    named
}

/// Field 3 of `/proc/<id>/stat`: the state, `R` for running.
fn state_of_stat(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Reads a file of `/proc` of any size into `text`; `None` if that fails on the way.
pub(crate) fn read_whole(path: &str, text: &mut MappedVec<u8>) -> Option<()> {
    text.clear();
    let mut file = File::open(path).ok()?;
    let mut chunk = [0; 4096];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Some(()),
            Ok(n) => text.extend_from_slice(&chunk[..n]).ok()?,
            Err(_) => return None,
        }
    }
}

/// A line of `/proc/self/maps`, as each mapping of `/proc/self/smaps` begins with one:
/// `55d0-55d1 rw-p 00000000 fe:00 12   /path` (proc_pid_maps(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapsLine<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Such as `rw-p`.
    pub(crate) access: &'a str,
    /// Bytes into the file.
    pub(crate) offset: u64,
    /// A path, a name in brackets, or nothing.
    pub(crate) name: &'a str,
}

impl<'a> MapsLine<'a> {
    /// Parses a line; `None` if it is no such line.
    pub(crate) fn of(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let access = fields.next().filter(|a| a.len() == 4)?;
        let offset = fields.next()?;
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            access,
            offset: u64::from_str_radix(offset, 16).ok()?,
            name: fields.nth(2).unwrap_or("").trim_start(),
        })
    }
}

/// One executable mapping of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeMapping<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Bytes into the file.
    pub(crate) offset: u64,
    pub(crate) path: &'a str,
}

/// Calls `visit` with each executable mapping of a file; `text` is scratch for `/proc/self/maps`.
pub(crate) fn for_each_code_mapping(
    text: &mut MappedVec<u8>,
    mut visit: impl FnMut(CodeMapping<'_>),
) {
    // What was read before an error still counts.
    let _ = read_whole("/proc/self/maps", text);
    for line in text.as_slice().split(|&b| b == b'\n') {
        if let Some(mapping) = std::str::from_utf8(line).ok().and_then(code_mapping) {
            visit(mapping);
        }
    }
}

/// The mapping of a line, if it is executable and of a file.
fn code_mapping(line: &str) -> Option<CodeMapping<'_>> {
    let line = MapsLine::of(line)?;
    (line.access.contains('x') && line.name.starts_with('/')).then_some(CodeMapping {
        start: line.start,
        end: line.end,
        offset: line.offset,
        path: line.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_resident_and_has_threads() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(threads() >= 1);
    }

    #[test]
    fn resident_memory_is_a_line_in_kib() {
        let status = "Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t    1236 kB\n";
        assert_eq!(resident_of_status(status), Some(1236 * 1024));
        assert_eq!(resident_of_status("VmRSS: lots"), None);
    }

    #[test]
    fn a_command_with_parentheses_does_not_confuse() {
        let stat = "12 (a) b ( c) S 1 2 3 0 -1 5 6 7 8 9 1 2 3 4 20 0 7 0 99";
        assert_eq!(threads_of_stat(stat), Some(7));
        assert_eq!(state_of_stat(stat), Some('S'));
        assert_eq!(threads_of_stat("nonsense"), None);
    }

    #[test]
    fn only_code_of_files_is_a_code_mapping() {
        let line = "55d0c0a00000-55d0c0b00000 r-xp 00012000 fe:00 1234       /opt/a b/bin";
        let mapping = code_mapping(line).unwrap();
        assert_eq!(mapping.start, 0x55d0_c0a0_0000);
        assert_eq!((mapping.offset, mapping.path), (0x12000, "/opt/a b/bin"));
        assert_eq!(code_mapping("7f00-7f01 rw-p 0 fe:00 1 /lib/x"), None);
        assert_eq!(code_mapping("7f00-7f01 r-xp 0 00:00 0 [vdso]"), None);
        assert_eq!(code_mapping(""), None);
    }

    #[test]
    fn a_busy_thread_does_not_sleep() {
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        static STOP: AtomicBool = AtomicBool::new(false);
        let busy = std::thread::spawn(|| {
            while !STOP.load(Relaxed) {
                std::hint::spin_loop();
            }
        });
        assert!(!others_sleep());
        STOP.store(true, Relaxed);
        busy.join().unwrap();
    }

    #[test]
    fn this_program_is_among_its_mappings() {
        let mut found = false;
        let here = this_program_is_among_its_mappings as *const () as u64;
        for_each_code_mapping(&mut MappedVec::new(), |m| {
            found |= m.start <= here && here < m.end;
        });
        assert!(found);
    }
}
