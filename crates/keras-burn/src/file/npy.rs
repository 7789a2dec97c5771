//! NumPy's files of arrays: `.npy` (NEP 1), and `.npz`, a zip of them. The values are decoded by the
//! crate `npyz`.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use npyz::{DType, Deserialize, NpyFile, NpyHeader, Order, TypeChar, half::f16};

use crate::array::Array;
use crate::error::{Error, Result};

/// Most values of an array.
const MAX_VALUES: u64 = 1 << 28;
/// Longest header, in bytes.
const MAX_HEADER: usize = 1 << 16;
/// Deepest nesting of brackets in a header: a dictionary with a tuple in it has 2.
const MAX_DEPTH: usize = 4;

const NOT_NPY: &str = "is not a .npy file";
const TRUNCATED: &str = "is truncated";

/// Reads the array of a `.npy` file, which has no name, or the arrays of a `.npz` file with their
/// names.
///
/// The arrays of a `.npz` are sorted by name, and a number at the end of a name counts as a number:
/// `arr_10` comes after `arr_9`. Any real type of numbers is read except long doubles, in either
/// byte order, and in row-major or column-major order.
///
/// # Errors
/// If the file cannot be read, is neither of the two, is damaged, holds something other than real
/// numbers, or is a compressed `.npz`.
///
/// # Example: what NumPy has saved
/// ```
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/keras/mlp/input.npy");
/// let arrays = keras_burn::read_arrays(path).unwrap();
/// let (name, array) = &arrays[0];
/// assert_eq!((name.as_str(), array.shape()), ("", &[16, 64][..]));
/// ```
pub fn read_arrays(path: impl AsRef<Path>) -> Result<Vec<(String, Array)>> {
    let path = path.as_ref();
    let io = |e| Error::io("read the array", path, e);
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(Error::file(path, "is not a regular file"));
    }
    let mut file = File::open(path).map_err(io)?;
    let mut start = [0; 4];
    // A file that is shorter has neither of the two.
    let _ = file.read_exact(&mut start);
    file.rewind().map_err(io)?;
    match &start {
        // The end of a central directory (APPNOTE.TXT, 4.3.16), which an empty archive begins with.
        b"PK\x05\x06" => Err(Error::file(path, "is an archive without an array")),
        b"PK\x03\x04" => read_archive(path, file),
        _ => {
            let array = read(BufReader::new(file));
            let array = array.map_err(|what| Error::file(path, what))?;
            Ok(vec![(String::new(), array)])
        }
    }
}

/// Reads a `.npz` file.
fn read_archive(path: &Path, file: File) -> Result<Vec<(String, Array)>> {
    let damaged = |e| Error::file(path, format!("the zip archive is damaged: {e}"));
    let mut archive = zip::ZipArchive::new(file).map_err(damaged)?;
    let names = archive.file_names();
    let names = names.map(|name| name.map(|n| n.into_owned()));
    let names: std::result::Result<Vec<String>, _> = names.collect();
    let mut names = names.map_err(damaged)?;
    names.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    let mut arrays = Vec::new();
    for name in names {
        let shown = name.escape_debug();
        let member = archive.by_name(&name).map_err(|e| {
            let what = format!("the member `{shown}` cannot be read: {e}");
            Error::file(path, what)
        })?;
        if member.compression() != zip::CompressionMethod::Stored {
            let what = format!("the member `{shown}` is compressed, which is not supported");
            return Err(Error::file(path, what)
                .hint("write it with `numpy.savez`, which does not compress"));
        }
        let array = read(BufReader::new(member));
        let array =
            array.map_err(|what| Error::file(path, format!("the member `{shown}` {what}")))?;
        arrays.push((array_name(&name).to_owned(), array));
    }
    Ok(arrays)
}

/// The name of the array in a member of an archive.
fn array_name(member: &str) -> &str {
    npyz::npz::array_name_from_file_name(member).unwrap_or(member)
}

/// What members are sorted by: the name up to the number at its end, the number, and the whole name.
fn sort_key(member: &str) -> (&str, u64, &str) {
    let name = array_name(member);
    let text = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[text.len()..].parse().unwrap_or(0);
    (text, number, member)
}

/// Reads one array. An error completes the sentence "the file …".
fn read(mut from: impl Read) -> std::result::Result<Array, String> {
    let header = read_header(&mut from)?;
    let sizes = header.shape().iter().map(|&d| usize::try_from(d).ok());
    let shape: Option<Vec<usize>> = sizes.collect();
    let mut sizes = header.shape().iter();
    let count = sizes.try_fold(1_u64, |n, &d| n.checked_mul(d));
    let (Some(shape), Some(0..=MAX_VALUES)) = (shape, count) else {
        return Err(format!(
            "is too large: its shape is {:?}, and at most {MAX_VALUES} values are supported",
            header.shape()
        ));
    };
    let values = read_values(&header, from)?;
    let values = match header.order() {
        Order::C => values,
        Order::Fortran => row_major(&values, &shape, header.strides()),
    };
    Ok(Array { shape, values })
}

