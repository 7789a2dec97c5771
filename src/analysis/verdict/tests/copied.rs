//! Data that is copied into a new buffer from time to time, so that no block of it grows old.

use super::*;

/// A log in a buffer that doubles. It gains 500 bytes per cycle up to cycle `until`, and is shrunk to
/// its size in every `every`th cycle.
pub(super) fn shrunk(n: u32, every: u32, until: u32) -> Vec<Block> {
    let (mut size, mut capacity, mut born) = (0, 0, 1);
    let mut blocks = Vec::new();
    for k in 1..=n {
        size += if k <= until { 500 } else { 0 };
        let grown = if size > capacity { 2 * size } else { capacity };
        let now = if k % every == 0 { size } else { grown };
        if now != capacity || k % every == 0 {
            blocks.push((born, Some(k), capacity));
            (capacity, born) = (now, k);
        }
    }
    blocks.push((born, None, capacity));
    blocks
}

#[test]
fn data_that_is_copied_and_grows_is_a_leak_although_no_block_grows_old() {
    for every in 2..=12 {
        let judged = judge(&series(192, shrunk(192, every, 192)), Criteria::fixed(64));
        assert_eq!(
            judged.verdict,
            Verdict::Leak,
            "every {every}: {}",
            judged.reason
        );
        let rate = judged.bytes_per_cycle.unwrap();
        assert!(
            rate.low <= 500.0 && 500.0 <= rate.high,
            "every {every}: {rate:?}"
        );
        let (n, judged) = synthetic::judged_until_settled(192, &shrunk(192, every, 192), 64, 0);
        assert_eq!(judged.verdict, Verdict::Leak, "every {every}, after {n}");
    }
}

#[test]
fn data_that_is_copied_and_stops_growing_within_the_horizon_is_not_a_leak() {
    for every in 2..=12 {
        for until in [10, 30, 60] {
            for n in [80, 120, 192] {
                let found = judge(&series(n, shrunk(n, every, until)), Criteria::fixed(64));
                assert_ne!(
                    found.verdict,
                    Verdict::Leak,
                    "every {every} until {until}, {n} cycles: {}",
                    found.reason
                );
            }
            let (_, found) =
                synthetic::judged_until_settled(192, &shrunk(192, every, until), 64, 0);
            assert!(found.verdict < Verdict::Undecided, "{}", found.reason);
        }
    }
}

#[test]
fn a_call_site_is_not_clean_while_the_copied_data_grows() {
    for every in [3, 4, 10] {
        for n in FEWEST_CYCLES..=192 {
            let criteria = Criteria::interim(n, 64);
            let judged = judge(&series(n, shrunk(n, every, n)), criteria);
            assert!(
                judged.verdict >= Verdict::Undecided || !judged.settled,
                "every {every}, {n} cycles: {}",
                judged.reason
            );
        }
    }
}
