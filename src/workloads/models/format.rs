//! The file formats that Burn models are loaded from.

use std::path::Path;

use crate::base::error::Error;
use crate::model::settings::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Burnpack,
    Safetensors,
}

impl Format {
    pub(super) const ALL: [Self; 2] = [Self::Burnpack, Self::Safetensors];

    /// The name on the command line, which is also the file name extension.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Burnpack => "bpk",
            Self::Safetensors => "safetensors",
        }
    }

    /// The format that the settings select: by `--format`, else by the extension of the model's
    /// file, else burnpack.
    pub(super) fn of(settings: &Settings) -> Result<Self, Error> {
        let extension = settings.model.as_deref().and_then(Path::extension);
        let by_file = extension.and_then(|e| Self::ALL.into_iter().find(|f| e == f.name()));
        match &settings.format {
            Some(name) => crate::base::names::pick("format", name, Self::ALL, Self::name),
            None => Ok(by_file.unwrap_or(Self::Burnpack)),
        }
    }
}
