//! Conservative scan: reads every word of a range of memory, because any may be a pointer.

use crate::recorder::foreign_memory::word;

/// Which words of a range are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// Words at multiples of 8.
    Aligned,
    /// All other words: pointers in packed structs.
    Unaligned,
}

/// Calls `visit` with the address and the value of each word of a range.
///
/// # Safety
/// The range is mapped and readable, and stays so until the function returns.
#[inline]
pub(super) unsafe fn for_each_word(
    start: usize,
    end: usize,
    words: Words,
    mut visit: impl FnMut(usize, usize),
) {
    let mut at = start.next_multiple_of(8);
    while at + 8 <= end {
        match words {
            Words::Aligned => {
                // SAFETY: the 8 bytes at `at` are in the range, which the caller ensures to be
                // readable (test: `all_words_are_read_once`).
                visit(at, unsafe { word::<0>(at) });
            }
            Words::Unaligned => {
                for at in (at + 1..at + 8).take_while(|at| at + 8 <= end) {
                    // SAFETY: as above; the read needs no alignment.
                    visit(at, unsafe { word::<0>(at) });
                }
            }
        }
        at += 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_read_once() {
        let bytes: Vec<u8> = (0..100).collect();
        let base = bytes.as_ptr().expose_provenance();
        for (start, end) in [(0, 100), (3, 77), (8, 16), (5, 12), (9, 9)] {
            let mut seen = Vec::new();
            for words in [Words::Aligned, Words::Unaligned] {
                // SAFETY: the range lies in `bytes`, which is borrowed until the end of the test.
                unsafe {
                    for_each_word(base + start, base + end, words, |at, word| {
                        assert_eq!(at % 8 == 0, words == Words::Aligned);
                        let from = at - base;
                        assert_eq!(word.to_ne_bytes(), bytes[from..from + 8]);
                        seen.push(from);
                    });
                }
            }
            seen.sort_unstable();
            let first = (base + start).next_multiple_of(8) - base;
            let expected: Vec<usize> = (first..end.saturating_sub(7)).collect();
            assert_eq!(seen, expected, "{start}..{end}");
        }
    }
}
