//! Shapes, without the tensors that have them.

/// The size of each axis, the batch first.
pub(crate) type Shape = Vec<usize>;

/// The number of elements; `None` if it overflows.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1, |n: usize, &d| n.checked_mul(d))
}

/// The index of an axis that is counted from the end if negative.
///
/// # Errors
/// If there is no such axis.
pub(crate) fn axis_index(rank: usize, axis: i64) -> Result<usize, String> {
    let from_start = match axis {
        0.. => Some(axis),
        _ => axis.checked_add(rank as i64),
    };
    let index = from_start.and_then(|a| usize::try_from(a).ok());
    let index = index.filter(|&a| a < rank);
    index.ok_or_else(|| format!("a tensor of rank {rank} has no axis {axis}"))
}

/// The indices of several axes.
///
/// # Errors
/// As [`axis_index`].
pub(crate) fn axis_indices(rank: usize, axes: &[i64]) -> Result<Vec<usize>, String> {
    axes.iter().map(|&axis| axis_index(rank, axis)).collect()
}

/// Whether these are the indices of all axes, in some order.
pub(crate) fn is_permutation(rank: usize, axes: &[usize]) -> bool {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..rank)
}

/// A shape with axes of size 1 before its own.
pub(crate) fn widened(shape: &[usize], rank: usize) -> Shape {
    [vec![1; rank - shape.len()], shape.to_vec()].concat()
}

/// The shape of two tensors combined element by element: an axis of size 1 is repeated, and axes
/// that one of them lacks at the front are added.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    let pairs = widened(a, rank).into_iter().zip(widened(b, rank));
    let sizes = pairs.map(|(x, y)| match (x, y) {
        (1, _) => Some(y),
        (_, 1) => Some(x),
        _ => (x == y).then_some(x),
    });
    let sizes: Option<Shape> = sizes.collect();
    sizes.ok_or_else(|| format!("tensors of the shapes {a:?} and {b:?} do not fit"))
}

/// The shape of tensors concatenated along an axis.
///
/// # Errors
/// If there is none, or their other sizes differ.
pub(crate) fn concatenated(axis: i64, inputs: &[Shape]) -> Result<Shape, String> {
    let (first, rest) = inputs.split_first().ok_or(NO_INPUT)?;
    let mut all = first.clone();
    let rank = all.len();
    let axis = axis_index(rank, axis)?;
    for next in rest {
        let is_same = |i: usize| i == axis || next[i] == all[i];
        if next.len() != rank || !(0..rank).all(is_same) {
            return Err(format!(
                "tensors of the shapes {all:?} and {next:?} cannot be concatenated along axis {axis}"
            ));
        }
        all[axis] = all[axis].saturating_add(next[axis]);
    }
    Ok(all)
}

/// The shape of a tensor that is reshaped to these sizes. One of them may be -1, which is inferred.
///
/// # Errors
/// If it has another number of elements.
pub(crate) fn reshaped(input: &[usize], sizes: &[i64]) -> Result<Shape, String> {
    let wrong = || format!("the shape {input:?} cannot be reshaped to {sizes:?}");
    let all = elements(input).ok_or_else(wrong)?;
    let known = sizes.iter().filter(|&&size| size != -1);
    let known: Option<Vec<usize>> = known.map(|&size| usize::try_from(size).ok()).collect();
    let known = known.filter(|known| known.len() + 1 >= sizes.len());
    let product = known.and_then(|known| elements(&known)).ok_or_else(wrong)?;
    let left = all.checked_div(product).unwrap_or(0);
    let shape = sizes
        .iter()
        .map(|&size| usize::try_from(size).unwrap_or(left));
    let shape: Shape = shape.collect();
    match elements(&shape) == Some(all) {
        true => Ok(shape),
        false => Err(wrong()),
    }
}

/// The shape with another size of its last axis.
pub(crate) fn with_last(shape: &[usize], size: usize) -> Shape {
    let mut shape = shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = size;
    }
    shape
}

/// The message for a layer or operation that is called without a tensor.
pub(crate) const NO_INPUT: &str = "it is called without an input";

/// The message for an input of the wrong rank or sizes.
pub(crate) fn wrong_input(shape: &[usize], must_be: &str) -> String {
    format!("its input must have the shape {must_be}, and has {shape:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_broadcast_as_numpy_does() {
        assert_eq!(broadcast(&[4, 1, 3], &[2, 1]), Ok(vec![4, 2, 3]));
        assert_eq!(broadcast(&[], &[2]), Ok(vec![2]));
        assert!(broadcast(&[2], &[3]).is_err());
    }

    #[test]
    fn one_size_of_a_shape_may_be_left_open() {
        assert_eq!(reshaped(&[4, 6], &[3, -1]), Ok(vec![3, 8]));
        assert_eq!(reshaped(&[4, 0], &[0, 7]), Ok(vec![0, 7]));
        for wrong in [&[5, -1][..], &[-1, -1], &[-2, 12], &[i64::MAX, i64::MAX]] {
            assert!(reshaped(&[4, 6], wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_axis_may_be_counted_from_the_end() {
        assert_eq!(axis_index(3, -1), Ok(2));
        assert!(axis_index(3, 3).is_err() && axis_index(3, -4).is_err());
        assert!(axis_index(3, i64::MIN).is_err());
    }
}
