//! Predictions as NumPy files on disk, for [`Strategy::Slot`](crate::Strategy::Slot).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::workload::Prediction;

/// A folder with one file for each prediction. It is removed on drop.
pub(super) struct PredictionFiles {
    folder: PathBuf,
    written: u32,
}

impl PredictionFiles {
    /// Creates the folder.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.into(),
            written: 0,
        })
    }

    /// Writes one prediction to a file of its own.
    ///
    /// # Errors
    /// If the file cannot be written.
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

impl Drop for PredictionFiles {
    fn drop(&mut self) {
        // If this fails, the parent removes the folder after the run.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Writes a one-dimensional array of `f32` in NumPy's format (NEP 1, version 1.0): a magic string, a
/// header that ends at a multiple of 64 bytes, and the values in little-endian order.
fn write_npy(to: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let shape = values.len();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},), }}");
    // The magic string, the version and the header's length take 10 bytes; a newline ends the
    // header.
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
    fn the_folder_is_removed_on_drop() {
        let name = format!("afterdrop-predictions-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let mut files = PredictionFiles::create(&folder).unwrap();
        files.write(&vec![1.0; 10]).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        drop(files);
        assert!(!folder.exists());
    }
}
