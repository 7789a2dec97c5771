//! What the kernel reports about this process in `/proc/self`.
//!
//! Functions that allocate take a [`Paused`], which proves that the ledger does not count what this
//! thread allocates.

use std::fs::File;
use std::io::Read;

use crate::base::order::sort_by;
use crate::recorder::heap::{MappedVec, Paused};

/// Size of the buffer on the stack for small files.
const SMALL: usize = 4096;

/// Reads a file of at most [`SMALL`] bytes into `buffer`, and returns its text.
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

/// Reads a file of any size into `text`; `None` if it cannot be read to its end.
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

/// Resident memory in bytes; `None` if the kernel does not report it.
pub(crate) fn resident_bytes() -> Option<u64> {
    let mut buffer = [0; SMALL];
    status_bytes(read_small("/proc/self/status", &mut buffer)?, "VmRSS:")
}

/// The highest resident memory so far, in bytes; `None` if the kernel does not report it.
pub(crate) fn peak_resident_bytes() -> Option<u64> {
    let mut buffer = [0; SMALL];
    status_bytes(read_small("/proc/self/status", &mut buffer)?, "VmHWM:")
}

/// A field of `/proc/self/status` such as `VmRSS:   1234 kB` (proc_pid_status(5)), in bytes.
fn status_bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The signals that a thread blocks, from its `status`: signal 1 is the lowest bit.
pub(crate) fn blocked_signals(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|l| l.strip_prefix("SigBlk:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// The maximum number of descriptors that are listed.
const MAX_LISTED: usize = 4096;

/// Number of threads; 1 if the kernel does not report it.
pub(crate) fn threads() -> u64 {
    let mut buffer = [0; SMALL];
    read_small("/proc/self/stat", &mut buffer)
        .and_then(stat_threads)
        .unwrap_or(1)
}

/// Field 20 of `/proc/<id>/stat` (proc_pid_stat(5)): the number of threads.
fn stat_threads(stat: &str) -> Option<u64> {
    fields_after_command(stat)?.nth(17)?.parse().ok()
}

/// Field 3 of `/proc/<id>/stat`: the state, `R` for running or runnable.
fn stat_state(stat: &str) -> Option<char> {
    fields_after_command(stat)?.next()?.chars().next()
}

/// The fields of `/proc/<id>/stat` from the third on. The second one, the command in parentheses, may
/// itself contain spaces and parentheses.
fn fields_after_command(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split(' '))
}

/// Whether no other thread of this process is running or runnable; true if the kernel does not report
/// it.
pub(crate) fn others_sleep(_: &Paused) -> bool {
    let own = std::fs::read_link("/proc/thread-self").ok();
    let own = own.as_deref().and_then(std::path::Path::file_name);
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return true;
    };
    threads.flatten().all(|thread| {
        let mut buffer = [0; SMALL];
        let path = thread.path().join("stat");
        let stat = path.to_str().and_then(|p| read_small(p, &mut buffer));
        Some(&*thread.file_name()) == own || stat.is_none_or(|s| stat_state(s) != Some('R'))
    })
}

/// Number of open file descriptors, one of which is opened by this function; 0 if the kernel does not
/// report it.
pub(crate) fn descriptors(_: &Paused) -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64)
}

/// What each open file descriptor refers to: a path, or such as `socket:[4711]`. At most
/// [`MAX_LISTED`] of them; empty if the kernel does not report them.
pub(crate) fn open_files(_: &Paused) -> Vec<String> {
    let Ok(all) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let targets = all
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let targets = targets.map(|target| target.to_string_lossy().into_owned());
    targets.take(MAX_LISTED).collect()
}

/// Id and name of each thread, in the order of their ids; empty if the kernel does not report it.
pub(crate) fn thread_names(_: &Paused) -> Vec<(u32, String)> {
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
    sort_by(&mut named, Ord::cmp);
    named
}

/// A line of `/proc/self/maps`, which is also the first line of a mapping in `/proc/self/smaps`:
/// `55d0-55d1 rw-p 00000000 fe:00 12   /path` (proc_pid_maps(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapsLine<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Such as `rw-p`.
    pub(crate) access: &'a [u8],
    /// Offset in the file.
    pub(crate) offset: u64,
    /// A path, which need not be UTF-8, a name in brackets, or empty.
    pub(crate) name: &'a [u8],
}

