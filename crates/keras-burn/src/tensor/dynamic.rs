//! A tensor whose rank is known only at run time.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::elementwise::Binary;
use super::shape::{Shape, axis_index, broadcast, is_permutation, widened};
use crate::array::wrong_count;

/// A tensor of floats of rank 1 to 5. The first axis is the batch.
#[derive(Clone, Debug)]
pub(crate) enum DynTensor {
    R1(Tensor<1>),
    R2(Tensor<2>),
    R3(Tensor<3>),
    R4(Tensor<4>),
    R5(Tensor<5>),
}

/// Applies an expression to the tensor, whatever its rank. The result has the same rank.
macro_rules! map {
    ($tensor:expr, $t:ident => $result:expr) => {
        match $tensor {
            $crate::tensor::dynamic::DynTensor::R1($t) => {
                $crate::tensor::dynamic::DynTensor::R1($result)
            }
            $crate::tensor::dynamic::DynTensor::R2($t) => {
                $crate::tensor::dynamic::DynTensor::R2($result)
            }
            $crate::tensor::dynamic::DynTensor::R3($t) => {
                $crate::tensor::dynamic::DynTensor::R3($result)
            }
            $crate::tensor::dynamic::DynTensor::R4($t) => {
                $crate::tensor::dynamic::DynTensor::R4($result)
            }
            $crate::tensor::dynamic::DynTensor::R5($t) => {
                $crate::tensor::dynamic::DynTensor::R5($result)
            }
        }
    };
}
pub(crate) use map;

/// Applies an expression to the tensor, whatever its rank. The result is not a tensor.
macro_rules! inspect {
    ($tensor:expr, $t:ident => $result:expr) => {
        match $tensor {
            $crate::tensor::dynamic::DynTensor::R1($t) => $result,
            $crate::tensor::dynamic::DynTensor::R2($t) => $result,
            $crate::tensor::dynamic::DynTensor::R3($t) => $result,
            $crate::tensor::dynamic::DynTensor::R4($t) => $result,
            $crate::tensor::dynamic::DynTensor::R5($t) => $result,
        }
    };
}

const DIFFERENT_RANKS: &str = "its tensors have different ranks";

