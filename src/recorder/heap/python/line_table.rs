//! The line of an instruction, by the table of locations of its code object.
//!
//! The format is that of PEP 626 as CPython 3.11 and later have it (`Objects/locations.md` in its
//! sources): an entry for each range of instructions.

/// The line of an instruction, which is given by its number in units of two bytes; `None` if it has
/// none, or the table is not as it should be. `first_line` is that of the code object.
pub(super) fn line_of(
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
