//! What a model is run on, and what it must predict: NumPy's files, or generated numbers.

use std::path::{Path, PathBuf};

use keras_burn::{Array, Input, Plan, read_arrays};

use super::error::from_reader;
use crate::base::error::Error;
use crate::base::random::Random;
use crate::base::text::count;

/// Size of a generated batch, unless one is asked for.
const BATCH: u32 = 8;
/// Largest size of a generated batch.
const MAX_BATCH: u32 = 65_536;
/// Size of a generated axis that the configuration leaves open.
const OPEN_AXIS: usize = 16;

/// Generates seeded inputs, of a batch of this size.
pub(super) fn generated(path: &Path, plan: &Plan, batch: Option<u32>) -> Result<Vec<Array>, Error> {
    let batch = batch.unwrap_or(BATCH);
    if !(1..=MAX_BATCH).contains(&batch) {
        return Err(Error::usage(format!(
            "--batch {batch} is out of range: it must be from 1 to {MAX_BATCH}"
        )));
    }
    let shapes = plan.inputs().iter();
    let shapes = shapes.map(|input| shape(path, input, batch as usize));
    let shapes = shapes.collect::<Result<Vec<_>, Error>>()?;
    // The bounds are checked before the memory for the numbers is allocated.
    plan.cost(&shapes).map_err(from_reader)?;
    let inputs = plan.inputs().iter().zip(shapes);
    inputs
        .map(|(input, shape)| generate(input, shape))
        .collect()
}

fn shape(path: &Path, input: &Input, batch: usize) -> Result<Vec<usize>, Error> {
    let sizes = input.shape().ok_or_else(|| {
        let what = format!("the input `{}` has no shape", input.name());
        Error::malformed(path, None, what).hint("give one with --input x.npy")
    })?;
    let sizes = sizes.iter().map(|size| size.unwrap_or(OPEN_AXIS));
    Ok([batch].into_iter().chain(sizes).collect())
}

/// Tokens for an input that takes some, else numbers from 0 to 1.
fn generate(input: &Input, shape: Vec<usize>) -> Result<Array, Error> {
    let mut random = Random::new(42);
    let mut value = || match input.tokens() {
        Some(tokens) => random.below(tokens.max(1) as u64) as f32,
        None => random.fraction(),
    };
    let count = shape.iter().product();
    let values = (0..count).map(|_| value()).collect();
    Array::new(shape, values).map_err(from_reader)
}

/// Reads the inputs of `--input`.
pub(super) fn given(path: &Path, plan: &Plan, files: &[PathBuf]) -> Result<Vec<Array>, Error> {
    let mut arrays = Vec::new();
    for file in files {
        arrays.extend(read_arrays(file).map_err(from_reader)?);
    }
    let names: Vec<&str> = plan.inputs().iter().map(Input::name).collect();
    let keys: Vec<&str> = plan.inputs().iter().map(Input::key).collect();
    sort_by_names(&mut arrays, &[&names, &keys]);
    if arrays.len() != names.len() {
        return Err(Error::usage(format!(
            "{} takes {} ({}), and --input gives {}",
            path.display(),
            count(names.len() as u64, "input"),
            names.join(", "),
            count(arrays.len() as u64, "array"),
        )));
    }
    Ok(arrays.into_iter().map(|(_, array)| array).collect())
}

/// Reads the predictions of `--expect`.
pub(super) fn expected(plan: &Plan, file: &Path) -> Result<Vec<Array>, Error> {
    let mut arrays = read_arrays(file).map_err(from_reader)?;
    let names: Vec<&str> = plan.outputs().iter().map(String::as_str).collect();
    sort_by_names(&mut arrays, &[&names]);
    Ok(arrays.into_iter().map(|(_, array)| array).collect())
}

/// Sorts arrays into the order of the first list that has all their names; without one they keep
/// their order.
fn sort_by_names(arrays: &mut [(String, Array)], lists: &[&[&str]]) {
    for names in lists {
        let index = |(name, _): &(String, Array)| names.iter().position(|n| n == name);
        if arrays.iter().all(|array| index(array).is_some()) {
            arrays.sort_by_key(index);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_sorted_into_the_order_of_a_list_that_has_all_their_names() {
        let sorted = |names: &[&str]| {
            let array = Array::new(vec![0], Vec::new()).unwrap();
            let named = names.iter().map(|name| ((*name).to_owned(), array.clone()));
            let mut arrays: Vec<(String, Array)> = named.collect();
            sort_by_names(&mut arrays, &[&["zz", "aa"], &["k2", "k1"]]);
            let names: Vec<String> = arrays.into_iter().map(|(name, _)| name).collect();
            names
        };
        assert_eq!(sorted(&["aa", "zz"]), ["zz", "aa"]);
        assert_eq!(sorted(&["k1", "k2"]), ["k2", "k1"]);
        assert_eq!(sorted(&["aa", "k2"]), ["aa", "k2"]);
    }
}
