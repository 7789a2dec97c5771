//! Products of matrices, one for each index along the other axes.

use crate::tensor::DynTensor;
use crate::tensor::shape::Shape;

/// A matrix product; which of the two sides is transposed first.
#[derive(Debug)]
pub(crate) struct Matmul {
    pub(super) transposed: [bool; 2],
}

/// The axes before those of the matrix, and the rows and columns as they are multiplied.
fn matrix(shape: &[usize], transposed: bool) -> Option<(&[usize], [usize; 2])> {
    let (others, &[rows, columns]) = shape.split_last_chunk::<2>()?;
    let sizes = match transposed {
        true => [columns, rows],
        false => [rows, columns],
    };
    Some((others, sizes))
}

impl Matmul {
    /// # Errors
    /// If the operands are not matrices of the same other axes, or do not fit.
    pub(super) fn shape(&self, operands: &[Shape]) -> Result<Shape, String> {
        let wrong = || format!("matrix products of the shapes {operands:?} are not supported");
        let [a, b] = operands else {
            return Err(wrong());
        };
        let both = matrix(a, self.transposed[0]).zip(matrix(b, self.transposed[1]));
        match both {
            Some(((others, [rows, inner]), (others_of_b, [inner_of_b, columns])))
                if others == others_of_b && inner == inner_of_b =>
            {
                Ok([others, &[rows, columns]].concat())
            }
            _ => Err(wrong()),
        }
    }

    /// # Errors
    /// As [`Matmul::shape`].
    pub(super) fn apply(&self, a: DynTensor, b: DynTensor) -> Result<DynTensor, String> {
        let shape = self.shape(&[a.shape(), b.shape()])?;
        let side = |x: DynTensor, transposed: bool| {
            let shape = x.shape();
            let (others, [rows, columns]) =
                matrix(&shape, false).ok_or("an operand is not a matrix")?;
            let flat = [others.iter().product(), rows, columns];
            match x.reshape(&flat)? {
                DynTensor::R3(t) if transposed => Ok(t.permute([0, 2, 1])),
                DynTensor::R3(t) => Ok(t),
                other => Err(format!("an operand has the shape {:?}", other.shape())),
            }
        };
        let (a, b) = (side(a, self.transposed[0])?, side(b, self.transposed[1])?);
        DynTensor::R3(a.matmul(b)).reshape(&shape)
    }
}