/// Reads the header, and refuses one that `npyz` 0.9 could not handle.
fn read_header(from: &mut impl Read) -> std::result::Result<NpyHeader, String> {
    let mut bytes = vec![0; 8];
    from.read_exact(&mut bytes).map_err(|_| NOT_NPY)?;
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(NOT_NPY.into());
    }
    let size = match bytes[6] {
        1 => 2,
        2 | 3 => 4,
        other => {
            return Err(format!(
                "has version {other} of the .npy format, which is unknown"
            ));
        }
    };
    let mut length = [0; 4];
    from.read_exact(&mut length[..size])
        .map_err(|_| TRUNCATED)?;
    bytes.extend(&length[..size]);
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER {
        return Err(format!(
            "has a header of {length} bytes, and at most {MAX_HEADER} are supported"
        ));
    }
    let text = bytes.len();
    bytes.resize(text + length, 0);
    from.read_exact(&mut bytes[text..]).map_err(|_| TRUNCATED)?;
    check_header(&bytes[text..])?;
    // The parser's own message has several lines.
    NpyHeader::from_reader(&bytes[..]).map_err(|_| "has a header that NumPy does not write".into())
}

/// Refuses a header that `npyz` 0.9 could not handle: the time of its parser is exponential in the
/// nesting of brackets, and it multiplies the sizes of the axes without a check for overflow.
fn check_header(text: &[u8]) -> std::result::Result<(), String> {
    let wrong = || "has a header that NumPy does not write".to_owned();
    let (mut depth, mut quote) = (0, None);
    let mut product = 1_u64;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, quote) {
            (b'\\', _) | (0x80.., _) => return Err(wrong()),
            (_, Some(open)) if byte == open => quote = None,
            (_, Some(_)) => {}
            (b'\'' | b'"', None) => quote = Some(byte),
            (b'{' | b'(' | b'[', None) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err("has a header that is nested too deeply".into());
                }
            }
            (b'}' | b')' | b']', None) => depth = depth.saturating_sub(1),
            (b'0'..=b'9', None) => {
                let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                let (number, after) = text[text.len() - rest.len() - 1..].split_at(1 + digits);
                let number = str::from_utf8(number).ok().and_then(|n| n.parse().ok());
                // Zeros count as 1, so that this bounds every partial product of sizes.
                let all = number.and_then(|n: u64| product.checked_mul(n.max(1)));
                product = all.ok_or("is too large")?;
                rest = after;
                if rest
                    .first()
                    .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
                {
                    return Err(wrong());
                }
            }
            (b'a'..=b'z' | b'A'..=b'Z' | b',' | b':' | b' ' | b'\n', None) => {}
            _ => return Err(wrong()),
        }
    }
    Ok(())
}

/// Reads the values of the header's type, in the order in which they are stored.
fn read_values(header: &NpyHeader, from: impl Read) -> std::result::Result<Vec<f32>, String> {
    let DType::Plain(of) = header.dtype() else {
        return Err("holds records, not numbers".into());
    };
    let file = NpyFile::with_header(header.clone(), from);
    match (of.type_char(), of.size_field()) {
        (TypeChar::Float, 2) => decode(file, f16::to_f32),
        (TypeChar::Float, 4) => decode(file, |n: f32| n),
        (TypeChar::Float, 8) => decode(file, |n: f64| n as f32),
        (TypeChar::Float, _) => Err("holds long doubles, which are not supported".into()),
        (TypeChar::Int, 1) => decode(file, |n: i8| n.into()),
        (TypeChar::Int, 2) => decode(file, |n: i16| n.into()),
        (TypeChar::Int, 4) => decode(file, |n: i32| n as f32),
        (TypeChar::Int, 8) => decode(file, |n: i64| n as f32),
        (TypeChar::Uint, 1) => decode(file, |n: u8| n.into()),
        (TypeChar::Uint, 2) => decode(file, |n: u16| n.into()),
        (TypeChar::Uint, 4) => decode(file, |n: u32| n as f32),
        (TypeChar::Uint, 8) => decode(file, |n: u64| n as f32),
        (TypeChar::Bool, _) => decode(file, |n: bool| u8::from(n).into()),
        _ => Err(format!("holds values of the type `{of}`, not real numbers")),
    }
}

fn decode<T: Deserialize>(
    file: NpyFile<impl Read>,
    convert: impl Fn(T) -> f32,
) -> std::result::Result<Vec<f32>, String> {
    let values = file
        .data::<T>()
        .map_err(|e| format!("cannot be decoded: {e}"))?;
    values
        .map(|value| value.map(&convert))
        .collect::<std::io::Result<Vec<f32>>>()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => TRUNCATED.into(),
            _ => format!("cannot be decoded: {e}"),
        })
}

