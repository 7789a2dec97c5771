//! A tensor with its Keras mask.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{Bool, Tensor};

use super::dynamic::DynTensor;

/// Which steps of a sequence are valid, `[batch, steps]`.
pub(crate) type Mask = Tensor<2, Bool>;

/// A tensor, and which of its steps are valid.
#[derive(Clone, Debug)]
pub(crate) struct Masked {
    pub(crate) x: DynTensor,
    /// `None` if all steps are valid. Keras attaches the mask to the tensor itself: a layer that
    /// removes it removes it for all layers that read the tensor later, so clones share it.
    mask: Rc<RefCell<Option<Mask>>>,
}

impl Masked {
    pub(crate) fn new(x: DynTensor, mask: Option<Mask>) -> Self {
        Self {
            x,
            mask: Rc::new(RefCell::new(mask)),
        }
    }

    /// A tensor of which all steps are valid.
    pub(crate) fn unmasked(x: DynTensor) -> Self {
        Self::new(x, None)
    }

    /// Another tensor with the same mask.
    pub(crate) fn with_mask_of(x: DynTensor, other: &Self) -> Self {
        Self::new(x, other.mask())
    }

    pub(crate) fn mask(&self) -> Option<Mask> {
        self.mask.borrow().clone()
    }

    /// Removes the mask from the tensor.
    pub(crate) fn remove_mask(&self) {
        self.mask.replace(None);
    }
}
