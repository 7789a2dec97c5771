//! Predictions written to disk in place of kept, as `.npy`; removed at the end.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::workload::Prediction;

/// A folder of predictions that goes when it is dropped, also after a failure.
pub(super) struct Spill {
    folder: PathBuf,
    written: u32,
}

impl Spill {
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.into(),
            written: 0,
        })
    }

    pub(super) fn write(&mut self, prediction: &Prediction) -> io::Result<()> {
        self.written += 1;
        let path = self
            .folder
            .join(format!("prediction-{:06}.npy", self.written));
        let mut file = BufWriter::new(File::create(path)?);
        write_npy(&mut file, prediction)?;
        file.flush()
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Nothing can be done about a folder that does not go, and nothing depends on it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One row of `f32` in NumPy's format (NEP 1, version 1.0): magic, header padded to 64 bytes,
/// little-endian values.
fn write_npy(to: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let shape = values.len();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},), }}");
    // 10 bytes of magic, version and length come before, a newline ends the header.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    to.write_all(b"\x93NUMPY\x01\x00")?;
    to.write_all(&(padded as u16).to_le_bytes())?;
    writeln!(to, "{header:<width$}", width = padded - 1)?;
    for value in values {
        to.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_is_a_numpy_file() {
        let mut bytes = Vec::new();
        write_npy(&mut bytes, &[1.0, -2.5]).unwrap();
        let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
        assert_eq!((10 + header) % 64, 0);
        assert!(
            bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }")
        );
        assert_eq!(bytes[10 + header - 1], b'\n');
        assert_eq!(bytes[10 + header..], [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
    }

    #[test]
    fn the_folder_goes_with_the_spill() {
        let folder = std::env::temp_dir().join(format!("afterdrop-spill-{}", std::process::id()));
        let mut spill = Spill::create(&folder).unwrap();
        spill.write(&vec![1.0; 10]).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        drop(spill);
        assert!(!folder.exists());
    }
}
