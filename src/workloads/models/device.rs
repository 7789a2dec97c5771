//! The Burn devices that `--device` selects.

use ::burn::tensor::Device;

use crate::base::error::Error;
use crate::model::settings::Settings;

/// A device and its name on the command line.
#[derive(Clone, Copy)]
pub(crate) struct NamedDevice {
    pub(crate) name: &'static str,
    create: fn() -> Device,
}

impl NamedDevice {
    /// Creates the device.
    pub(crate) fn create(self) -> Device {
        (self.create)()
    }
}

/// The ndarray device, without autodiff.
#[expect(
    deprecated,
    reason = "Burn will replace ndarray by flex, but ndarray is what most programs use today"
)]
pub(super) fn ndarray() -> Device {
    Device::ndarray()
}

pub(super) const DEVICES: &[NamedDevice] = &[
    NamedDevice {
        name: "ndarray",
        create: ndarray,
    },
    #[cfg(feature = "flex")]
    NamedDevice {
        name: "flex",
        create: Device::flex,
    },
    NamedDevice {
        name: "autodiff",
        create: || ndarray().autodiff(),
    },
];

/// The device that the settings select; ndarray by default.
pub(crate) fn device(settings: &Settings) -> Result<NamedDevice, Error> {
    let name = settings.device.as_deref().unwrap_or("ndarray");
    if name == "flex" && !cfg!(feature = "flex") {
        return Err(
            Error::usage("this build has no device `flex`").hint("build it with `--features flex`")
        );
    }
    crate::base::names::pick("device", name, DEVICES.iter().copied(), |d| d.name)
}
