//! Products of matrices, of all that lie along the other axes.

use crate::workloads::keras::plan::Shape;
use crate::workloads::keras::value::Value;

/// Whether each side is turned first.
#[derive(Debug)]
pub(in crate::workloads::keras) struct Matmul(pub(super) [bool; 2]);

/// The axes before those of the matrix, and the matrix as it is multiplied.
fn matrix(shape: &[usize], turned: bool) -> Option<(&[usize], [usize; 2])> {
    let (others, &[rows, columns]) = shape.split_last_chunk::<2>()?;
    Some((
        others,
        if turned {
            [columns, rows]
        } else {
            [rows, columns]
        },
    ))
}

impl Matmul {
    /// # Errors
    /// If the operands are not matrices of the same axes that fit.
    pub(super) fn shape(&self, operands: &[Shape]) -> Result<Shape, String> {
        let wrong = || format!("products of the shapes {operands:?} are not supported");
        let [a, b] = operands else {
            return Err(wrong());
        };
        let both = matrix(a, self.0[0]).zip(matrix(b, self.0[1]));
        match both {
            Some(((of_a, [rows, inner]), (of_b, [other, columns])))
                if of_a == of_b && inner == other =>
            {
                Ok([of_a, &[rows, columns]].concat())
            }
            _ => Err(wrong()),
        }
    }

    /// # Errors
    /// As [`Matmul::shape`].
    pub(super) fn run(&self, a: Value, b: Value) -> Result<Value, String> {
        let shape = self.shape(&[a.shape(), b.shape()])?;
        let side = |x: Value, turned: bool| {
            let shape = x.shape();
            let (others, _) = matrix(&shape, false).ok_or("an operand is no matrix")?;
            let flat = [others.iter().product(), shape[shape.len() - 2], x.last()];
            match x.reshape(&flat)? {
                Value::R3(t) if turned => Ok(t.permute([0, 2, 1])),
                Value::R3(t) => Ok(t),
                other => Err(format!("an operand has the shape {:?}", other.shape())),
            }
        };
        let (a, b) = (side(a, self.0[0])?, side(b, self.0[1])?);
        Value::R3(a.matmul(b)).reshape(&shape)
    }
}
