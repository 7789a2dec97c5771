//! A tensor whose rank is known only from the file.

use std::cell::RefCell;
use std::rc::Rc;

use ::burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// A tensor of floats, of rank 1 to 5; the first axis is the batch.
#[derive(Clone, Debug)]
pub(super) enum Value {
    R1(Tensor<1>),
    R2(Tensor<2>),
    R3(Tensor<3>),
    R4(Tensor<4>),
    R5(Tensor<5>),
}

/// The same expression over the tensor of any rank; the result has that rank.
macro_rules! each {
    ($value:expr, $t:ident => $result:expr) => {
        match $value {
            $crate::workloads::keras::value::Value::R1($t) => {
                $crate::workloads::keras::value::Value::R1($result)
            }
            $crate::workloads::keras::value::Value::R2($t) => {
                $crate::workloads::keras::value::Value::R2($result)
            }
            $crate::workloads::keras::value::Value::R3($t) => {
                $crate::workloads::keras::value::Value::R3($result)
            }
            $crate::workloads::keras::value::Value::R4($t) => {
                $crate::workloads::keras::value::Value::R4($result)
            }
            $crate::workloads::keras::value::Value::R5($t) => {
                $crate::workloads::keras::value::Value::R5($result)
            }
        }
    };
}
pub(super) use each;

/// The same expression over the tensor of any rank; the result has a type of its own.
macro_rules! look {
    ($value:expr, $t:ident => $result:expr) => {
        match $value {
            $crate::workloads::keras::value::Value::R1($t) => $result,
            $crate::workloads::keras::value::Value::R2($t) => $result,
            $crate::workloads::keras::value::Value::R3($t) => $result,
            $crate::workloads::keras::value::Value::R4($t) => $result,
            $crate::workloads::keras::value::Value::R5($t) => $result,
        }
    };
}
pub(super) use look;

/// Which steps of a tensor count, `[batch, steps]`.
pub(super) type Mask = Tensor<2, Bool>;

/// What goes from layer to layer: a tensor, and which of its steps count.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) x: Value,
    /// `None` if all do. Keras hangs it on the tensor itself: who takes it off takes it from all that
    /// read the tensor afterwards, so clones share it.
    mask: Rc<RefCell<Option<Mask>>>,
}

impl Flow {
    pub(super) fn of(x: Value) -> Self {
        Self::masked(x, None)
    }

    pub(super) fn masked(x: Value, mask: Option<Mask>) -> Self {
        Self {
            x,
            mask: Rc::new(RefCell::new(mask)),
        }
    }

    pub(super) fn mask(&self) -> Option<Mask> {
        self.mask.borrow().clone()
    }

    /// Takes the mask off the tensor.
    pub(super) fn unmask(&self) {
        self.mask.replace(None);
    }
}

impl Value {
    /// # Errors
    /// If the rank is not 1 to 5, or the values are not as many as the shape says.
    pub(super) fn from_data(
        values: Vec<f32>,
        shape: &[usize],
        device: &Device,
    ) -> Result<Self, String> {
        let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if count != Some(values.len()) {
            return Err(format!(
                "{} values are not of the shape {shape:?}",
                values.len()
            ));
        }
        Ok(match *shape {
            [a] => Self::R1(Tensor::from_data(TensorData::new(values, [a]), device)),
            [a, b] => Self::R2(Tensor::from_data(TensorData::new(values, [a, b]), device)),
            [a, b, c] => Self::R3(Tensor::from_data(
                TensorData::new(values, [a, b, c]),
                device,
            )),
            [a, b, c, d] => Self::R4(Tensor::from_data(
                TensorData::new(values, [a, b, c, d]),
                device,
            )),
            [a, b, c, d, e] => Self::R5(Tensor::from_data(
                TensorData::new(values, [a, b, c, d, e]),
                device,
            )),
            _ => return Err(format!("a tensor of rank {} is not supported", shape.len())),
        })
    }

    pub(super) fn shape(&self) -> Vec<usize> {
        look!(self, t => t.dims().to_vec())
    }

    pub(super) fn rank(&self) -> usize {
        look!(self, t => t.dims().len())
    }

    /// The place of an axis, which is counted from the end if negative.
    ///
    /// # Errors
    /// If there is no such axis.
    pub(super) fn axis(&self, axis: i64) -> Result<usize, String> {
        axis_of(self.rank(), axis)
    }

