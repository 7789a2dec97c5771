//! Call sites of known truth and the verdict that each must get.

use super::*;

#[test]
fn a_block_every_cycle_is_a_leak_beyond_the_horizon_and_growing_before() {
    let leak = |n| {
        judge(
            &series(n, (1..=n).map(|k| (k, None, 100))),
            Criteria::fixed(64),
        )
    };
    assert_eq!(leak(64 + CONFIRMATION).verdict, Verdict::Growing);
    assert_eq!(leak(65 + CONFIRMATION).verdict, Verdict::Leak);
    let j = leak(DEFAULT_N);
    assert_eq!(j.bytes_per_cycle.unwrap().value, 100.0);
    assert_eq!(j.blocks_per_cycle.unwrap().value, 1.0);
    assert!(
        j.reason.contains("more than 80 entries (8.00 kB)"),
        "{}",
        j.reason
    );
}

#[test]
fn a_slow_leak_is_a_leak_within_three_horizons() {
    for every in [2, 3, 5, 10] {
        let slow = |n: u32| {
            (1..=n)
                .filter(move |k| k % every == 0)
                .map(|k| (k, None, 9))
        };
        assert_eq!(
            verdict(3 * 64, slow(3 * 64)),
            Verdict::Leak,
            "every {every}"
        );
    }
    assert_eq!(
        verdict(
            DEFAULT_N,
            (1..=80).filter(|k| k % 3 == 0).map(|k| (k, None, 9))
        ),
        Verdict::Leak
    );
}

#[test]
fn a_leak_with_churn_at_the_same_call_site_has_the_rate_of_the_leak() {
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let mut blocks = Vec::new();
    for k in 1..=DEFAULT_N {
        blocks.push((k, None, 16));
        for _ in 0..5 {
            blocks.push((k, Some(k + random(4) as u32), random(10_000_000)));
        }
    }
    let j = judge(&series(DEFAULT_N, blocks), Criteria::fixed(64));
    assert_eq!(j.verdict, Verdict::Leak, "{}", j.reason);
    assert_eq!(j.bytes_per_cycle.unwrap().value, 16.0);
}

#[test]
fn a_block_that_grows_by_realloc_is_a_leak() {
    // Each cycle replaces the block by one that is 64 bytes larger.
    let grown = (1..=DEFAULT_N).map(|k| (k, Some(k + 1), 64 * u64::from(k)));
    let j = judge(&series(DEFAULT_N, grown), Criteria::fixed(64));
    assert_eq!(j.verdict, Verdict::Leak, "{}", j.reason);
    assert_eq!(j.bytes_per_cycle.unwrap().value, 64.0);
}

#[test]
fn whole_models_are_a_leak_before_the_horizon() {
    let kept = |n: u32, bytes, from_load| {
        let made = series(n, (1..=n).map(|k| (k, None, bytes)));
        judge(&Series { from_load, ..made }, Criteria::fixed(64))
    };
    let model = |n, bytes| kept(n, bytes, true);
    let mut few = [model(7, 1000), model(7, 1000)];
    judge_model_sized(&mut few, 2000);
    assert_eq!(few[0].verdict, Verdict::Growing);
    let mut enough = [model(8, 1300), model(8, 500)];
    judge_model_sized(&mut enough, 2000);
    assert!(enough.iter().all(|j| j.verdict == Verdict::Leak));
    let mut half = [model(8, 1300), model(8, 499)];
    judge_model_sized(&mut half, 2000);
    assert!(half.iter().all(|j| j.verdict == Verdict::Growing));
    // As large as a model, but not allocated while one is loaded.
    let mut cached = [kept(8, 2000, false)];
    judge_model_sized(&mut cached, 2000);
    assert_eq!(cached[0].verdict, Verdict::Growing);
}

#[test]
fn a_queue_that_falls_behind_is_a_leak_in_a_run_of_any_length() {
    // Three entries in, two out, the oldest first: each entry waits longer than the one before.
    for n in [120, 200, 400_u32] {
        let mut taken = (1..=n).flat_map(|k| [k, k]);
        let _ = taken.next();
        let blocks: Vec<Block> = (1..=n)
            .flat_map(|k| [k; 3])
            .map(|born| (born, taken.next().filter(|&k| k > born), 1000))
            .collect();
        let judged = judge(&series(n, blocks), Criteria::fixed(64));
        assert_eq!(
            judged.verdict,
            Verdict::Leak,
            "{n} cycles: {}",
            judged.reason
        );
        let slope = judged.bytes_per_cycle.unwrap().value;
        assert!((900.0..1100.0).contains(&slope), "{n} cycles: {slope}");
    }
    // A queue that is emptied within the horizon is not a leak.
    let blocks = (1..=40).map(|k| (k, Some(k + k / 2 + 1), 1000));
    let judged = judge(
        &series(200, blocks.collect::<Vec<_>>()),
        Criteria::fixed(64),
    );
    assert!(!judged.verdict.is_growth(), "{}", judged.reason);
}

