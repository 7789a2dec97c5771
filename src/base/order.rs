//! Sorting, compiled once.
//!
//! The standard library's sort is compiled again for each type and each key: 4,000 lines of intermediate
//! code, which everyone who has a check compiles. What is sorted once in a report is sorted by these.

use std::cmp::Ordering;

/// Sorts by a comparison, and keeps the order of equal items.
pub(crate) fn sort_by<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let swaps = swaps(items.len(), &|a, b| compare(&items[a], &items[b]));
    for (to, from) in swaps.into_iter().enumerate() {
        items.swap(to, from);
    }
}

/// Sorts by a key, and keeps the order of items with equal keys.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

/// For each place in turn, where the item is that belongs there after the swaps before.
fn swaps(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut from: Vec<usize> = (0..count).collect();
    from.sort_by(|&a, &b| compare(a, b));
    for to in 0..count {
        // An item whose place was taken is where the item that took it came from.
        while from[to] < to {
            from[to] = from[from[to]];
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::cmp::Reverse;

    #[test]
    fn the_order_is_that_of_the_standard_library() {
        let mut random = Random::new(7);
        for count in 0..200 {
            let items = |_| (random.below(20), random.below(1000));
            let mut items: Vec<(u64, u64)> = (0..count).map(items).collect();
            let mut expected = items.clone();
            expected.sort_by_key(|&(key, _)| Reverse(key));
            sort_by_key(&mut items, |&(key, _)| Reverse(key));
            assert_eq!(items, expected);
        }
    }
}
