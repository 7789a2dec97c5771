//! Reading the interpreter's objects.

use super::offsets::Offsets;
use crate::recorder::foreign_memory::word;

/// Longest text and table that is read, in characters and bytes. What is longer is cut.
const MOST: usize = 1 << 16;

/// The word at an address.
///
/// # Safety
/// It is in a live structure of the interpreter's.
#[inline(always)]
pub(super) unsafe fn word_at(at: usize) -> usize {
    // SAFETY: the contract of this function.
    unsafe { word::<0>(at) }
}

/// The byte at an address.
///
/// # Safety
/// It is in a live structure of the interpreter's.
#[inline(always)]
pub(super) unsafe fn byte_at(at: usize) -> u8 {
    // SAFETY: the word of an aligned address that has this byte is on the same page.
    let word = unsafe { word::<0>(at & !7) };
    word.to_ne_bytes()[at & 7]
}

/// The 32-bit number at an address, which is aligned to that.
///
/// # Safety
/// It is in a live structure of the interpreter's.
pub(super) unsafe fn u32_at(at: usize) -> u32 {
    // SAFETY: the contract of this function.
    let bytes = [0, 1, 2, 3].map(|i| unsafe { byte_at(at + i) });
    u32::from_ne_bytes(bytes)
}

/// The contents of a bytes object.
///
/// # Safety
/// The address is that of a live bytes object, and stays so while the iterator is used.
pub(super) unsafe fn bytes_of(object: usize, offsets: &Offsets) -> impl Iterator<Item = u8> {
    // SAFETY: the contract of this function; the object has as many bytes as it says.
    let (count, start) = unsafe { (word_at(object + offsets.byte_count), object + offsets.bytes) };
    // SAFETY: see above.
    (0..count.min(MOST)).map(move |i| unsafe { byte_at(start + i) })
}

/// The characters of a string. A surrogate is `�`.
///
/// # Safety
/// The address is that of a live string, and stays so while the iterator is used.
pub(super) unsafe fn characters_of(object: usize, offsets: &Offsets) -> impl Iterator<Item = char> {
    const ASCII: u32 = 1 << 6;
    // SAFETY: the contract of this function; the string has as many characters as it says, each of
    // as many bytes.
    let (length, state) = unsafe {
        (
            word_at(object + offsets.text_length),
            u32_at(object + offsets.text_state),
        )
    };
    let bytes = match state >> 2 & 7 {
        kind @ (1 | 2 | 4) => kind as usize,
        // Not a form that strings are in when they are ready.
        _ => 0,
    };
    let start = match state & ASCII {
        0 => object + offsets.characters,
        _ => object + offsets.ascii,
    };
    let length = match bytes {
        0 => 0,
        _ => length.min(MOST),
    };
    (0..length).map(move |i| {
        let at = start + i * bytes;
        // SAFETY: see above.
        let code = (0..bytes).fold(0, |code, byte| unsafe {
            code | u32::from(byte_at(at + byte)) << (8 * byte)
        });
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}
