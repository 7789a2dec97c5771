//! Numbers as people read them.

/// The sum; the largest number if it is larger, as it may be of numbers in a file of others.
pub(crate) fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

/// Every digit, in groups of three: `4,096`.
pub(crate) fn exact(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes with a decimal unit and three digits: `812 B`, `4.10 kB`, `1.82 MB`.
pub(crate) fn bytes(number: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let sign = if number < 0.0 { "-" } else { "" };
    let mut scaled = number.abs();
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    if scaled >= 1e6 {
        return format!("{number:.2e} B");
    }
    let shown = if scaled.fract() == 0.0 && unit == 0 || scaled >= 99.95 {
        format!("{scaled:.0}")
    } else if scaled >= 9.995 {
        format!("{scaled:.1}")
    } else {
        format!("{scaled:.2}")
    };
    format!("{sign}{shown} {}", UNITS[unit])
}

/// A rate to two decimals, or without any where it is whole or large: `1`, `0.33`, `1,200`.
pub(crate) fn rate(number: f64) -> String {
    // An `f64` of this size does not hold every whole number.
    if number.abs() >= 1e15 {
        return format!("{number:.2e}");
    }
    if number.fract() == 0.0 {
        let sign = if number < 0.0 { "-" } else { "" };
        return format!("{sign}{}", exact(number.abs() as u64));
    }
    if number.abs() >= 100.0 {
        rate(number.round())
    } else {
        format!("{number:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_does_not_overflow() {
        assert_eq!(sum([1, 2]), 3);
        assert_eq!(sum([u64::MAX, 2]), u64::MAX);
    }

    #[test]
    fn digits_are_grouped_in_threes() {
        assert_eq!(exact(0), "0");
        assert_eq!(exact(999), "999");
        assert_eq!(exact(1_000), "1,000");
        assert_eq!(exact(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn bytes_keep_three_digits() {
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(0.5), "0.50 B");
        assert_eq!(bytes(812.0), "812 B");
        assert_eq!(bytes(4096.0), "4.10 kB");
        assert_eq!(bytes(-1_816_576.0), "-1.82 MB");
        assert_eq!(bytes(999_999.0), "1.00 MB");
    }

    #[test]
    fn a_rate_has_no_needless_digits() {
        assert_eq!(rate(4096.0), "4,096");
        assert_eq!(rate(1.0 / 3.0), "0.33");
        assert_eq!(rate(1234.4), "1,234");
        assert_eq!(rate(-2.0), "-2");
        assert_eq!(rate(1e308), "1.00e308");
        assert_eq!(bytes(-1e300), "-1.00e300 B");
    }
}
