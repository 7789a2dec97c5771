//! The line of an instruction, by the table of locations of its code object.
//!
//! The format is that of PEP 626 as CPython 3.11 and later have it (`Objects/locations.md` in its
//! sources): an entry for each range of instructions.

/// The line of an instruction, which is given by its number in units of two bytes; `None` if it has
/// none, or the table is not as it should be. `first_line` is that of the code object.
pub(crate) fn line_of(
    mut table: impl Iterator<Item = u8>,
    first_line: u32,
    instruction: usize,
) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut end = 0;
    loop {
        let head = table.next().filter(|head| head & 0x80 != 0)?;
        let kind = head >> 3 & 15;
        let skipped = match kind {
            15 => 0,
            14 => {
                line += signed(&mut table)?;
                for _ in 0..3 {
                    unsigned(&mut table)?;
                }
                0
            }
            13 => {
                line += signed(&mut table)?;
                0
            }
            10..=12 => {
                line += i64::from(kind - 10);
                2
            }
            _ => 1,
        };
        for _ in 0..skipped {
            table.next()?;
        }
        end += usize::from(head & 7) + 1;
        if instruction < end {
            return u32::try_from(line).ok().filter(|_| kind != 15);
        }
    }
}

/// A number in groups of six bits, the lowest first.
fn unsigned(table: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS - 6).step_by(6) {
        let byte = table.next()?;
        number |= u64::from(byte & 0x3f) << shift;
        if byte & 0x40 == 0 {
            return Some(number);
        }
    }
    None
}

/// A number whose lowest bit is its sign.
fn signed(table: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let number = unsigned(table)?;
    let size = (number >> 1) as i64;
    Some(if number & 1 == 0 { size } else { -size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `co_linetable` of a function in line 1, by CPython 3.11.7, with its lines by `co_positions`.
    const TABLE: [u8; 36] = [
        128, 0, 216, 8, 9, 128, 65, 240, 106, 15, 0, 10, 11, 240, 82, 6, 0, 3, 4, 241, 83, 6, 73,
        3, 10, 4, 128, 65, 240, 84, 6, 0, 12, 13, 128, 72,
    ];
    const LINES: [u32; 10] = [1, 2, 2, 503, 704, 503, 503, 503, 705, 705];

    #[test]
    fn lines_are_those_that_python_tells() {
        for (instruction, line) in LINES.into_iter().enumerate() {
            assert_eq!(line_of(TABLE.into_iter(), 1, instruction), Some(line));
        }
        assert_eq!(line_of(TABLE.into_iter(), 1, LINES.len()), None);
    }

    #[test]
    fn an_instruction_may_have_no_line() {
        // Four instructions without a line, then one in the first line.
        let table = [0x80 | 15 << 3 | 3, 0x80 | 10 << 3, 1, 2];
        assert_eq!(line_of(table.into_iter(), 7, 3), None);
        assert_eq!(line_of(table.into_iter(), 7, 4), Some(7));
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(table: Vec<u8>, first_line: u32, instruction in 0..1000_usize) {
            line_of(table.into_iter(), first_line, instruction);
        }
    }
}