impl DynTensor {
    /// # Errors
    /// If the rank is not 1 to 5, or the shape has another number of elements.
    pub(crate) fn from_data(
        values: Vec<f32>,
        shape: &[usize],
        device: &Device,
    ) -> Result<Self, String> {
        let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if count != Some(values.len()) {
            return Err(wrong_count(values.len(), shape));
        }
        fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], on: &Device) -> Tensor<D> {
            Tensor::from_data(TensorData::new(values, shape), on)
        }
        Ok(match *shape {
            [a] => Self::R1(tensor(values, [a], device)),
            [a, b] => Self::R2(tensor(values, [a, b], device)),
            [a, b, c] => Self::R3(tensor(values, [a, b, c], device)),
            [a, b, c, d] => Self::R4(tensor(values, [a, b, c, d], device)),
            [a, b, c, d, e] => Self::R5(tensor(values, [a, b, c, d, e], device)),
            _ => return Err(wrong_rank(shape.len())),
        })
    }

    /// The values in row-major order.
    ///
    /// # Errors
    /// If the device cannot give them.
    pub(crate) fn to_vec(&self) -> Result<Vec<f32>, String> {
        let data = inspect!(self, t => t.clone().into_data());
        data.try_to_vec::<f32>()
            .map_err(|e| format!("the values of an output cannot be read as f32: {e:?}"))
    }

    pub(crate) fn shape(&self) -> Shape {
        inspect!(self, t => t.dims().to_vec())
    }

    pub(crate) fn rank(&self) -> usize {
        inspect!(self, t => t.dims().len())
    }

    pub(crate) fn device(&self) -> Device {
        inspect!(self, t => t.device())
    }

    /// The index of an axis that is counted from the end if negative.
    ///
    /// # Errors
    /// If there is no such axis.
    pub(crate) fn axis(&self, axis: i64) -> Result<usize, String> {
        axis_index(self.rank(), axis)
    }

    /// The size of the last axis.
    pub(crate) fn last(&self) -> usize {
        self.shape().last().copied().unwrap_or(0)
    }

    /// # Errors
    /// If the shape has another number of elements, or its rank is not 1 to 5.
    pub(crate) fn reshape(self, shape: &[usize]) -> Result<Self, String> {
        let old = self.shape();
        if old.iter().product::<usize>() != shape.iter().product::<usize>() {
            return Err(format!("the shape {old:?} cannot be reshaped to {shape:?}"));
        }
        inspect!(self, t => reshaped(t, shape))
    }

    /// # Errors
    /// If `axes` are not all axes, in some order.
    pub(crate) fn permute(self, axes: &[usize]) -> Result<Self, String> {
        if !is_permutation(self.rank(), axes) {
            return Err(wrong_order(self.rank(), axes));
        }
        fn order<const D: usize>(axes: &[usize]) -> [isize; D] {
            core::array::from_fn(|i| axes[i] as isize)
        }
        Ok(match self {
            Self::R1(t) => Self::R1(t),
            Self::R2(t) => Self::R2(t.permute(order::<2>(axes))),
            Self::R3(t) => Self::R3(t.permute(order::<3>(axes))),
            Self::R4(t) => Self::R4(t.permute(order::<4>(axes))),
            Self::R5(t) => Self::R5(t.permute(order::<5>(axes))),
        })
    }

    /// Combines two tensors element by element, their shapes broadcast.
    ///
    /// # Errors
    /// If their shapes do not fit.
    pub(crate) fn combine(self, other: Self, op: Binary) -> Result<Self, String> {
        let (a, b) = (self.shape(), other.shape());
        let rank = broadcast(&a, &b)?.len();
        let (a, b) = (widened(&a, rank), widened(&b, rank));
        Ok(match (self.reshape(&a)?, other.reshape(&b)?) {
            (Self::R1(x), Self::R1(y)) => Self::R1(op.apply(x, y)),
            (Self::R2(x), Self::R2(y)) => Self::R2(op.apply(x, y)),
            (Self::R3(x), Self::R3(y)) => Self::R3(op.apply(x, y)),
            (Self::R4(x), Self::R4(y)) => Self::R4(op.apply(x, y)),
            (Self::R5(x), Self::R5(y)) => Self::R5(op.apply(x, y)),
            _ => return Err(DIFFERENT_RANKS.into()),
        })
    }

    /// As [`DynTensor::combine`], where the result keeps the shape of `self`.
    ///
    /// # Errors
    /// If the shape of the other does not fit into it.
    pub(crate) fn combine_into(self, other: Self, op: Binary) -> Result<Self, String> {
        let (a, b) = (self.shape(), other.shape());
        if broadcast(&a, &b)? != a {
            return Err(format!(
                "values of the shape {b:?} do not fit its input of the shape {a:?}"
            ));
        }
        self.combine(other, op)
    }

    /// The elements of `chosen` where this tensor is not 0, and those of `otherwise` elsewhere,
    /// their shapes broadcast.
    ///
    /// # Errors
    /// If their shapes do not fit.
    pub(crate) fn select(self, chosen: Self, otherwise: Self) -> Result<Self, String> {
        // Zeros in the shape of the result, which bring all three into it.
        let zeros = |x: &Self| map!(x.clone(), t => t.zeros_like());
        let frame = zeros(&self).combine(zeros(&chosen), Binary::Add)?;
        let frame = frame.combine(zeros(&otherwise), Binary::Add)?;
        let expand = |x: Self| x.combine(frame.clone(), Binary::Add);
        fn pick<const D: usize>(c: Tensor<D>, x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
            y.mask_where(c.not_equal_elem(0.0), x)
        }
        match (expand(self)?, expand(chosen)?, expand(otherwise)?) {
            (Self::R1(c), Self::R1(x), Self::R1(y)) => Ok(Self::R1(pick(c, x, y))),
            (Self::R2(c), Self::R2(x), Self::R2(y)) => Ok(Self::R2(pick(c, x, y))),
            (Self::R3(c), Self::R3(x), Self::R3(y)) => Ok(Self::R3(pick(c, x, y))),
            (Self::R4(c), Self::R4(x), Self::R4(y)) => Ok(Self::R4(pick(c, x, y))),
            (Self::R5(c), Self::R5(x), Self::R5(y)) => Ok(Self::R5(pick(c, x, y))),
            _ => Err(DIFFERENT_RANKS.into()),
        }
    }

    /// Concatenates tensors along an axis.
    ///
    /// # Errors
    /// If there is none, or their other sizes differ.
    pub(crate) fn concat(parts: Vec<Self>, axis: usize) -> Result<Self, String> {
        let shapes: Vec<Shape> = parts.iter().map(Self::shape).collect();
        let shape = super::shape::concatenated(axis as i64, &shapes)?;
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
        Ok(match shape.len() {
            1 => of!(R1),
            2 => of!(R2),
            3 => of!(R3),
            4 => of!(R4),
            _ => of!(R5),
        })
    }

    /// The values as integers, `[1, elements]`.
    pub(crate) fn to_tokens(&self) -> Tensor<2, Int> {
        let count = self.shape().iter().product();
        inspect!(self, t => t.clone().reshape([1, count]).int())
    }
}

/// The message for an order of axes that is not a permutation.
pub(crate) fn wrong_order(rank: usize, axes: &[usize]) -> String {
    format!("{axes:?} is not a permutation of {rank} axes")
}

fn wrong_rank(rank: usize) -> String {
    format!("a tensor of rank {rank} is not supported")
}

fn reshaped<const D: usize>(t: Tensor<D>, shape: &[usize]) -> Result<DynTensor, String> {
    Ok(match *shape {
        [a] => DynTensor::R1(t.reshape([a])),
        [a, b] => DynTensor::R2(t.reshape([a, b])),
        [a, b, c] => DynTensor::R3(t.reshape([a, b, c])),
        [a, b, c, d] => DynTensor::R4(t.reshape([a, b, c, d])),
        [a, b, c, d, e] => DynTensor::R5(t.reshape([a, b, c, d, e])),
        _ => return Err(wrong_rank(shape.len())),
    })
}
