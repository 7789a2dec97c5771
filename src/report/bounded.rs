//! A bound on the memory that a JSON file takes when it is read, for files of others.

use std::io::{self, Read};

use crate::base::units::bytes;

/// Bytes in memory for each byte of a file. A series of zeros takes 8 bytes for 3.
const RATIO: u64 = 3;

/// Bytes in memory that any file may take.
const ANY: u64 = 1 << 24;

/// Bytes of a character that a format must escape, such as `&amp;`, in its text.
const ESCAPED: u64 = 7;

/// Bytes of the longest text. The command line of a process has at most 2 MiB on Linux.
const LONGEST_TEXT: u64 = 1 << 23;

/// Texts of the longest list of nothing but texts: it takes far more memory than the file. Such are warnings and
/// settings.
const MOST_TEXTS: u64 = 10_000;

/// Bytes in memory of a number, and of a string or an array without its contents.
const VALUE: u64 = 8;
const HEAD: u64 = 24;

/// Passes on what it reads, up to a file's bounds.
pub(super) struct Bounded<R> {
    from: R,
    /// Size of the file. A pipe has none.
    size: u64,
    largest: u64,
    /// Bytes so far, in the file and in memory.
    read: u64,
    memory: u64,
    /// Whether the next byte is within a string, and behind a backslash.
    in_string: bool,
    is_escaped: bool,
    /// The array that has just begun, as long as it has nothing but numbers.
    array: Option<Array>,
    /// Bytes of the string so far, and strings since the last bracket or colon.
    text: u64,
    texts: u64,
    /// What no file has, whatever its size.
    wrong: Option<&'static str>,
    /// The last byte that is neither space nor within a string.
    last: u8,
}

/// An array of nothing but numbers so far.
struct Array {
    /// Whether it is an element of an array: then it is a tuple.
    in_array: bool,
}

impl<R> Bounded<R> {
    pub(super) const HINT: &'static str = "a run writes no such report; if this one is of a run, \
                                           repeat it with fewer cycles";

    pub(super) fn new(from: R, size: u64, largest: u64) -> Self {
        Self {
            from,
            size,
            largest,
            read: 0,
            memory: 0,
            in_string: false,
            is_escaped: false,
            array: None,
            text: 0,
            texts: 0,
            wrong: None,
            last: 0,
        }
    }

    /// What is wrong with the file, if it is beyond its bounds.
    pub(super) fn excess(&self) -> Option<String> {
        let size = self.size.max(self.read);
        if size > self.largest {
            let (size, most) = (bytes(size as f64), bytes(self.largest as f64));
            return Some(format!("too large: {size}, of at most {most}"));
        }
        if let Some(wrong) = self.wrong {
            return Some(wrong.into());
        }
        let most = (size * RATIO).max(ANY);
        (self.memory > most).then(|| {
            format!(
                "its values would take more than {}, of at most {RATIO} times its size of {}",
                bytes(most as f64),
                bytes(size as f64)
            )
        })
    }

