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
pub(crate) unsafe fn characters_of(object: usize, offsets: &Offsets) -> impl Iterator<Item = char> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::python::offsets::of_version;

    /// A string of 3.12 as the interpreter has it, of characters of this many bytes.
    fn string(characters: &str, bytes: usize) -> Vec<u64> {
        let is_ascii = bytes == 1 && characters.is_ascii();
        let mut string = vec![0_u8; if is_ascii { 40 } else { 56 }];
        string[16] = characters.chars().count() as u8;
        string[32] = (bytes as u8) << 2 | u8::from(is_ascii) << 6;
        for character in characters.chars() {
            string.extend_from_slice(&u32::from(character).to_ne_bytes()[..bytes]);
        }
        string.resize(string.len().next_multiple_of(8), 0);
        let words = string.as_chunks::<8>().0.iter();
        words.map(|&word| u64::from_ne_bytes(word)).collect()
    }

    #[test]
    fn strings_of_all_forms_are_read() {
        let offsets = of_version(0x030c).unwrap();
        for (text, bytes) in [
            ("serve.py", 1),
            ("größe", 1),
            ("模型", 2),
            ("🦀.py", 4),
            ("", 1),
        ] {
            let words = string(text, bytes);
            // SAFETY: the address is that of a string, which lives on.
            let read = unsafe { characters_of(words.as_ptr().expose_provenance(), &offsets) };
            assert_eq!(read.collect::<String>(), text);
        }
    }

    #[test]
    fn a_bytes_object_is_read() {
        let offsets = of_version(0x030c).unwrap();
        let words = [1, 0, 3, 0, u64::from_ne_bytes(*b"abc\0\0\0\0\0")];
        // SAFETY: the address is that of a bytes object, which lives on.
        let read = unsafe { bytes_of(words.as_ptr().expose_provenance(), &offsets) };
        assert_eq!(read.collect::<Vec<u8>>(), b"abc");
    }

    #[test]
    fn bytes_are_read_from_any_address() {
        let words = [u64::from_ne_bytes(*b"abcdefgh"); 2];
        let at = words.as_ptr().expose_provenance();
        // SAFETY: all addresses are in `words`.
        let read: Vec<u8> = (3..9).map(|i| unsafe { byte_at(at + i) }).collect();
        assert_eq!(read, b"defgha");
    }
}
