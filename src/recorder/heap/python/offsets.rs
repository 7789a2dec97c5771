//! Where CPython keeps what is read of it, by version.
//!
//! From 3.13 on the interpreter publishes its offsets at the begin of `_PyRuntime`
//! (`_Py_DebugOffsets` in `Include/internal/pycore_debug_offsets.h`). Those of 3.11 and 3.12, which
//! never changed after their release, are from `pycore_frame.h`, `cpython/code.h`,
//! `cpython/pystate.h` and `cpython/unicodeobject.h` of these versions.

/// Offsets in bytes, on machines with words of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offsets {
    pub(crate) running: RunningFrame,
    /// In a frame.
    pub(crate) previous: usize,
    pub(crate) code: usize,
    pub(crate) instruction: usize,
    pub(crate) owner: usize,
    /// The local variables.
    pub(crate) locals: usize,
    /// In a code object.
    pub(crate) file_name: usize,
    pub(crate) qualified_name: usize,
    pub(crate) line_table: usize,
    pub(crate) first_line: usize,
    pub(crate) bytecode: usize,
    /// The names of the local variables.
    pub(crate) local_names: usize,
    /// In a string.
    pub(crate) text_length: usize,
    pub(crate) text_state: usize,
    /// The characters of a string of ASCII, and of any other.
    pub(crate) ascii: usize,
    pub(crate) characters: usize,
    /// In a bytes object.
    pub(crate) byte_count: usize,
    pub(crate) bytes: usize,
}

/// Where a thread's innermost frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunningFrame {
    /// In the thread's state.
    InThread { frame: usize },
    /// In a record on the native stack, to which the thread's state points.
    InRecord { record: usize, frame: usize },
}

/// The version of an interpreter: major number and minor number, as in `Py_Version >> 16`.
pub(super) type Version = u16;

/// What is the same in 3.11 and 3.12.
const BEFORE_3_13: Offsets = Offsets {
    running: RunningFrame::InRecord {
        record: 56,
        frame: 0,
    },
    previous: 8,
    code: 0,
    instruction: 56,
    owner: 70,
    locals: 72,
    file_name: 112,
    qualified_name: 128,
    line_table: 136,
    first_line: 68,
    bytecode: 192,
    local_names: 96,
    text_length: 16,
    text_state: 32,
    ascii: 40,
    characters: 56,
    byte_count: 16,
    bytes: 32,
};

const OF_3_11: Offsets = Offsets {
    running: RunningFrame::InRecord {
        record: 56,
        frame: 8,
    },
    previous: 48,
    code: 32,
    owner: 69,
    first_line: 72,
    bytecode: 184,
    ascii: 48,
    characters: 72,
    ..BEFORE_3_13
};

/// The offsets of a version that publishes none.
pub(super) fn of_version(version: Version) -> Option<Offsets> {
    match version {
        0x030b => Some(OF_3_11),
        0x030c => Some(BEFORE_3_13),
        _ => None,
    }
}

/// Words of `_Py_DebugOffsets` that are read.
pub(super) const PUBLISHED_WORDS: usize = 93;

/// The first word of `_Py_DebugOffsets`.
const COOKIE: u64 = u64::from_le_bytes(*b"xdebugpy");

/// The offsets that an interpreter publishes, and whether it runs without a global lock; `None` if the
/// words are not of a known version. `words` are the first of `_PyRuntime`.
pub(super) fn published(words: &[u64; PUBLISHED_WORDS]) -> Option<(Offsets, bool)> {
    let [cookie, version, is_free_threaded, ..] = *words;
    // The first words of parts of the structure, which gains fields from version to version.
    let (thread, frame, code, unicode, bytes) = match version >> 16 {
        0x030d => (19, 28, 34, 67, 64),
        0x030e => (22, 31, 39, 77, 74),
        0x030f => (22, 39, 47, 89, 86),
        _ => return None,
    };
    if cookie != COOKIE {
        return None;
    }
    // No structure that is read of is larger.
    let at = |index: usize| usize::try_from(words[index]).ok().filter(|&at| at < 4096);
    let ascii = at(unicode + 3)?;
    let offsets = Offsets {
        running: RunningFrame::InThread {
            frame: at(thread + 4)?,
        },
        previous: at(frame + 1)?,
        code: at(frame + 2)?,
        instruction: at(frame + 3)?,
        owner: at(frame + 5)?,
        locals: at(frame + 4)?,
        file_name: at(code + 1)?,
        qualified_name: at(code + 3)?,
        line_table: at(code + 4)?,
        first_line: at(code + 5)?,
        bytecode: at(code + 9)?,
        local_names: at(code + 7)?,
        text_length: at(unicode + 2)?,
        text_state: at(unicode + 1)?,
        ascii,
        // Its UTF-8 form and the length of that lie between.
        characters: ascii + 16,
        byte_count: at(bytes + 1)?,
        bytes: at(bytes + 2)?,
    };
    Some((offsets, is_free_threaded != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of an interpreter of a version whose parts begin at these words.
    fn words(
        version: u64,
        [thread, frame, code, unicode, bytes]: [usize; 5],
    ) -> [u64; PUBLISHED_WORDS] {
        let mut words = [0; PUBLISHED_WORDS];
        (words[0], words[1]) = (COOKIE, version << 16);
        for (at, offset) in [
            (thread + 4, 72),
            (frame + 1, 8),
            (frame + 3, 56),
            (frame + 4, 80),
            (frame + 5, 74),
            (code + 1, 112),
            (code + 3, 128),
            (code + 4, 136),
            (code + 5, 68),
            (code + 7, 96),
            (code + 9, 208),
            (unicode + 1, 32),
            (unicode + 2, 16),
            (unicode + 3, 40),
            (bytes + 1, 16),
            (bytes + 2, 32),
        ] {
            words[at] = offset;
        }
        words
    }

    /// Those that CPython 3.14.10 and 3.15.2 publish, as `gdb -ex 'p _PyRuntime.debug_offsets'` shows them.
    const OF_3_14: Offsets = Offsets {
        running: RunningFrame::InThread { frame: 72 },
        owner: 74,
        locals: 80,
        bytecode: 208,
        ..BEFORE_3_13
    };

    #[test]
    fn published_offsets_are_found_by_version() {
        for (version, parts) in [
            (0x030e, [22, 31, 39, 77, 74]),
            (0x030f, [22, 39, 47, 89, 86]),
        ] {
            let found = published(&words(version, parts));
            assert_eq!(found, Some((OF_3_14, false)), "{version:x}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let parts = [22, 31, 39, 77, 74];
        assert_eq!(published(&words(0x0310, parts)), None);
        let mut foreign = words(0x030e, parts);
        foreign[0] += 1;
        assert_eq!(published(&foreign), None);
        let mut far = words(0x030e, parts);
        far[26] = 1 << 40;
        assert_eq!(published(&far), None);
        assert_eq!(of_version(0x030a), None);
    }

    #[test]
    fn a_build_without_a_global_lock_is_told() {
        let mut words = words(0x030d, [19, 28, 34, 67, 64]);
        words[2] = 1;
        assert!(published(&words).is_some_and(|(_, is_free_threaded)| is_free_threaded));
    }
}
