//! Where the debug information of a stripped file is: where GDB looks for it, too.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use object::Object;

use super::elf_file::{ElfFile, Headers};
use super::unread::Unread;

/// Where distributions install debug information.
pub(super) const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// The file with the debug information of a file without it; `None` if it refers to none. `folder` is
/// [`DEBUG_FOLDER`].
pub(super) fn find(file: &Headers<'_>, folder: &Path) -> Result<Option<ElfFile>, Unread> {
    let path = &file.elf.path;
    if is_of_the_system(path) {
        return Ok(None);
    }
    let id = file.parsed.build_id().ok().flatten();
    let link = file.parsed.gnu_debuglink().ok().flatten();
    let mut candidates: Vec<PathBuf> = id
        .and_then(|id| by_build_id(id, folder))
        .into_iter()
        .collect();
    if let Some((name, _)) = link {
        candidates.extend(by_link(path, OsStr::from_bytes(name), folder));
    }
    let mut other_build = None;
    for candidate in candidates.into_iter().filter(|c| c != path) {
        let Some(found) = ElfFile::open(&candidate) else {
            continue;
        };
        if found
            .headers()
            .is_some_and(|h| belongs(&h, id, link.map(|l| l.1)))
        {
            return Ok(Some(found));
        }
        other_build.get_or_insert(candidate);
    }
    match (other_build, link) {
        (Some(found), _) => Err(Unread::OtherBuild {
            file: path.clone(),
            found,
        }),
        (None, Some((name, _))) => Err(Unread::NotFound {
            file: path.clone(),
            name: String::from_utf8_lossy(name).into_owned(),
        }),
        (None, None) => Ok(None),
    }
}

/// Whether a file is a library of the system. Nobody edits those to fix a leak; and with lines, their
/// frames would count as the user's code.
fn is_of_the_system(path: &Path) -> bool {
    let mut folders = path.components().filter_map(|c| match c {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let first = folders.find(|&name| name != "usr");
    first.is_some_and(|name| name.starts_with("lib"))
}

fn by_build_id(id: &[u8], folder: &Path) -> Option<PathBuf> {
    let digits = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let (first, rest) = id.split_at_checked(1)?;
    let file = Path::new(&digits(first)).join(digits(rest) + ".debug");
    Some(folder.join(".build-id").join(file))
}

fn by_link(path: &Path, name: &OsStr, folder: &Path) -> Vec<PathBuf> {
    let beside = path.parent().unwrap_or(Path::new("/"));
    let below = folder.join(beside.strip_prefix("/").unwrap_or(beside));
    let folders = [beside.to_owned(), beside.join(".debug"), below];
    folders.into_iter().map(|f| f.join(name)).collect()
}

/// Whether debug information is that of the build with this build ID, or with this checksum of its debug
/// information.
fn belongs(found: &Headers<'_>, id: Option<&[u8]>, checksum: Option<u32>) -> bool {
    let found_id = found.parsed.build_id().ok().flatten();
    match (id, found_id) {
        (Some(id), Some(found)) => id == found,
        _ => checksum.is_some() && checksum_of(found.elf) == checksum,
    }
}

/// The CRC-32 of a file, as `objcopy --add-gnu-debuglink` writes it; `None` if it cannot be read.
fn checksum_of(file: &ElfFile) -> Option<u32> {
    const TABLE: [u32; 256] = crc_table();
    let mut reader = file.reader(0).ok()?;
    let mut buffer = vec![0; 1 << 16];
    let mut sum = u32::MAX;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Some(!sum),
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        for &byte in &buffer[..read] {
            sum = TABLE[usize::from(sum as u8 ^ byte)] ^ (sum >> 8);
        }
    }
}

/// The remainders of all bytes by the reversed polynomial of IEEE 802.3.
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = (rest >> 1) ^ (0xedb8_8320 * (rest & 1));
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_the_system_are_told_by_their_folder() {
        for library in ["/lib64/ld.so", "/usr/lib/x86_64-linux-gnu/libc.so.6"] {
            assert!(is_of_the_system(Path::new(library)), "{library}");
        }
        for own in ["/usr/bin/program", "/usr/local/lib/a.so", "/srv/lib/a.so"] {
            assert!(!is_of_the_system(Path::new(own)), "{own}");
        }
    }
}
