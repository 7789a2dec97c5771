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

/// The pages of a slab that gains two slots of 96 bytes in each cycle up to cycle `stops`. Each page has
/// twice as many slots as the one before; the first one, of 32, is full in cycle 13.
fn slab_pages(stops: u32) -> Vec<Block> {
    let pages = (1..).map(|nth| (2_u32.pow(nth + 4) - 18, 3072 << nth));
    let allocated = pages.take_while(|&(k, _)| k <= stops);
    allocated.map(|(k, bytes)| (k, None, bytes)).collect()
}

#[test]
fn a_slab_whose_pages_double_leaks_what_it_gains() {
    let blocks = slab_pages(1000);
    assert_eq!(blocks[..2], [(14, None, 6144), (46, None, 12288)]);
    assert_eq!(verdict(DEFAULT_N, blocks.clone()), Verdict::Undecided);
    let judged = judge(&series(197, blocks), Criteria::fixed(64));
    assert_eq!(judged.verdict, Verdict::Leak, "{}", judged.reason);
    assert_eq!(judged.bytes_per_cycle.unwrap().value, 192.0);
}

#[test]
fn the_cycles_that_a_slab_needs_do_tell() {
    for stops in [40, 64, 400] {
        let blocks = slab_pages(stops);
        let short = judge(&series(DEFAULT_N, blocks.clone()), Criteria::fixed(64));
        let more = short.evidence.more_cycles.unwrap_or(0);
        let found = verdict(DEFAULT_N + more, blocks);
        match stops {
            400 => assert_eq!(found, Verdict::Leak),
            _ => assert!(found < Verdict::Undecided, "{stops}: {found}"),
        }
    }
}

#[test]
fn a_page_of_the_warm_up_keeps_a_run_waiting_for_the_next_but_one() {
    // The first page was allocated in the first cycle of the warm-up.
    let at = |n: u32| {
        let series = Series {
            warmup: vec![(-2, 4648)],
            ..series(n, slab_pages(400))
        };
        judge(&series, Criteria::interim(n, 64))
    };
    for n in 22..118 {
        assert!(!at(n).settled, "{n}: {}", at(n).reason);
    }
    assert_eq!(at(118).verdict, Verdict::Leak);
}

#[test]
fn the_rate_of_a_leak_includes_the_steps_of_its_table() {
    // Entries of 30 bytes in a map whose table doubles: 2,000 bytes for 16 entries.
    let mut blocks: Vec<Block> = (1..=80).map(|k| (k, None, 30)).collect();
    let tables = [(3, 8), (8, 16), (16, 32), (32, 64), (64, 128)];
    for (i, &(born, room)) in tables.iter().enumerate() {
        let freed = tables.get(i + 1).map(|&(born, _)| born);
        blocks.push((born, freed, 125 * room));
    }
    let judged = judge(&series(80, blocks), Criteria::fixed(64));
    assert_eq!(judged.verdict, Verdict::Leak);
    let rate = judged.bytes_per_cycle.unwrap();
    assert!((150.0..165.0).contains(&rate.value), "{rate:?}");
    assert!(rate.low <= 30.0 && rate.high >= rate.value, "{rate:?}");
}

#[test]
fn a_cache_of_equal_entries_that_fills_ever_more_slowly_is_no_leak() {
    for factor in [3.0, 10.0, 15.0] {
        let held = |k: u32| (factor * f64::from(k).sqrt()) as u32;
        for n in [83, 200, 399] {
            let blocks = (1..=n).flat_map(|k| (held(k - 1)..held(k)).map(move |_| (k, None, 100)));
            let judged = judge(&series(n, blocks), Criteria::fixed(64));
            assert_ne!(
                judged.verdict,
                Verdict::Leak,
                "{factor} {n}: {}",
                judged.reason
            );
        }
    }
}

#[test]
fn growth_that_becomes_slower_beyond_the_horizon_is_growing_with_both_rates() {
    // 10,000 bytes in all, half of the rest in each 40 cycles.
    let held = |k: u32| 10_000.0 * (1.0 - 0.5_f64.powf(f64::from(k) / 40.0));
    let blocks = (1..=160).map(|k| (k, None, (held(k) - held(k - 1)) as u64));
    let judged = judge(&series(160, blocks), Criteria::fixed(64));
    assert_eq!(judged.verdict, Verdict::Growing, "{}", judged.reason);
    assert_eq!(judged.evidence.rule, Rule::Slower);
    let expected = "by 94.7 B per cycle in the first half of that time and by 25.3 B in the second; \
                    at this pace it levels off at about 9.99 kB";
    assert!(
        judged.reason.contains("ever more slowly"),
        "{}",
        judged.reason
    );
    assert!(judged.reason.contains(expected), "{}", judged.reason);
    assert!(!judged.settled);
}
