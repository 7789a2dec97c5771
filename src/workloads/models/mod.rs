//! The Burn workloads: three small models with stored weights, input and output.
//!
//! Each cycle loads the weights from a file, infers on the stored batch, and compares the output with
//! the stored one, so that no cycle passes without a correct inference.

mod cnn;
pub(super) mod device;
mod format;
mod loading;
mod mlp;
mod prepare;
mod shipped;
#[cfg(feature = "train")]
pub(crate) mod train;
mod transformer;
mod variant;

use afterdrop_models::{CNN, MLP, TRANSFORMER};

use self::cnn::Cnn;
use self::loading::entry;
use self::mlp::Mlp;
use self::transformer::Transformer;
use super::entry::Entry;

pub(super) fn entries() -> Vec<Entry> {
    vec![
        entry::<Mlp>(&MLP),
        entry::<Cnn>(&CNN),
        entry::<Transformer>(&TRANSFORMER),
    ]
}

#[cfg(test)]
mod tests;