#[test]
fn a_cache_that_fills_within_the_horizon_is_never_a_leak() {
    for capacity in 1..=64 {
        for n in FEWEST_CYCLES..=200 {
            let filled = (1..=capacity).map(|k| (k, None, 10));
            let found = verdict(n, filled);
            assert_ne!(found, Verdict::Leak, "capacity {capacity}, {n} cycles");
            if n >= 2 * capacity + MIN_PLATEAU {
                assert_eq!(found, Verdict::Cache, "capacity {capacity}, {n} cycles");
            }
        }
    }
}

#[test]
fn a_cache_with_random_keys_is_not_called_a_leak_while_it_fills() {
    for keys in [20, 30, 40] {
        for seed in 0..20 {
            let mut random = crate::base::random::Random::new(seed);
            let mut seen = std::collections::BTreeSet::new();
            let new = (1..=192).filter(|_| seen.insert(random.below(keys)));
            let blocks: Vec<Block> = new.map(|k| (k, None, 640)).collect();
            let (n, j) = synthetic::judged_until_settled(192, &blocks, 64, 0);
            assert_ne!(
                j.verdict,
                Verdict::Leak,
                "{keys} keys, seed {seed}, {n} cycles: {}",
                j.reason
            );
        }
    }
}

#[test]
fn the_cycles_that_a_cache_with_random_keys_needs_are_those_without_a_new_key() {
    let (mut open, mut caches) = (0, 0);
    for seed in 0..40 {
        let mut random = crate::base::random::Random::new(seed);
        let mut seen = std::collections::BTreeSet::new();
        let new = (1..=62).filter(|_| seen.insert(random.below(30)));
        let blocks: Vec<Block> = new.map(|k| (k, None, 640)).collect();
        let j = synthetic::judged(62, &blocks, 64);
        if !j.reason.contains("at a falling rate") || j.verdict != Verdict::Undecided {
            continue;
        }
        open += 1;
        assert!(
            j.reason.contains("without another rise"),
            "{seed}: {}",
            j.reason
        );
        let more = j.evidence.more_cycles.unwrap();
        let later = synthetic::judged(62 + more, &blocks, 64);
        assert!(!later.is_growth(), "{seed}: {}", later.reason);
        caches += u32::from(later.verdict == Verdict::Cache);
    }
    // Steps in the bytes may need more.
    assert!(open >= 10 && 10 * caches >= 9 * open, "{caches} of {open}");
}

#[test]
fn a_bounded_cache_is_a_cache_and_a_replaced_buffer_is_churn() {
    for capacity in 1..=30 {
        let lru = (1..=DEFAULT_N).map(|k| (k, Some(k + capacity), 10));
        let expected = if capacity < CACHE_GENERATIONS {
            Verdict::Churn
        } else {
            Verdict::Cache
        };
        assert_eq!(verdict(DEFAULT_N, lru), expected, "capacity {capacity}");
    }
}

#[test]
fn sweeps_within_the_horizon_are_churn_at_any_length() {
    for period in 2..=40_u32 {
        for n in 2 * period + 1..=200 {
            let swept = (1..=n).map(|k| (k, Some(k.next_multiple_of(period)), 10));
            let found = verdict(n, swept);
            assert!(!found.is_growth(), "period {period}, {n} cycles: {found}");
        }
    }
}

#[test]
fn occasional_late_frees_are_churn() {
    // Some blocks of a megabyte are freed one boundary late.
    let late = [5, 9, 30, 31, 77, DEFAULT_N].map(|k| (k, Some(k + 1), 1_049_068));
    assert_eq!(verdict(DEFAULT_N, late), Verdict::Churn);
}

#[test]
fn random_lifetimes_are_not_growth() {
    let mut state = 3_u64;
    let mut alarms = Vec::new();
    for _ in 0..500 {
        let blocks: Vec<_> = (1..=DEFAULT_N)
            .map(|k| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let uniform = ((state >> 33) as f64 + 1.0) / (1_u64 << 31) as f64;
                (k, Some(k + 1 + (-10.0 * uniform.ln()) as u32), 10)
            })
            .collect();
        let j = judge(&series(DEFAULT_N, blocks), Criteria::fixed(64));
        if j.verdict.is_growth() {
            alarms.push(j.reason);
        }
    }
    assert!(alarms.is_empty(), "{alarms:?}");
}