impl<'a> MapsLine<'a> {
    /// Parses a line; `None` if it does not have this form.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |&b| b == b' ');
        let (start, end) = str::from_utf8(fields.next()?).ok()?.split_once('-')?;
        let access = fields.next().filter(|a| a.len() == 4)?;
        let offset = str::from_utf8(fields.next()?).ok()?;
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            access,
            offset: u64::from_str_radix(offset, 16).ok()?,
            name: fields.nth(2).unwrap_or_default().trim_ascii_start(),
        })
    }
}

/// An executable mapping of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeMapping<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Offset in the file.
    pub(crate) offset: u64,
    pub(crate) path: &'a [u8],
}

/// Calls `visit` with each executable mapping of a file. `text` is scratch memory.
pub(crate) fn for_each_code_mapping(
    text: &mut MappedVec<u8>,
    mut visit: impl FnMut(CodeMapping<'_>),
) {
    // If it cannot be read to its end, the part that was read is still valid.
    let _ = read_whole("/proc/self/maps", text);
    for line in text.as_slice().split(|&b| b == b'\n') {
        if let Some(mapping) = code_mapping(line) {
            visit(mapping);
        }
    }
}

/// The mapping of a line, if it is an executable one of a file.
fn code_mapping(line: &[u8]) -> Option<CodeMapping<'_>> {
    let line = MapsLine::parse(line)?;
    let is_code = line.access.contains(&b'x') && line.name.starts_with(b"/");
    is_code.then_some(CodeMapping {
        start: line.start,
        end: line.end,
        offset: line.offset,
        path: line.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::pause;

    #[test]
    fn this_process_is_resident_and_has_threads() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(threads() >= 1);
    }

    #[test]
    fn memory_in_the_status_is_in_kib() {
        let status = "Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t    1236 kB\n";
        assert_eq!(status_bytes(status, "VmRSS:"), Some(1236 * 1024));
        assert_eq!(status_bytes(status, "VmHWM:"), Some(99 * 1024));
        assert_eq!(status_bytes("VmRSS: lots", "VmRSS:"), None);
    }

    #[test]
    fn blocked_signals_are_hexadecimal() {
        let status = "SigPnd:\t00\nSigBlk:\t8000000000000a02\nSigIgn:\t00\n";
        assert_eq!(blocked_signals(status), Some(0x8000_0000_0000_0a02));
        assert_eq!(blocked_signals("SigPnd:\t00\n"), None);
    }

    #[test]
    fn a_command_may_contain_parentheses_and_spaces() {
        let stat = "12 (a) b ( c) S 1 2 3 0 -1 5 6 7 8 9 1 2 3 4 20 0 7 0 99";
        assert_eq!(stat_threads(stat), Some(7));
        assert_eq!(stat_state(stat), Some('S'));
        assert_eq!(stat_threads("nonsense"), None);
    }

    #[test]
    fn only_executable_mappings_of_files_are_code() {
        let line = b"55d0c0a00000-55d0c0b00000 r-xp 00012000 fe:00 1234       /opt/a b/bin";
        let mapping = code_mapping(line).unwrap();
        assert_eq!(mapping.start, 0x55d0_c0a0_0000);
        assert_eq!(
            (mapping.offset, mapping.path),
            (0x12000, &b"/opt/a b/bin"[..])
        );
        assert_eq!(code_mapping(b"7f00-7f01 rw-p 0 fe:00 1 /lib/x"), None);
        assert_eq!(code_mapping(b"7f00-7f01 r-xp 0 00:00 0 [vdso]"), None);
        assert_eq!(code_mapping(b""), None);
    }

    #[test]
    fn a_busy_thread_is_not_asleep() {
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        static STOP: AtomicBool = AtomicBool::new(false);
        let busy = std::thread::spawn(|| {
            while !STOP.load(Relaxed) {
                std::hint::spin_loop();
            }
        });
        assert!(!others_sleep(&pause()));
        STOP.store(true, Relaxed);
        busy.join().unwrap();
    }

    #[test]
    fn the_code_of_this_test_is_mapped() {
        let mut found = false;
        let here = the_code_of_this_test_is_mapped as *const () as u64;
        for_each_code_mapping(&mut MappedVec::new(), |m| {
            found |= m.start <= here && here < m.end;
        });
        assert!(found);
    }
}
