//! The weights of one layer, read from the HDF5 file in the order in which Keras stores them, each
//! checked against the layer's settings.

use burn::tensor::{Device, Tensor};
use half::{bf16, f16};
use hdf5_pure::{DType, Dataset, Datatype, DatatypeByteOrder};

use crate::tensor::DynTensor;

/// Most values of one weight: 16 GiB of `f32`.
const MAX_VALUES: u64 = 1 << 32;

/// Most values of two bytes that are read at a time, unless a row has more.
const VALUES_AT_A_TIME: u64 = 1 << 18;

/// Values that a chunk may have, however small its weight is.
const SMALL_CHUNK: u64 = 1 << 18;

/// Bytes that a weight stored in chunks may have, however small the file is, and further bytes for
/// each byte of the file.
const MAX_UNPACKED: u64 = 64 << 20;
const MAX_COMPRESSION: u64 = 64;

/// Reads a layer's weights one after the other.
pub(crate) struct LayerWeights<'a> {
    file: &'a hdf5_pure::File,
    device: &'a Device,
    /// The paths of the weights that are left, the next one last.
    left: Vec<String>,
    taken: usize,
}

impl<'a> LayerWeights<'a> {
    pub(crate) fn new(
        file: &'a hdf5_pure::File,
        device: &'a Device,
        mut paths: Vec<String>,
    ) -> Self {
        paths.reverse();
        Self {
            file,
            device,
            left: paths,
            taken: 0,
        }
    }

    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// The rank of the next weight.
    pub(crate) fn rank_of_next(&self) -> Option<usize> {
        let dataset = self.file.dataset(self.left.last()?).ok()?;
        Some(dataset.shape().ok()?.len())
    }

    /// Reads the next weight. `expected` is its shape, with `None` for a size that the settings do
    /// not tell. `name` is for messages.
    ///
    /// # Errors
    /// If there is none, or it has another shape or is not of a type of numbers.
    pub(crate) fn next(
        &mut self,
        name: &str,
        expected: &[Option<usize>],
    ) -> Result<DynTensor, String> {
        self.read(name, expected, false)
    }

    /// Reads the next weight, a single number as a vector of one.
    ///
    /// # Errors
    /// As [`LayerWeights::next`].
    pub(crate) fn next_or_scalar(
        &mut self,
        name: &str,
        expected: &[Option<usize>],
    ) -> Result<DynTensor, String> {
        match self.rank_of_next() {
            Some(0) => self.read(name, &[], true),
            _ => self.next(name, expected),
        }
    }

    /// Reads the next weight, which has one axis.
    ///
    /// # Errors
    /// As [`LayerWeights::next`].
    pub(crate) fn vector(&mut self, name: &str, size: Option<usize>) -> Result<Tensor<1>, String> {
        match self.next(name, &[size])? {
            DynTensor::R1(t) => Ok(t),
            _ => Err(format!("the weight `{name}` is not a vector")),
        }
    }

    /// Reads the next weight, which has one axis, if the layer has it.
    ///
    /// # Errors
    /// As [`LayerWeights::next`].
    pub(crate) fn vector_if(
        &mut self,
        has: bool,
        name: &str,
        size: Option<usize>,
    ) -> Result<Option<Tensor<1>>, String> {
        has.then(|| self.vector(name, size)).transpose()
    }

    /// Reads the next weight, which has two axes.
    ///
    /// # Errors
    /// As [`LayerWeights::next`].
    pub(crate) fn matrix(
        &mut self,
        name: &str,
        shape: [Option<usize>; 2],
    ) -> Result<Tensor<2>, String> {
        match self.next(name, &shape)? {
            DynTensor::R2(t) => Ok(t),
            _ => Err(format!("the weight `{name}` is not a matrix")),
        }
    }

    /// Checks that the layer has taken all its weights.
    ///
    /// # Errors
    /// If the file has more.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(format!(
                "the file has {} weights for this layer, and the configuration says {}",
                self.taken + left,
                self.taken
            )),
        }
    }

    fn read(
        &mut self,
        name: &str,
        expected: &[Option<usize>],
        as_vector: bool,
    ) -> Result<DynTensor, String> {
        let Some(path) = self.left.pop() else {
            return Err(format!(
                "the weight `{name}` of the shape {} is missing: the file has {} for this layer",
                shown(expected),
                self.taken
            ));
        };
        self.taken += 1;
        let dataset = self.file.dataset(&path).map_err(|e| {
            format!("the weight `{path}` is missing, or is a link, which is not followed: {e}")
        })?;
        let unreadable = |e: hdf5_pure::Error| format!("the weight `{path}`: {e}");
        let sizes = dataset.shape().map_err(unreadable)?;
        let fits = |(&found, size): (&u64, &Option<usize>)| size.is_none_or(|s| s as u64 == found);
        if sizes.len() != expected.len() || !sizes.iter().zip(expected).all(fits) {
            return Err(format!(
                "the weight `{name}` has the shape {sizes:?}, and the configuration says {}",
                shown(expected)
            ));
        }
        // Keras makes none, and Burn takes a size of 0 in a new shape as that of the old one.
        if sizes.contains(&0) {
            return Err(format!(
                "the weight `{name}` has no values: its shape is {sizes:?}"
            ));
        }
        let count = sizes.iter().try_fold(1_u64, |n, &d| n.checked_mul(d));
        let count = count.filter(|&n| n <= MAX_VALUES);
        let count = count.ok_or_else(|| {
            format!("the weight `{name}` of the shape {sizes:?} has more than {MAX_VALUES} values")
        })?;
        if let Some(chunk) = dataset.chunk_shape().map_err(unreadable)? {
            check_chunks(name, count, &chunk, self.file.file_size())?;
        }
        let dtype = dataset.dtype().map_err(unreadable)?;
        let values = match &dtype {
            DType::F32
            | DType::F64
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::U8
            | DType::U16
            | DType::U32
            | DType::U64 => dataset.read_f32().map_err(unreadable)?,
            DType::Other(other) if let Some(decode) = two_byte_decoder(other) => {
                read_two_bytes(&dataset, &sizes, count, decode).map_err(unreadable)?
            }
            other => {
                return Err(format!(
                    "the weight `{name}` has the type {other}, which is not supported"
                ));
            }
        };
        // For some types the reader gives an empty vector in place of an error.
        if values.len() as u64 != count {
            return Err(format!(
                "the weight `{name}` has {} values of {count}",
                values.len()
            ));
        }
        let mut shape: Vec<usize> = sizes.iter().map(|&d| d as usize).collect();
        if as_vector {
            shape.push(1);
        }
        DynTensor::from_data(values, &shape, self.device)
            .map_err(|what| format!("the weight `{name}`: {what}"))
    }
}

