//! Numbers of bytes on the command line.

/// Smallest limit in bytes: with less, the process cannot start to measure.
const MIN_BYTES: u64 = 8 << 20;

/// Parses a limit: see [`bytes`].
///
/// # Errors
/// What is wrong with the text.
pub(super) fn memory_limit(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        limit if limit < MIN_BYTES => Err(format!("must be at least 8M, got {text}")),
        limit => Ok(limit),
    }
}

/// Parses a number of bytes with or without a binary unit: `512M`, `2G`, `33554432`.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err("the unit must be K, M or G".into()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "must be a whole number of bytes, such as 33554432 or 32M")?;
    match number.checked_mul(1 << shift) {
        None => Err("must be less than 2^64 bytes".into()),
        Some(bytes) => Ok(bytes),
    }
}

/// The value of `--sample`: the mean number of bytes between two recorded blocks.
pub(super) fn sample_interval(text: &str) -> Result<u64, String> {
    // With a larger interval one sampled block of one byte stands for more than a billion blocks.
    const MAX: u64 = 1 << 30;
    match bytes(text)? {
        0 => Err("must be at least 1; leave --sample out to record every block".into()),
        bytes if bytes > MAX => Err("must be at most 1G".into()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_and_a_minimum() {
        assert_eq!(memory_limit("8388608"), Ok(MIN_BYTES));
        assert_eq!(memory_limit("512M"), Ok(512 << 20));
        assert_eq!(memory_limit("2GiB"), Ok(2 << 30));
        for wrong in [
            "",
            "M",
            "-1",
            "1.5G",
            "5T",
            "0",
            "1K",
            "99999999999G",
            "1 G",
        ] {
            assert!(memory_limit(wrong).is_err(), "{wrong}");
        }
    }
}