#[test]
fn a_block_that_was_replaced_once_is_churn() {
    // Allocated in the warm-up and replaced in cycle 75: the new one is younger than the longest
    // lifetime.
    let mut replaced = series(DEFAULT_N, [(75, None, 5)]);
    replaced.warmup_lifetime = 75;
    assert_eq!(
        judge(&replaced, Criteria::fixed(64)).verdict,
        Verdict::Churn
    );
}

#[test]
fn an_unconfirmed_rise_does_not_count_towards_the_horizon() {
    // A cache that was full in cycle 60, and a block of the last cycle that will be freed.
    let cache = [1, 2, 31, 60].map(|k| (k, None, 640));
    let young = [(69, Some(71), 1)];
    assert_ne!(verdict(69, cache.into_iter().chain(young)), Verdict::Leak);
}

#[test]
fn a_late_initialisation_is_a_cache_after_a_plateau() {
    assert_eq!(verdict(DEFAULT_N, [(40, None, 5)]), Verdict::Cache);
    assert_eq!(verdict(DEFAULT_N, [(78, None, 5)]), Verdict::Undecided);
}

#[test]
fn no_block_after_the_baseline_is_warm_up() {
    assert_eq!(verdict(DEFAULT_N, []), Verdict::WarmUp);
}

#[test]
fn too_few_cycles_are_undecided_and_the_reason_says_how_many_are_needed() {
    let j = judge(
        &series(4, (1..=4).map(|k| (k, None, 1))),
        Criteria::fixed(64),
    );
    assert_eq!(j.verdict, Verdict::Undecided);
    assert!(j.reason.contains("at least 5"), "{}", j.reason);
}

#[test]
fn a_call_site_that_does_not_grow_has_a_measured_slope() {
    // A buffer of random size that is replaced in each cycle: the slope is 0 within its interval.
    let mut random = crate::base::random::Random::new(5);
    let buffer = (1..=80).map(|k| (k, Some(k + 1), 1000 + random.below(1000)));
    let judged = judge(&series(80, buffer.collect::<Vec<_>>()), Criteria::fixed(64));
    assert_eq!(judged.verdict, Verdict::Churn);
    let slope = judged.bytes_per_cycle.unwrap();
    assert_eq!(slope.value, 0.0);
    assert!(slope.low < 0.0 && slope.high > 0.0, "{slope:?}");
}

#[test]
fn verdicts_are_ordered_by_severity() {
    assert_eq!(Verdict::ALL.iter().max(), Some(&Verdict::Leak));
    assert!(Verdict::ALL.is_sorted());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 300,
        // The same cases each time, so a failure can be reproduced.
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..Default::default()
    })]

    #[test]
    fn any_blocks_get_a_verdict_with_a_reason(
        n in 0_u32..120,
        blocks in proptest::collection::vec((1_u32..120, 1_u32..200, 0_u64..1 << 40), 0..60),
    ) {
        let blocks = blocks.into_iter().map(|(born, lifetime, bytes)| {
            (born, (lifetime < 120).then_some(born + lifetime), bytes)
        });
        let j = judge(&series(n, blocks), Criteria::fixed(DEFAULT_HORIZON));
        proptest::prop_assert!(!j.reason.is_empty());
    }

    #[test]
    fn a_cache_that_fills_within_the_horizon_in_any_order_is_not_a_leak(
        births in proptest::collection::btree_set(1_u32..=DEFAULT_HORIZON, 1..64),
        noise in proptest::collection::vec((1_u32..200, 1_u32..4, 1_u64..1 << 30), 0..100),
        n in 10_u32..200,
    ) {
        let cache = births.into_iter().map(|k| (k, None, 640));
        let churn = noise.into_iter().map(|(k, lifetime, bytes)| (k, Some(k + lifetime), bytes));
        let found = verdict(n, cache.chain(churn));
        proptest::prop_assert_ne!(found, Verdict::Leak);
    }
}

#[test]
fn a_leak_of_varying_size_is_a_leak_where_churn_hides_how_the_floor_rises() {
    // The floor is that of a cycle near the end in which the churn is least.
    let sizes = (1..=80).map(|k| (k, None, 40 + u64::from(k * k % 97)));
    let churn = (1..=80).map(|k| (k, Some(k + 1), u64::from(81 - k) << 20));
    let judged = judge(&series(80, sizes.chain(churn)), Criteria::fixed(64));
    assert_eq!(judged.verdict, Verdict::Leak, "{}", judged.reason);
}
