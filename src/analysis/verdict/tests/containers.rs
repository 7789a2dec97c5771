//! Containers whose capacity grows by a factor.

use super::*;

/// A container that gains `bytes` per cycle up to cycle `stops`, and doubles when it is full.
fn doubling(n: u32, bytes: u64, stops: u32) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut capacity = 0;
    // The warm-up of three cycles has negative numbers and 0.
    for k in -2..=(n.min(stops) as i32) {
        let size = (k + 3) as u64 * bytes;
        if size > capacity {
            capacity = size.max(2 * capacity);
            if let Some(last) = blocks.last_mut() {
                last.1 = Some(k.max(1) as u32);
            }
            blocks.push((k.max(0) as u32, None, capacity));
        }
    }
    blocks
}

#[test]
fn seven_doublings_are_not_a_leak() {
    let doubling = (0..7).map(|i| (1 << i, Some(2 << i), 100 << i));
    let found = verdict(DEFAULT_N, doubling);
    assert!(found != Verdict::Leak, "{found}");
}

#[test]
fn a_container_that_keeps_growing_is_a_leak_beyond_the_horizon_and_never_clean() {
    for bytes in [100, 8000, 8192] {
        for n in (15..400).step_by(7) {
            let found = verdict(n, doubling(n, bytes, u32::MAX));
            assert!(
                found >= Verdict::Undecided,
                "{n} cycles of {bytes} B: {found}"
            );
        }
        let blocks = doubling(192, bytes, u32::MAX);
        let (n, j) = synthetic::judged_until_settled(192, &blocks, 64, 0);
        assert_eq!(j.verdict, Verdict::Leak, "{}", j.reason);
        assert!(n <= 144, "{n} cycles");
    }
}

#[test]
fn a_container_that_stops_growing_within_the_horizon_is_not_a_leak() {
    for stops in 1..=64 {
        for n in (8..300).step_by(11) {
            assert_ne!(verdict(n, doubling(n, 1000, stops)), Verdict::Leak);
        }
        let settled = verdict(300, doubling(300, 1000, stops));
        assert!(
            settled < Verdict::Undecided,
            "stopped at {stops}: {settled}"
        );
    }
}

#[test]
fn a_container_that_quadruples_is_undecided_until_the_next_step_is_overdue() {
    // It grew in cycles 5 and 17, so the next step is expected in cycle 65.
    let blocks = [(5, Some(17), 400), (17, Some(65), 1600), (65, None, 6400)];
    assert_eq!(verdict(50, blocks), Verdict::Undecided);
    assert_eq!(verdict(140, [blocks[0], (17, None, 1600)]), Verdict::Cache);
}

#[test]
fn several_doubling_containers_at_one_call_site_are_not_clean() {
    for many in [2, 3, 5, 8] {
        for n in [200, 400] {
            let mut blocks: Vec<Block> = Vec::new();
            for which in 0..many {
                let (mut size, mut capacity, mut born) = (0_u64, 0_u64, 1);
                for k in (1..=n).filter(|k| k % many == which) {
                    size += 100;
                    if size > capacity {
                        blocks.push((born, Some(k), capacity));
                        (capacity, born) = (2 * size, k);
                    }
                }
                blocks.push((born, None, capacity));
            }
            let judged = judge(&series(n, blocks), Criteria::fixed(64));
            assert!(
                judged.verdict >= Verdict::Undecided,
                "{many} in {n}: {}: {}",
                judged.verdict,
                judged.reason
            );
        }
    }
}
