//! Which memory a search cannot see. A block to which only such memory points seems to be lost.

use crate::model::holders::Unsearched;
use crate::recorder::proc::MapsLine;
use crate::recorder::smaps::Mapping;

/// Sums up the mappings that are taken to be the allocator's or the recorder's own, without a look at
/// their contents. What they have beyond what the two have mapped is somebody else's: the kernel may
/// have merged it with theirs, or it has the same marks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnMappings {
    /// Bytes with the marks of the recorder's own.
    of_recorder: u64,
    /// Bytes of anonymous mappings, without and with reserved swap space: jemalloc maps all of its
    /// memory in one of these ways.
    of_allocator: [u64; 2],
    /// Whether a mapping of this way was left out because it has blocks of the allocator.
    has_skipped: [bool; 2],
}

impl OwnMappings {
    /// Adds a mapping with the marks of the recorder's own.
    pub(super) fn add_of_recorder(&mut self, mapping: &Mapping<'_>) {
        self.of_recorder += mapping.end - mapping.start;
    }

    /// Adds an anonymous mapping that may be the allocator's. It is `skipped` if it has blocks.
    pub(super) fn add_of_allocator(&mut self, mapping: &Mapping<'_>, skipped: bool) {
        let way = usize::from(!mapping.no_reserve);
        self.of_allocator[way] += mapping.end - mapping.start;
        self.has_skipped[way] |= skipped;
    }

    /// Adds what is neither the recorder's nor the allocator's, of which these are the bytes that
    /// they have mapped. `allocator_bytes` is `None` if the allocator does not report it.
    pub(super) fn add_others(
        self,
        recorder_bytes: u64,
        allocator_bytes: Option<u64>,
        to: &mut Unsearched,
    ) {
        to.like_recorder += self.of_recorder.saturating_sub(recorder_bytes);
        let ways = self.of_allocator.into_iter().zip(self.has_skipped);
        let mapped: u64 = ways.filter(|way| way.1).map(|way| way.0).sum();
        if let Some(bytes) = allocator_bytes {
            to.like_allocator += mapped.saturating_sub(bytes);
        }
    }
}

/// Bytes of mappings that the process had and its copy does not have: `MADV_DONTFORK`. `of_process`
/// and `of_copy` are texts in the format of `/proc/self/maps`.
pub(super) fn not_copied(of_process: &[u8], of_copy: &[u8]) -> u64 {
    let lines = |text| split_lines(text).filter_map(MapsLine::parse);
    let mut copied = lines(of_copy).peekable();
    let mut bytes = 0;
    for mapping in lines(of_process) {
        // Both are in the order of their addresses.
        let mut from = mapping.start;
        while let Some(copy) = copied.peek()
            && from < mapping.end
        {
            if copy.end <= from {
                copied.next();
                continue;
            }
            if copy.start >= mapping.end {
                break;
            }
            bytes += copy.start.saturating_sub(from);
            from = copy.end;
        }
        bytes += mapping.end.saturating_sub(from);
    }
    bytes
}

fn split_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::fmt::Write;

    fn maps(mappings: &[(u64, u64)]) -> String {
        mappings
            .iter()
            .fold(String::new(), |mut text, (start, end)| {
                let _ = writeln!(text, "{start:x}-{end:x} rw-p 00000000 00:00 0");
                text
            })
    }

    #[test]
    fn pages_that_the_copy_does_not_have_are_counted() {
        let mut random = Random::new(7);
        for _ in 0..500 {
            // Adjacent mappings may be one mapping in the other process.
            let mut any = || -> (Vec<(u64, u64)>, Vec<bool>) {
                let mut pages = vec![false; 64];
                let mut mappings = Vec::new();
                let mut at = 0;
                while at < 60 {
                    let start = at + random.index(4);
                    let end = (start + 1 + random.index(6)).min(64);
                    pages[start..end].fill(true);
                    mappings.push((start as u64 * 4096, end as u64 * 4096));
                    at = end;
                }
                (mappings, pages)
            };
            let (process, in_process) = any();
            let (copy, in_copy) = any();
            let missing = in_process.iter().zip(&in_copy).filter(|(p, c)| **p && !**c);
            let truth = missing.count() as u64 * 4096;
            let counted = not_copied(maps(&process).as_bytes(), maps(&copy).as_bytes());
            assert_eq!(counted, truth, "{process:?} {copy:?}");
        }
    }

    #[test]
    fn nothing_is_missing_in_an_equal_copy() {
        let text = std::fs::read("/proc/self/maps").unwrap();
        assert_eq!(not_copied(&text, &text), 0);
    }

    #[test]
    fn memory_beyond_what_the_allocator_has_mapped_is_somebody_elses() {
        let mapping = |bytes: u64| Mapping {
            start: 0x10_000,
            end: 0x10_000 + bytes,
            no_reserve: true,
            ..Mapping::default()
        };
        let others = |skipped, allocator_bytes| {
            let mut own = OwnMappings::default();
            own.add_of_allocator(&mapping(0x3000), skipped);
            let mut unsearched = Unsearched::default();
            own.add_others(0, allocator_bytes, &mut unsearched);
            unsearched.like_allocator
        };
        assert_eq!(others(true, Some(0x3000)), 0);
        assert_eq!(others(true, Some(0x1000)), 0x2000);
        assert_eq!(others(false, Some(0x1000)), 0, "all of it was searched");
        assert_eq!(others(true, None), 0);
    }
}