/// Values that are stored with these distances between neighbours along each axis, in row-major
/// order.
fn row_major(values: &[f32], shape: &[usize], strides: &[u64]) -> Vec<f32> {
    let value = |mut index: usize| {
        let mut stored = 0;
        for (&size, &stride) in shape.iter().zip(strides).rev() {
            stored += index % size * stride as usize;
            index /= size;
        }
        values[stored]
    };
    (0..values.len()).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        with_header(
            &format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n"),
            data,
        )
    }

    fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn numbers_of_several_types_are_read() {
        let floats: Vec<u8> = [1.5_f32, -2.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let array = read(&npy("<f4", "(2, 1)", &floats)[..]).unwrap();
        assert_eq!((array.values, array.shape), (vec![1.5, -2.0], vec![2, 1]));
        let array = read(&npy("<i4", "(1,)", &7_i32.to_le_bytes())[..]).unwrap();
        assert_eq!(array.values, [7.0]);
        let array = read(&npy("|u1", "()", &[200])[..]).unwrap();
        assert_eq!((array.values, array.shape), (vec![200.0], vec![]));
        let array = read(&npy("|b1", "(2,)", &[0, 1])[..]).unwrap();
        assert_eq!(array.values, [0.0, 1.0]);
    }

    #[test]
    fn half_precision_and_other_orders_are_read() {
        let array = read(&npy("<f2", "(2,)", &[0x00, 0x3c, 0x00, 0xc0])[..]).unwrap();
        assert_eq!(array.values, [1.0, -2.0]);
        let array = read(&npy(">i2", "(1,)", &[1, 2])[..]).unwrap();
        assert_eq!(array.values, [258.0]);
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n";
        let array = read(&with_header(header, &[0, 3, 1, 4, 2, 5])[..]).unwrap();
        assert_eq!(array.values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn the_arrays_of_an_archive_are_sorted_by_name_and_number() {
        use std::io::Write;
        let path = std::env::temp_dir().join(format!("keras-burn-{}.npz", std::process::id()));
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        let stored = options.compression_method(zip::CompressionMethod::Stored);
        for name in ["arr_10.npy", "arr_2.npy", "b.npy"] {
            archive.start_file(name, stored).unwrap();
            let data = [name.len() as u8];
            archive.write_all(&npy("|u1", "(1,)", &data)).unwrap();
        }
        archive.finish().unwrap();
        let arrays = read_arrays(&path).unwrap();
        let names: Vec<&str> = arrays.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["arr_2", "arr_10", "b"]);
        assert_eq!(arrays[0].1.values, [9.0]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_wrong_is_said() {
        let long = format!("({})", "9, ".repeat(100));
        let nested = with_header(&format!("{}{}", "[".repeat(40), "]".repeat(40)), &[]);
        for (bytes, says) in [
            (b"nothing of the kind".to_vec(), "not a .npy file"),
            (npy("<f4", "(2,)", &[0; 4]), "is truncated"),
            (npy("<U4", "(2,)", &[0; 32]), "of the type `<U4`, not real"),
            (npy("<f16", "(1,)", &[0; 16]), "long doubles"),
            (npy("<f4", "(99999999, 99999999)", &[]), "too large"),
            (
                npy("<f4", "(0, 99999999999, 99999999999)", &[]),
                "too large",
            ),
            (npy("<f4", &long, &[]), "too large"),
            (npy("<f4", "(-1,)", &[]), "NumPy does not write"),
            (
                npy("<f4", "(0x7fffffffffffffff, 4)", &[]),
                "NumPy does not write",
            ),
            (npy("<f4", "7", &[]), "NumPy does not write"),
            (npy("|b1", "(1,)", &[7]), "cannot be decoded"),
            (nested, "nested too deeply"),
            (
                with_header(
                    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
                    &[],
                ),
                "records",
            ),
            (npy("<f4", "()", &[0; 4])[..30].to_vec(), "is truncated"),
        ] {
            let error = read(&bytes[..]).unwrap_err();
            assert!(error.contains(says), "{says}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_array_or_an_error(bytes in proptest::collection::vec(0_u8.., 0..300)) {
            let _ = read(&bytes[..]);
            let _ = read(&npy("<f4", "(3,)", &bytes)[..]);
        }

        #[test]
        fn any_header_is_an_array_or_an_error(
            header in "(\\{|'descr': '|<f4|', |'fortran_order': |True|, 'shape': |\\(|\\)|[0-9]{1,12}|, |\\}|\\[|\\]){0,40}",
        ) {
            let _ = read(&with_header(&header, &[0; 64])[..]);
        }

        #[test]
        fn any_type_and_shape_are_an_array_or_an_error(
            kind in "[<>|=]?[a-zA-Z?]{0,2}[0-9]{0,22}",
            shape in "\\(([0-9]{0,20},? ?){0,5}\\)",
        ) {
            let _ = read(&npy(&kind, &shape, &[0; 64])[..]);
        }
    }
}