/// A shape for a message.
fn shown(expected: &[Option<usize>]) -> String {
    let sizes = expected.iter();
    let sizes = sizes.map(|d| d.map_or("any".into(), |d| d.to_string()));
    format!("[{}]", sizes.collect::<Vec<String>>().join(", "))
}

/// Refuses a weight in chunks that would take far more memory to read than its file has: the reader
/// holds whole chunks, and the size of uncompressed data is stated by the file itself.
fn check_chunks(name: &str, values: u64, chunk: &[u64], file: u64) -> Result<(), String> {
    let in_chunk = chunk.iter().try_fold(1_u64, |n, &d| n.checked_mul(d));
    let max = values.saturating_mul(2).max(SMALL_CHUNK);
    if in_chunk.is_none_or(|n| n > max) {
        return Err(format!(
            "the weight `{name}` of {values} values is stored in chunks of the shape {chunk:?}, \
             which are far larger"
        ));
    }
    let max_bytes = MAX_UNPACKED.saturating_add(file.saturating_mul(MAX_COMPRESSION));
    if values > max_bytes / 4 {
        return Err(format!(
            "the weight `{name}` of {values} values is compressed too far for a file of {file} bytes"
        ));
    }
    Ok(())
}

/// How to decode values of two bytes that the reader does not decode.
fn two_byte_decoder(datatype: &Datatype) -> Option<fn([u8; 2]) -> f32> {
    match datatype {
        Datatype::FloatingPoint {
            size: 2,
            byte_order: DatatypeByteOrder::BigEndian,
            ..
        } => Some(|b| f16::from_be_bytes(b).to_f32()),
        Datatype::FloatingPoint { size: 2, .. } => Some(|b| f16::from_le_bytes(b).to_f32()),
        // HDF5 has no bfloat16: Keras writes NumPy's opaque type `|V2`.
        Datatype::Opaque { size: 2, .. } => Some(|b| bf16::from_le_bytes(b).to_f32()),
        _ => None,
    }
}

/// Reads values of two bytes, some rows at a time, so that not all of them are in memory in both
/// types.
fn read_two_bytes(
    dataset: &Dataset,
    sizes: &[u64],
    count: u64,
    decode: fn([u8; 2]) -> f32,
) -> Result<Vec<f32>, hdf5_pure::Error> {
    let mut values = Vec::with_capacity(count as usize);
    let mut decode_all = |raw: &[u8]| {
        let pairs = raw.as_chunks::<2>().0.iter();
        values.extend(pairs.map(|&pair| decode(pair)));
    };
    match sizes.first() {
        Some(&rows) if rows > 0 => {
            let step = (VALUES_AT_A_TIME / (count / rows)).clamp(1, rows);
            for row in (0..rows).step_by(step as usize) {
                decode_all(&dataset.read_raw_rows(row, step.min(rows - row))?);
            }
        }
        _ => decode_all(&dataset.read_raw()?),
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_that_needs_far_more_memory_than_its_file_is_refused() {
        let check = |values, chunk: &[u64], file| check_chunks("kernel", values, chunk, file);
        assert_eq!(check(10_240, &[64, 160], 1 << 20), Ok(()));
        assert_eq!(check(10, &[512, 512], 1 << 20), Ok(()), "small enough");
        let error = check(10_240, &[32_000, 32_000], 1 << 24).unwrap_err();
        assert!(error.contains("the shape [32000, 32000]"), "{error}");
        assert!(check(4, &[u64::MAX, u64::MAX], 1 << 20).is_err());
        let error = check(1 << 32, &[1 << 12, 64], 1 << 20).unwrap_err();
        assert!(error.contains("for a file of 1048576 bytes"), "{error}");
    }

    #[test]
    fn both_types_of_two_bytes_are_decoded() {
        let decode = |datatype: &Datatype, bits: u16| {
            two_byte_decoder(datatype).map(|decode| decode(bits.to_le_bytes()))
        };
        let opaque = Datatype::Opaque {
            size: 2,
            tag: Vec::new(),
        };
        assert_eq!(decode(&opaque, 0x3fc0), Some(1.5));
        assert_eq!(decode(&opaque, 0xff80), Some(f32::NEG_INFINITY));
    }
}
