//! NumPy's files of arrays: `.npy` (NEP 1) and the zip of them, `.npz`.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use super::container::wrong;
use super::weights::half;
use crate::base::error::Error;

/// Most values of an array.
const MOST_VALUES: usize = 1 << 28;
/// Most bytes of a header.
const MOST_HEADER: usize = 1 << 16;

/// An array, its values as `f32`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub(super) values: Vec<f32>,
    pub(super) shape: Vec<usize>,
}

/// Puts arrays in the order of their names in one of these lists, if it has them all.
pub(super) fn sort_by_names(arrays: &mut [(String, Array)], lists: &[&[&str]]) {
    for names in lists {
        let place = |(name, _): &(String, Array)| names.iter().position(|n| n == name);
        if arrays.iter().all(|array| place(array).is_some()) {
            arrays.sort_by_key(place);
            return;
        }
    }
}

/// Reads the array of a `.npy`, without a name, or all of a `.npz` in the order of their names, in
/// which `arr_10` comes behind `arr_9`.
///
/// # Errors
/// If it cannot be read, is neither, or holds what is no number.
pub(super) fn read_all(path: &Path) -> Result<Vec<(String, Array)>, Error> {
    let unreadable = |e| Error::io("read the array", path, e);
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(wrong(path, "is not a regular file"));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let mut magic = [0; 4];
    let read_magic = file.read_exact(&mut magic).is_ok();
    if read_magic && &magic == b"PK\x05\x06" {
        return Err(wrong(path, "is an archive without an array"));
    }
    let is_zip = read_magic && &magic == b"PK\x03\x04";
    file.rewind().map_err(unreadable)?;
    if !is_zip {
        return read(file)
            .map(|array| vec![(String::new(), array)])
            .map_err(|what| wrong(path, what));
    }
    let mut zip = zip::ZipArchive::new(file)
        .map_err(|e| wrong(path, format!("the archive is damaged: {e}")))?;
    let names = zip.file_names().map(|name| name.map(|n| n.into_owned()));
    let names: Result<Vec<String>, _> = names.collect();
    let mut names = names.map_err(|e| wrong(path, format!("the archive is damaged: {e}")))?;
    names.sort_by(|a, b| in_order(a).cmp(&in_order(b)));
    let mut arrays = Vec::new();
    for name in names {
        let member = zip.by_name(&name);
        let member = member.map_err(|e| {
            let what = format!("the member `{}` cannot be read: {e}", name.escape_debug());
            wrong(path, what)
        })?;
        if member.compression() != zip::CompressionMethod::Stored {
            let what = format!("the member `{}` is compressed", name.escape_debug());
            return Err(wrong(path, what).hint("write it with `numpy.savez`, which does not"));
        }
        let array = read(member);
        let array =
            array.map_err(|what| wrong(path, format!("`{}`: {what}", name.escape_debug())))?;
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        arrays.push((name, array));
    }
    Ok(arrays)
}

/// What names are sorted by: what is before the number at the end, the number, and the whole.
fn in_order(name: &str) -> (&str, u64, &str) {
    let plain = name.strip_suffix(".npy").unwrap_or(name);
    let text = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = plain[text.len()..].parse().unwrap_or(0);
    (text, number, name)
}

/// Reads one array.
fn read(mut from: impl Read) -> Result<Array, String> {
    let cut = |_| "is cut off".to_owned();
    let mut start = [0; 8];
    from.read_exact(&mut start)
        .map_err(|_| "is no .npy file".to_owned())?;
    if &start[..6] != b"\x93NUMPY" {
        return Err("is no .npy file".into());
    }
    let length = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            from.read_exact(&mut bytes).map_err(cut)?;
            usize::from(u16::from_le_bytes(bytes))
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            from.read_exact(&mut bytes).map_err(cut)?;
            u32::from_le_bytes(bytes) as usize
        }
        other => return Err(format!("is of version {other} of the format")),
    };
    if length > MOST_HEADER {
        return Err(format!("has a header of {length} bytes"));
    }
    let mut header = vec![0; length];
    from.read_exact(&mut header).map_err(cut)?;
    let header = String::from_utf8_lossy(&header);
    if header.contains("'descr': [") {
        return Err("holds records, and no numbers".into());
    }
    let kind = between(&header, "'descr': '", "'").ok_or("has no `descr`")?;
    let is_fortran = between(&header, "'fortran_order': ", ",").ok_or("has no `fortran_order`")?;
    let is_fortran = match is_fortran.trim() {
        "False" => false,
        "True" => true,
        other => return Err(format!("has the order `{}`", other.escape_debug())),
    };
    let shape = between(&header, "'shape': (", ")").ok_or("has no `shape`")?;
    let sizes = shape.split(',').map(str::trim).filter(|s| !s.is_empty());
    let shape: Vec<usize> = sizes
        .map(|s| s.parse().map_err(|_| format!("has the shape ({shape})")))
        .collect::<Result<_, _>>()?;
    let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    let count = count.filter(|&n| n <= MOST_VALUES).ok_or("is too large")?;
    let mut values = values(kind, count, from)?;
    if is_fortran {
        values = in_c_order(&values, &shape);
    }
    Ok(Array { values, shape })
}

