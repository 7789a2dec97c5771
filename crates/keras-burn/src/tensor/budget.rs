//! Bounds on what one prediction may ask of the machine.

use super::shape::elements;

/// Most elements of one tensor, the batch included: 1 GiB of `f32`.
pub(crate) const MAX_ELEMENTS: usize = 1 << 28;
/// Most elements of all tensors that a prediction makes, one after the other.
const MAX_TOTAL: usize = 1 << 35;
/// Most calls of a prediction: of layers, those of nested models as often as they are called, and
/// the steps of recurrent layers.
const MAX_CALLS: usize = 1 << 18;
/// Most cells that the windows of pooling layers read in a prediction.
const MAX_CELLS: usize = 1 << 32;
/// Highest rank of a tensor.
pub(crate) const MAX_RANK: usize = 5;

/// What remains of the bounds after the calls that were planned so far.
#[derive(Debug)]
pub(crate) struct Budget {
    elements: usize,
    calls: usize,
    cells: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            elements: MAX_TOTAL,
            calls: MAX_CALLS,
            cells: MAX_CELLS,
        }
    }

    /// The elements of all tensors and the cells of all windows that were planned so far.
    pub(crate) fn spent(&self) -> usize {
        (MAX_TOTAL - self.elements) + (MAX_CELLS - self.cells)
    }

    /// Plans a tensor: an output, or a temporary one of a layer.
    ///
    /// # Errors
    /// If it is empty or too large, its rank is not supported, or the total is exceeded.
    pub(crate) fn tensor(&mut self, shape: &[usize]) -> Result<(), String> {
        match elements(shape) {
            Some(0) => Err(format!("it makes a tensor without elements: {shape:?}")),
            Some(n) if n <= MAX_ELEMENTS => {
                if shape.is_empty() || shape.len() > MAX_RANK {
                    let rank = shape.len();
                    return Err(format!(
                        "it makes a tensor of rank {rank}, which is not supported"
                    ));
                }
                self.elements = self.elements.checked_sub(n).ok_or_else(|| {
                    format!("with it the tensors of the model have more than {MAX_TOTAL} elements")
                })?;
                Ok(())
            }
            _ => Err(format!(
                "it makes a tensor of the shape {shape:?}, which has more than {MAX_ELEMENTS} elements"
            )),
        }
    }

    /// Plans calls of a layer, or steps of a recurrent one.
    ///
    /// # Errors
    /// If the total is exceeded.
    pub(crate) fn calls(&mut self, count: usize) -> Result<(), String> {
        self.calls = self.calls.checked_sub(count).ok_or_else(|| {
            format!("with it the model has more than {MAX_CALLS} calls and recurrent steps")
        })?;
        Ok(())
    }

    /// Plans windows of `cells` cells, one for each element of an output.
    ///
    /// # Errors
    /// If the total is exceeded.
    pub(crate) fn windows(&mut self, output: &[usize], cells: usize) -> Result<(), String> {
        let all = elements(output).and_then(|n| n.checked_mul(cells));
        let left = all.and_then(|all| self.cells.checked_sub(all));
        self.cells = left.ok_or_else(|| {
            format!("with it the pooling windows of the model read more than {MAX_CELLS} cells")
        })?;
        Ok(())
    }
}