    /// Adds what a piece of JSON takes in memory: each value 8 bytes, as a number does, each string,
    /// array and structure 24 bytes, and the bytes of each string. A tuple of numbers takes no more than
    /// they do. Characters that formats escape count as what they become.
    fn add(&mut self, piece: &[u8]) {
        for &byte in piece {
            if self.in_string {
                let is_markup = matches!(byte, b'&' | b'<' | b'>' | b'\\');
                self.memory += if is_markup { ESCAPED } else { 1 };
                self.text += 1;
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.end_string(),
                    _ => {}
                }
            } else if !byte.is_ascii_whitespace() {
                self.add_outside(byte);
                self.last = byte;
            }
        }
    }

    fn end_string(&mut self) {
        self.in_string = false;
        self.texts += 1;
        if self.texts > MOST_TEXTS {
            self.wrong = Some("a list in it has more than 10,000 texts");
        }
    }

    fn add_outside(&mut self, byte: u8) {
        match byte {
            b'"' => self.text = 0,
            b'[' | b'{' | b']' | b'}' | b':' => self.texts = 0,
            _ => {}
        }
        match byte {
            b',' => self.memory += VALUE,
            b'"' | b'{' | b'[' => {
                let begun = self.array.take().is_some();
                self.memory += if begun { HEAD } else { 0 };
                self.in_string = byte == b'"';
                match byte {
                    b'[' => {
                        let in_array = matches!(self.last, b'[' | b',');
                        self.array = Some(Array { in_array });
                    }
                    b'{' => self.memory += HEAD,
                    _ => self.memory += HEAD - VALUE,
                }
            }
            b']' => {
                let is_empty = self.last == b'[';
                let array = self.array.take().filter(|a| is_empty || !a.in_array);
                self.memory += if array.is_some() { HEAD } else { 0 };
            }
            _ => {}
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.excess().is_some() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = self.from.read(to)?;
        self.read += count as u64;
        self.add(&to[..count]);
        if self.in_string && self.text > LONGEST_TEXT {
            self.wrong = Some("a text in it has more than 8 MiB");
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a text that is repeated up to some size, and says what is wrong with it.
    fn excess(text: &str, size: usize) -> Option<String> {
        let all = text.repeat(size.div_ceil(text.len()));
        let mut bounded = Bounded::new(all.as_bytes(), all.len() as u64, u64::MAX);
        let read = io::copy(&mut bounded, &mut io::sink());
        assert_eq!(read.is_err(), bounded.excess().is_some());
        bounded.excess()
    }

    #[test]
    fn what_a_run_writes_is_within_the_bounds() {
        for text in [
            "0, ",
            "[83, 16, 1], ",
            "[93824992231424, 1], ",
            "\"phase\": \"load\", ",
            "\"function\": \"app::cache::<A, B, [C; 4]>::get\", ",
        ] {
            assert_eq!(excess(text, 10 * ANY as usize), None, "{text}");
        }
    }

    #[test]
    fn many_short_values_are_beyond_the_bounds() {
        for text in [
            "\"\",",
            "[],",
            "[0,[]],",
            "[\"\"],",
            "{},",
            "\"&&&&&&&&&&&&&&&&\", ",
        ] {
            let says = excess(text, ANY as usize).expect(text);
            let of_size = says.contains("of at most 3 times its size of 16.8 MB");
            let of_list = text.starts_with('"') && says.contains("10,000 texts");
            assert!(of_size || of_list, "{text}: {says}");
            assert_eq!(
                excess(text, 1000),
                None,
                "{text}: little memory is for any file"
            );
        }
    }

    #[test]
    fn a_long_list_of_texts_is_refused_before_it_is_read() {
        for (text, says) in [
            ("\"a long warning\", ", "10,000 texts"),
            (
                "\"an even longer warning with \\\" in it\",",
                "10,000 texts",
            ),
            ("abc ", "8 MiB"),
        ] {
            let file = format!(
                "[\"{}",
                text.repeat((10 << 20) / text.len() + 20_000)
                    .replacen("\"", "", 1)
            );
            let mut bounded = Bounded::new(file.as_bytes(), file.len() as u64, u64::MAX);
            let read = io::copy(&mut bounded, &mut io::sink());
            assert!(read.is_err(), "{text}");
            assert!(bounded.excess().unwrap().contains(says), "{text}");
            assert!(
                bounded.read < 9 << 20,
                "{text}: {} bytes were read",
                bounded.read
            );
        }
        let of_fields = "{\"name\": \"app::cache::get_or_insert_with\", \"bytes\": 1048576}, ";
        assert_eq!(excess(of_fields, 2 * ANY as usize), None);
    }

    #[test]
    fn only_what_is_outside_of_strings_is_a_value() {
        let memory = |text: &str| {
            let mut bounded = Bounded::new(text.as_bytes(), 0, u64::MAX);
            io::copy(&mut bounded, &mut io::sink()).unwrap();
            bounded.memory
        };
        assert_eq!(memory("\",[{:,[\""), 16 + 7);
        assert_eq!(memory("[1, 2]"), 24 + 8);
        assert_eq!(memory("[[1, 2]]"), 24 + 8);
    }

    #[test]
    fn a_file_beyond_the_largest_size_is_not_read() {
        let mut bounded = Bounded::new(&b"{}"[..], 2000, 1000);
        assert!(bounded.read(&mut [0; 2]).is_err());
        assert_eq!(
            bounded.excess().unwrap(),
            "too large: 2.00 kB, of at most 1.00 kB"
        );
    }
}