/// Values whose first axis changes fastest, as those whose last does.
fn in_c_order(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let steps = shape.iter().scan(1, |step, &size| {
        let now = *step;
        *step *= size;
        Some(now)
    });
    let steps: Vec<usize> = steps.collect();
    let value = |mut at: usize| {
        let mut place = 0;
        for (&size, step) in shape.iter().zip(&steps).rev() {
            place += at % size * step;
            at /= size;
        }
        values[place]
    };
    (0..values.len()).map(value).collect()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    Some(rest.split_once(after)?.0)
}

/// Reads so many numbers of a type of NumPy.
fn values(kind: &str, count: usize, mut from: impl Read) -> Result<Vec<f32>, String> {
    let (order, kind) = kind.split_at_checked(1).ok_or("has no type")?;
    let mut values = Vec::new();
    macro_rules! of {
        ($number:ty) => {
            of!($number, |n| n as f32)
        };
        ($number:ty, $of:expr) => {{
            let mut bytes = [0; size_of::<$number>()];
            for _ in 0..count {
                from.read_exact(&mut bytes)
                    .map_err(|_| "is cut off".to_owned())?;
                if order == ">" {
                    bytes.reverse();
                }
                values.push($of(<$number>::from_le_bytes(bytes)));
            }
        }};
    }
    match kind {
        "f2" => of!(u16, half),
        "f4" => of!(f32),
        "f8" => of!(f64),
        "i1" => of!(i8),
        "i2" => of!(i16),
        "i4" => of!(i32),
        "i8" => of!(i64),
        "u1" => of!(u8),
        "u2" => of!(u16),
        "u4" => of!(u32),
        "u8" => of!(u64),
        "b1" => of!(u8),
        "<f16" | ">f16" => return Err("holds long doubles, which are not read".into()),
        other => return Err(format!("holds `{}`, and no numbers", other.escape_debug())),
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn arrays_are_put_in_the_order_of_names_that_they_all_have() {
        let named = |names: &[&str]| -> Vec<(String, Array)> {
            let array = Array {
                shape: vec![0],
                values: Vec::new(),
            };
            let named = names.iter().map(|name| ((*name).to_owned(), array.clone()));
            named.collect()
        };
        let sorted = |names: &[&str]| {
            let mut arrays = named(names);
            sort_by_names(&mut arrays, &[&["zz", "aa"], &["k2", "k1"]]);
            let names: Vec<String> = arrays.into_iter().map(|(name, _)| name).collect();
            names
        };
        assert_eq!(sorted(&["aa", "zz"]), ["zz", "aa"]);
        assert_eq!(sorted(&["k1", "k2"]), ["k2", "k1"]);
        assert_eq!(sorted(&["aa", "k2"]), ["aa", "k2"]);
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
    }

    #[test]
    fn half_precision_and_other_orders_are_read() {
        let array = read(&npy("<f2", "(2,)", &[0x00, 0x3c, 0x00, 0xc0])[..]).unwrap();
        assert_eq!(array.values, [1.0, -2.0]);
        let array = read(&npy(">i2", "(1,)", &[1, 2])[..]).unwrap();
        assert_eq!(array.values, [258.0]);
        let bytes = npy("|u1", "(2, 3)", &[0, 3, 1, 4, 2, 5]);
        let text = String::from_utf8_lossy(&bytes[10..]).replace("False", "True ");
        let array = read(&[&bytes[..10], text.as_bytes()].concat()[..]).unwrap();
        assert_eq!(array.values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    fn npz() -> std::path::PathBuf {
        use std::io::Write;
        let path = std::env::temp_dir().join(format!("afterdrop-{}.npz", std::process::id()));
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        let stored = options.compression_method(zip::CompressionMethod::Stored);
        for name in ["arr_10.npy", "arr_2.npy", "b.npy"] {
            archive.start_file(name, stored).unwrap();
            archive
                .write_all(&npy("|u1", "(1,)", &[name.len() as u8]))
                .unwrap();
        }
        archive.finish().unwrap();
        path
    }

    #[test]
    fn arrays_come_in_the_order_of_their_numbers() {
        let path = npz();
        let arrays = read_all(&path).unwrap();
        let names: Vec<&str> = arrays.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["arr_2", "arr_10", "b"]);
        assert_eq!(arrays[0].1.values, [9.0]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bytes, says) in [
            (b"nothing of the kind".to_vec(), "no .npy file"),
            (npy("<f4", "(2,)", &[0; 4]), "cut off"),
            (npy("<U4", "(2,)", &[0; 32]), "no numbers"),
            (npy("<f4", "(99999999, 99999999)", &[]), "too large"),
        ] {
            let error = read(&bytes[..]).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_array_or_an_error(bytes in proptest::collection::vec(0_u8.., 0..300)) {
            let _ = read(&bytes[..]);
            let _ = read(&npy("<f4", "(3,)", &bytes)[..]);
        }
    }
}