    /// Size of the last axis.
    pub(super) fn last(&self) -> usize {
        self.shape().last().copied().unwrap_or(0)
    }

    pub(super) fn device(&self) -> Device {
        look!(self, t => t.device())
    }

    /// # Errors
    /// If the sizes do not multiply to the same, or the rank is not 1 to 5.
    pub(super) fn reshape(self, shape: &[usize]) -> Result<Self, String> {
        let old = self.shape();
        if old.iter().product::<usize>() != shape.iter().product::<usize>() {
            return Err(format!("{old:?} cannot be reshaped to {shape:?}"));
        }
        look!(self, t => reshaped(t, shape))
    }

    /// # Errors
    /// If `axes` is no order of the axes.
    pub(super) fn permute(self, axes: &[usize]) -> Result<Self, String> {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if sorted != (0..self.rank()).collect::<Vec<_>>() {
            return Err(format!("{axes:?} is no order of {} axes", self.rank()));
        }
        fn of<const D: usize>(axes: &[usize]) -> [isize; D] {
            core::array::from_fn(|i| axes[i] as isize)
        }
        Ok(match self {
            Self::R1(t) => Self::R1(t),
            Self::R2(t) => Self::R2(t.permute(of::<2>(axes))),
            Self::R3(t) => Self::R3(t.permute(of::<3>(axes))),
            Self::R4(t) => Self::R4(t.permute(of::<4>(axes))),
            Self::R5(t) => Self::R5(t.permute(of::<5>(axes))),
        })
    }

    /// The values, flattened.
    ///
    /// # Errors
    /// If the device does not give them.
    pub(super) fn to_vec(&self) -> Result<Vec<f32>, String> {
        let data = look!(self, t => t.clone().into_data());
        data.try_to_vec::<f32>()
            .map_err(|e| format!("the output is not f32: {e:?}"))
    }

    /// Two tensors joined element by element, the one of lower rank repeated.
    ///
    /// # Errors
    /// If their shapes do not fit.
    pub(super) fn with(self, other: Self, op: Binary) -> Result<Self, String> {
        let (a, b) = (self.shape(), other.shape());
        let rank = broadcast(&a, &b)?.len();
        let (wa, wb) = (widened(&a, rank), widened(&b, rank));
        let (x, y) = (self.reshape(&wa)?, other.reshape(&wb)?);
        Ok(match (x, y) {
            (Self::R1(x), Self::R1(y)) => Self::R1(op.of(x, y)),
            (Self::R2(x), Self::R2(y)) => Self::R2(op.of(x, y)),
            (Self::R3(x), Self::R3(y)) => Self::R3(op.of(x, y)),
            (Self::R4(x), Self::R4(y)) => Self::R4(op.of(x, y)),
            (Self::R5(x), Self::R5(y)) => Self::R5(op.of(x, y)),
            _ => return Err("tensors of different ranks".into()),
        })
    }

    /// Of one value where this one is not 0, and of another elsewhere; what has fewer axes is repeated.
    ///
    /// # Errors
    /// If their shapes do not fit.
    pub(super) fn choose(self, chosen: Self, otherwise: Self) -> Result<Self, String> {
        // All three in the shape of the result.
        let zero = |x: &Self| each!(x.clone(), t => t.zeros_like());
        let frame = zero(&self).with(zero(&chosen), Binary::Add)?;
        let frame = frame.with(zero(&otherwise), Binary::Add)?;
        let whole = |x: Self| x.with(frame.clone(), Binary::Add);
        match (whole(self)?, whole(chosen)?, whole(otherwise)?) {
            (Self::R1(c), Self::R1(x), Self::R1(y)) => Ok(Self::R1(where_set(c, x, y))),
            (Self::R2(c), Self::R2(x), Self::R2(y)) => Ok(Self::R2(where_set(c, x, y))),
            (Self::R3(c), Self::R3(x), Self::R3(y)) => Ok(Self::R3(where_set(c, x, y))),
            (Self::R4(c), Self::R4(x), Self::R4(y)) => Ok(Self::R4(where_set(c, x, y))),
            (Self::R5(c), Self::R5(x), Self::R5(y)) => Ok(Self::R5(where_set(c, x, y))),
            _ => Err("tensors of different ranks".into()),
        }
    }

