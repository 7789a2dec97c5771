//! The file of a variant, which is saved before the first cycle.

use std::fs;
use std::path::{Path, PathBuf};

use afterdrop_models::ModelFiles;

use super::device::ndarray;
use super::format::Format;
use super::shipped::{Shipped, output};
use super::variant::Variant;
use crate::base::error::Error;
use crate::base::private_folder;
use crate::model::model_file::ModelFile;

/// The saved model of a variant.
pub(super) struct Prepared {
    pub(super) path: PathBuf,
    /// The output that a model loaded from the file must give.
    pub(super) expected: Vec<f32>,
    pub(super) file: ModelFile,
}

/// Saves the model of a variant in a folder, which is created.
///
/// In the shipped size it has the shipped weights, in another size random weights from a fixed seed.
pub(super) fn prepare<M: Shipped>(
    variant: Variant,
    files: &ModelFiles,
    format: Format,
    folder: &Path,
) -> Result<Prepared, Error> {
    let device = ndarray();
    let path = folder.join(format!("{}.{}", M::NAME, format.name()));
    let cannot = |what: String| Error::usage(format!("cannot prepare burn:{}: {what}", M::NAME));
    private_folder::create_or_use(folder)?;
    let model = if variant.width == 1 {
        let shipped = folder.join(format!("{}.bpk.shipped", M::NAME));
        fs::write(&shipped, files.burnpack)
            .map_err(|e| Error::io("unpack the model to", &shipped, e))?;
        Variant::SHIPPED
            .load::<M>(&shipped, Format::Burnpack, &device)
            .map_err(cannot)?
    } else {
        device.seed(42);
        M::init(&device, variant.width)
    };
    let input = files.input();
    let exact = output(&model, &input, &device).map_err(cannot)?;
    variant.save(model, &path, format).map_err(cannot)?;
    let metadata = fs::metadata(&path).map_err(|e| Error::io("read the model", &path, e))?;
    let loaded: M = variant.load(&path, format, &device).map_err(cannot)?;
    let expected = output(&loaded, &input, &device).map_err(cannot)?;
    let differences = exact.iter().zip(&expected);
    let file = ModelFile {
        file_bytes: metadata.len(),
        error: differences
            .map(|(a, b)| f64::from((a - b).abs()))
            .fold(0.0, f64::max),
    };
    Ok(Prepared {
        path,
        expected,
        file,
    })
}
