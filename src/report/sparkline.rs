//! A series as one line of bars.

/// The values as a row of at most `columns` bars. Each bar is the highest of the values in its
/// column.
pub(super) fn sparkline(values: &[u64], columns: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let columns = columns.min(values.len());
    let high: Vec<u64> = (0..columns)
        .map(|i| {
            let range = i * values.len() / columns..(i + 1) * values.len() / columns;
            values[range].iter().copied().max().unwrap_or(0)
        })
        .collect();
    let most = high.iter().copied().max().unwrap_or(0);
    let least = high.iter().copied().min().unwrap_or(0);
    // The full height is at least a tenth of the largest value: a small change is drawn small.
    let range = (most - least).max(most / 10).max(1);
    high.iter()
        .map(|&v| {
            let bar = u128::from(v - least) * 7 / u128::from(range);
            BARS[bar.min(7) as usize]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_rise_with_the_values() {
        assert_eq!(sparkline(&[0, 1, 2, 3, 4, 5, 6, 7], 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[5, 5, 5], 8), "▁▁▁");
        assert_eq!(sparkline(&[], 8), "");
        assert_eq!(sparkline(&[u64::MAX, 0], 8), "█▁");
        assert_eq!(sparkline(&[1000, 1001], 8), "▁▁", "a change of 0.1 %");
        let many: Vec<u64> = (0..100).collect();
        assert_eq!(sparkline(&many, 10).chars().count(), 10);
    }
}