    /// As [`Value::with`], where the result has the shape of `self`.
    ///
    /// # Errors
    /// If the other does not fit into it.
    pub(super) fn onto(self, other: Self, op: Binary) -> Result<Self, String> {
        let (a, b) = (self.shape(), other.shape());
        if broadcast(&a, &b)? != a {
            return Err(format!("{b:?} does not fit into its input of {a:?}"));
        }
        self.with(other, op)
    }

    /// Tensors put one behind the other along an axis.
    ///
    /// # Errors
    /// If their other sizes differ.
    pub(super) fn concat(parts: Vec<Self>, axis: usize) -> Result<Self, String> {
        let shapes: Vec<Vec<usize>> = parts.iter().map(Self::shape).collect();
        let Some(first) = shapes.first() else {
            return Err("there is nothing to concatenate".into());
        };
        let fits = |s: &Vec<usize>| {
            let same = |i: usize| i == axis || s[i] == first[i];
            s.len() == first.len() && (0..s.len()).all(same)
        };
        if axis >= first.len() || !shapes.iter().all(fits) {
            return Err(format!(
                "tensors of the shapes {shapes:?} cannot be joined along axis {axis}"
            ));
        }
        macro_rules! of {
            ($rank:ident) => {
                Self::$rank(Tensor::cat(
                    parts
                        .into_iter()
                        .filter_map(|p| match p {
                            Self::$rank(t) => Some(t),
                            _ => None,
                        })
                        .collect(),
                    axis,
                ))
            };
        }
        Ok(match first.len() {
            1 => of!(R1),
            2 => of!(R2),
            3 => of!(R3),
            4 => of!(R4),
            _ => of!(R5),
        })
    }

    /// Its values as tokens, in a row.
    pub(super) fn tokens(&self) -> Tensor<2, Int> {
        let count = self.shape().iter().product();
        look!(self, t => t.clone().reshape([1, count]).int())
    }
}

/// The place of an axis among so many, which is counted from the end if negative.
///
/// # Errors
/// If there is no such axis.
pub(super) fn axis_of(rank: usize, axis: i64) -> Result<usize, String> {
    let from_start = if axis < 0 {
        axis.checked_add(rank as i64)
    } else {
        Some(axis)
    };
    let axis = from_start.and_then(|a| usize::try_from(a).ok());
    let axis = axis.filter(|&a| a < rank);
    axis.ok_or_else(|| format!("a tensor of rank {rank} has no such axis"))
}

/// A shape with axes of size 1 before it.
fn widened(shape: &[usize], rank: usize) -> Vec<usize> {
    [vec![1; rank - shape.len()], shape.to_vec()].concat()
}

/// The shape of two tensors joined element by element, the one of lower rank repeated.
///
/// # Errors
/// If the shapes do not fit.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let pairs = widened(a, rank).into_iter().zip(widened(b, rank));
    let size =
        |(x, y): (usize, usize)| (x == y || x == 1 || y == 1).then_some(if x == 1 { y } else { x });
    let sizes: Option<Vec<usize>> = pairs.map(size).collect();
    sizes.ok_or_else(|| format!("tensors of the shapes {a:?} and {b:?} do not fit"))
}

/// What is done element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Maximum,
    Minimum,
    Power,
    FloorDivide,
    /// What floor division leaves.
    Modulo,
    SquaredDifference,
    /// 0 where the divisor is.
    DivideNoNan,
    /// 1 where it holds, else 0, as all that follow.
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    /// Of what is not 0.
    Or,
    And,
}

impl Binary {
    fn of<const D: usize>(self, x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
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
            Self::Or => x.not_equal_elem(0.0).bool_or(y.not_equal_elem(0.0)).float(),
            Self::And => x
                .not_equal_elem(0.0)
                .bool_and(y.not_equal_elem(0.0))
                .float(),
        }
    }
}

fn where_set<const D: usize>(condition: Tensor<D>, x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
    y.mask_where(condition.not_equal_elem(0.0), x)
}

fn reshaped<const D: usize>(t: Tensor<D>, shape: &[usize]) -> Result<Value, String> {
    Ok(match *shape {
        [a] => Value::R1(t.reshape([a])),
        [a, b] => Value::R2(t.reshape([a, b])),
        [a, b, c] => Value::R3(t.reshape([a, b, c])),
        [a, b, c, d] => Value::R4(t.reshape([a, b, c, d])),
        [a, b, c, d, e] => Value::R5(t.reshape([a, b, c, d, e])),
        _ => return Err(format!("a tensor of rank {} is not supported", shape.len())),
    })
}
