//! Operations that combine two tensors element by element.

use burn::tensor::Tensor;

/// What is computed of each pair of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Maximum,
    Minimum,
    Power,
    FloorDivide,
    /// The remainder of the floor division.
    Modulo,
    SquaredDifference,
    /// 0 where the divisor is 0.
    DivideNoNan,
    /// A comparison: 1 where it holds, else 0.
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    /// A logical operation, where every number but 0 is true: 1 or 0.
    Or,
    And,
}

impl Binary {
    pub(crate) fn apply<const D: usize>(self, x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Add => x + y,
            Self::Subtract => x - y,
            Self::Multiply => x * y,
            Self::Divide => x / y,
            Self::Maximum => x.max_pair(y),
            Self::Minimum => x.min_pair(y),
            Self::Power => x.powf(y),
            Self::Equal => x.equal(y).float(),
            Self::NotEqual => x.not_equal(y).float(),
            Self::Greater => x.greater(y).float(),
            Self::GreaterEqual => x.greater_equal(y).float(),
            Self::Less => x.lower(y).float(),
            Self::LessEqual => x.lower_equal(y).float(),
            Self::FloorDivide => (x / y).floor(),
            Self::Modulo => x.clone() - (x / y.clone()).floor() * y,
            Self::SquaredDifference => (x - y).powi_scalar(2),
            Self::DivideNoNan => {
                let is_zero = y.clone().equal_elem(0.0);
                (x / y).mask_fill(is_zero, 0.0)
            }
            Self::Or => {
                let (x, y) = (x.not_equal_elem(0.0), y.not_equal_elem(0.0));
                x.bool_or(y).float()
            }
            Self::And => {
                let (x, y) = (x.not_equal_elem(0.0), y.not_equal_elem(0.0));
                x.bool_and(y).float()
            }
        }
    }
}
