//! What the classifier says of call sites of known truth.

use super::*;
use crate::model::verdict::{DEFAULT_HORIZON, DEFAULT_MARGIN};

use super::synthetic::Life;

fn series(n: u32, lives: impl IntoIterator<Item = Life>) -> Series {
    synthetic::series(n, &lives.into_iter().collect::<Vec<_>>())
}

fn verdict(n: u32, lives: impl IntoIterator<Item = Life>) -> Verdict {
    judge(&series(n, lives), Terms::fixed(DEFAULT_HORIZON)).verdict
}

const DEFAULT_N: u32 = DEFAULT_HORIZON + DEFAULT_MARGIN;

#[test]
fn a_block_every_cycle_is_a_leak_past_the_horizon_and_growing_before() {
    let leak = |n| {
        judge(
            &series(n, (1..=n).map(|k| (k, None, 100))),
            Terms::fixed(64),
        )
    };
    assert_eq!(leak(64 + CONFIRMED).verdict, Verdict::Growing);
    assert_eq!(leak(65 + CONFIRMED).verdict, Verdict::Leak);
    let j = leak(DEFAULT_N);
    assert_eq!(j.bytes_per_cycle.unwrap().value, 100.0);
    assert_eq!(j.blocks_per_cycle.unwrap().value, 1.0);
    assert!(
        j.reason.contains("more than 80 entries, 8.00 kB"),
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
fn a_cache_that_fills_within_the_horizon_is_never_a_leak() {
    for capacity in 1..=64 {
        for n in FEWEST_CYCLES..=200 {
            let filled = (1..=capacity).map(|k| (k, None, 10));
            let found = verdict(n, filled);
            assert_ne!(found, Verdict::Leak, "capacity {capacity}, {n} cycles");
            if n >= 2 * capacity + FEWEST_QUIET {
                assert_eq!(found, Verdict::Cache, "capacity {capacity}, {n} cycles");
            }
        }
    }
}

#[test]
fn a_cache_that_is_asked_for_keys_at_random_is_waited_for() {
    for keys in [20, 30, 40] {
        for seed in 0..20 {
            let mut random = crate::base::random::Random::new(seed);
            let mut seen = std::collections::BTreeSet::new();
            let new = (1..=192).filter(|_| seen.insert(random.below(keys)));
            let lives: Vec<Life> = new.map(|k| (k, None, 640)).collect();
            let (n, j) = synthetic::judged_until_settled(192, &lives, 64, 0);
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
fn a_leak_under_churn_at_the_same_site_is_a_leak_of_its_own_bytes() {
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
    let j = judge(&series(DEFAULT_N, blocks), Terms::fixed(64));
    assert_eq!(j.verdict, Verdict::Leak, "{}", j.reason);
    assert_eq!(j.bytes_per_cycle.unwrap().value, 16.0);
}

#[test]
fn a_block_that_grows_by_realloc_is_a_leak() {
    // Born anew in each cycle, 64 bytes longer.
    let grown = (1..=DEFAULT_N).map(|k| (k, Some(k + 1), 64 * u64::from(k)));
    let j = judge(&series(DEFAULT_N, grown), Terms::fixed(64));
    assert_eq!(j.verdict, Verdict::Leak, "{}", j.reason);
    assert_eq!(j.bytes_per_cycle.unwrap().value, 64.0);
}

#[test]
fn a_doubling_buffer_is_not_called_a_leak_nor_clean_while_it_may_go_on() {
    let doubling = (0..7).map(|i| (1 << i, Some(2 << i), 100 << i));
    let found = verdict(DEFAULT_N, doubling);
    assert!(found != Verdict::Leak, "{found}");
}

/// A container that takes `bytes` a cycle and doubles when it is full, up to cycle `stops`.
fn doubling(n: u32, bytes: u64, stops: u32) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    let mut capacity = 0;
    // Three cycles of warm-up came before.
    for k in -2..=(n.min(stops) as i32) {
        let held = (k + 3) as u64 * bytes;
        if held > capacity {
            capacity = held.max(2 * capacity);
            if let Some(last) = lives.last_mut() {
                last.1 = Some(k.max(1) as u32);
            }
            lives.push((k.max(0) as u32, None, capacity));
        }
    }
    lives
}

#[test]
fn a_container_that_grows_for_ever_is_a_leak_past_the_horizon_and_never_clean() {
    for bytes in [100, 8000, 8192] {
        for n in (15..400).step_by(7) {
            let found = verdict(n, doubling(n, bytes, u32::MAX));
            assert!(
                found >= Verdict::Undecided,
                "{n} cycles of {bytes} B: {found}"
            );
        }
        let lives = doubling(192, bytes, u32::MAX);
        let (n, j) = synthetic::judged_until_settled(192, &lives, 64, 0);
        assert_eq!(j.verdict, Verdict::Leak, "{}", j.reason);
        assert!(n <= 144, "{n} cycles");
    }
}

#[test]
fn a_container_that_stops_growing_within_the_horizon_is_no_leak() {
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
fn a_thread_that_frees_a_little_late_is_churn() {
    // 864 bytes for ever, and now and then a megabyte that is gone at the next boundary.
    let late = [5, 9, 30, 31, 77, DEFAULT_N].map(|k| (k, Some(k + 1), 1_049_068));
    assert_eq!(verdict(DEFAULT_N, late), Verdict::Churn);
}

#[test]
fn random_lives_are_hardly_ever_growth() {
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
        let j = judge(&series(DEFAULT_N, blocks), Terms::fixed(64));
        if j.verdict.is_growth() {
            alarms.push(j.reason);
        }
    }
    assert!(alarms.is_empty(), "{alarms:?}");
}

#[test]
fn a_block_that_is_replaced_now_and_then_is_churn_at_any_moment() {
    // Born in the warm-up, replaced in cycle 75: the life of the first one tells.
    let mut replaced = series(DEFAULT_N, [(75, None, 5)]);
    replaced.earlier_life = 75;
    assert_eq!(judge(&replaced, Terms::fixed(64)).verdict, Verdict::Churn);
}

#[test]
fn the_first_of_something_that_comes_and_goes_is_no_leak() {
    // A cache that was filled by cycle 60, and something young in the last.
    let cache = [1, 2, 31, 60].map(|k| (k, None, 640));
    let young = [(69, Some(71), 1)];
    assert_ne!(verdict(69, cache.into_iter().chain(young)), Verdict::Leak);
}

#[test]
fn one_late_initialisation_is_a_cache_once_it_is_quiet() {
    assert_eq!(verdict(DEFAULT_N, [(40, None, 5)]), Verdict::Cache);
    assert_eq!(verdict(DEFAULT_N, [(78, None, 5)]), Verdict::Undecided);
}

#[test]
fn nothing_after_the_baseline_is_warm_up() {
    assert_eq!(verdict(DEFAULT_N, []), Verdict::WarmUp);
}

#[test]
fn too_few_cycles_are_undecided_and_say_how_many() {
    let j = judge(&series(4, (1..=4).map(|k| (k, None, 1))), Terms::fixed(64));
    assert_eq!(j.verdict, Verdict::Undecided);
    assert!(j.reason.contains("at least 5"), "{}", j.reason);
}

#[test]
fn whole_models_are_a_leak_before_the_horizon() {
    let kept = |n: u32, bytes, from_load| {
        let made = series(n, (1..=n).map(|k| (k, None, bytes)));
        judge(&Series { from_load, ..made }, Terms::fixed(64))
    };
    let model = |n, bytes| kept(n, bytes, true);
    let mut few = [model(7, 1000), model(7, 1000)];
    judge_together(&mut few, 2000);
    assert_eq!(few[0].verdict, Verdict::Growing);
    let mut enough = [model(8, 1300), model(8, 500)];
    judge_together(&mut enough, 2000);
    assert!(enough.iter().all(|j| j.verdict == Verdict::Leak));
    let mut half = [model(8, 1300), model(8, 499)];
    judge_together(&mut half, 2000);
    assert!(half.iter().all(|j| j.verdict == Verdict::Growing));
    // As large as a model, but made of requests.
    let mut cached = [kept(8, 2000, false)];
    judge_together(&mut cached, 2000);
    assert_eq!(cached[0].verdict, Verdict::Growing);
}

#[test]
fn a_container_that_quadruples_is_waited_for() {
    // Full in the cycles 5 and 17: the next time would be cycle 65.
    let lives = [(5, Some(17), 400), (17, Some(65), 1600), (65, None, 6400)];
    assert_eq!(verdict(50, lives), Verdict::Undecided);
    assert_eq!(verdict(140, [lives[0], (17, None, 1600)]), Verdict::Cache);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 300,
        // The same cases each time: a failure repeats.
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..Default::default()
    })]

    #[test]
    fn any_blocks_get_a_verdict_with_a_reason(
        n in 0_u32..120,
        blocks in proptest::collection::vec((1_u32..120, 1_u32..200, 0_u64..1 << 40), 0..60),
    ) {
        let blocks = blocks.into_iter().map(|(born, life, bytes)| {
            (born, (life < 120).then_some(born + life), bytes)
        });
        let j = judge(&series(n, blocks), Terms::fixed(DEFAULT_HORIZON));
        proptest::prop_assert!(!j.reason.is_empty());
    }

    #[test]
    fn what_is_filled_within_the_horizon_is_no_leak_in_whatever_order_it_filled(
        births in proptest::collection::btree_set(1_u32..=DEFAULT_HORIZON, 1..64),
        noise in proptest::collection::vec((1_u32..200, 1_u32..4, 1_u64..1 << 30), 0..100),
        n in 10_u32..200,
    ) {
        let cache = births.into_iter().map(|k| (k, None, 640));
        let churn = noise.into_iter().map(|(k, life, bytes)| (k, Some(k + life), bytes));
        let found = verdict(n, cache.chain(churn));
        proptest::prop_assert_ne!(found, Verdict::Leak);
    }
}

#[test]
fn the_worst_verdict_is_the_greatest() {
    assert_eq!(Verdict::ALL.iter().max(), Some(&Verdict::Leak));
    assert!(Verdict::ALL.is_sorted());
}

/// A log that grows by 500 bytes a cycle in a buffer that doubles, and is shrunk to what it holds
/// every so manyth cycle, up to a number of cycles.
fn shrunk(n: u32, every: u32, until: u32) -> Vec<Life> {
    let (mut held, mut room, mut born) = (0, 0, 1);
    let mut lives = Vec::new();
    for k in 1..=n {
        held += if k <= until { 500 } else { 0 };
        let grown = if held > room { 2 * held } else { room };
        let now = if k % every == 0 { held } else { grown };
        if now != room || k % every == 0 {
            lives.push((born, Some(k), room));
            (room, born) = (now, k);
        }
    }
    lives.push((born, None, room));
    lives
}

#[test]
fn what_is_copied_now_and_then_is_a_leak_though_none_of_it_grows_old() {
    for every in 2..=12 {
        let judged = judge(&series(192, shrunk(192, every, 192)), Terms::fixed(64));
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
fn what_is_copied_now_and_then_and_stops_within_the_horizon_is_none() {
    for every in 2..=12 {
        for until in [10, 30, 60] {
            for n in [80, 120, 192] {
                let found = judge(&series(n, shrunk(n, every, until)), Terms::fixed(64));
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
fn nothing_is_clean_while_what_it_holds_rises() {
    for every in [3, 4, 10] {
        for n in FEWEST_CYCLES..=192 {
            let terms = Terms::at(n, 64);
            let judged = judge(&series(n, shrunk(n, every, n)), terms);
            assert!(
                judged.verdict >= Verdict::Undecided || !judged.settled,
                "every {every}, {n} cycles: {}",
                judged.reason
            );
        }
    }
}

#[test]
fn what_does_not_grow_has_a_slope_that_was_measured() {
    // A buffer that is replaced in each cycle, of a size at random: about 0, within some bounds.
    let mut random = crate::base::random::Random::new(5);
    let buffer = (1..=80).map(|k| (k, Some(k + 1), 1000 + random.below(1000)));
    let judged = judge(&series(80, buffer.collect::<Vec<_>>()), Terms::fixed(64));
    assert_eq!(judged.verdict, Verdict::Churn);
    let slope = judged.bytes_per_cycle.unwrap();
    assert_eq!(slope.value, 0.0);
    assert!(slope.low < 0.0 && slope.high > 0.0, "{slope:?}");
}

/// What two lines hold in turn, of which one grows it and the other one shrinks it to its size
/// every so manyth cycle; up to a number of cycles.
fn handed_over(n: u32, every: u32, until: u32) -> [Vec<Life>; 2] {
    let mut lines = [Vec::new(), Vec::new()];
    let (mut held, mut room, mut born, mut line) = (0, 0, 1, 0);
    for k in 1..=n {
        held += if k <= until { 500 } else { 0 };
        let (now, at) = match k % every == 0 {
            true => (held, 1),
            false if held > room => (2 * held, 0),
            false => (room, line),
        };
        if (now, at) != (room, line) {
            lines[line].push((born, Some(k), room));
            (room, born, line) = (now, k, at);
        }
    }
    lines[line].push((born, None, room));
    lines
}

#[test]
fn what_lines_hand_to_each_other_is_judged_together() {
    let judged = |every, until, n| {
        let call_sites = handed_over(n, every, until).map(|lives| series(n, lives));
        let terms = Terms::fixed(64);
        let mut judged: Vec<Judgement> = call_sites.iter().map(|s| judge(s, terms)).collect();
        judge_handed_over(&mut judged, &call_sites, terms);
        judged.into_iter().max_by_key(|j| j.verdict).unwrap()
    };
    for every in [2, 3, 6, 10] {
        let leak = judged(every, 192, 192);
        assert_eq!(
            leak.verdict,
            Verdict::Leak,
            "every {every}: {}",
            leak.reason
        );
        assert!(
            leak.reason.contains("with what another line (1) hold"),
            "{}",
            leak.reason
        );
        for until in [20, 60] {
            let stopped = judged(every, until, 192);
            assert!(
                !stopped.verdict.is_growth(),
                "every {every}: {}",
                stopped.reason
            );
        }
    }
}

#[test]
fn several_containers_that_double_at_one_line_are_not_clean_while_they_may_go_on() {
    for many in [2, 3, 5, 8] {
        for n in [200, 400] {
            let mut lives: Vec<Life> = Vec::new();
            for which in 0..many {
                let (mut held, mut room, mut born) = (0_u64, 0_u64, 1);
                for k in (1..=n).filter(|k| k % many == which) {
                    held += 100;
                    if held > room {
                        lives.push((born, Some(k), room));
                        (room, born) = (2 * held, k);
                    }
                }
                lives.push((born, None, room));
            }
            let judged = judge(&series(n, lives), Terms::fixed(64));
            assert!(
                judged.verdict >= Verdict::Undecided,
                "{many} in {n}: {}: {}",
                judged.verdict,
                judged.reason
            );
        }
    }
}

#[test]
fn a_level_that_rises_beneath_what_comes_and_goes_grows() {
    let mut random = crate::base::random::Random::new(21);
    let mut level = |rate: u64| -> Vec<u64> {
        (1..=200_u64)
            .map(|k| rate * k + random.below(40_000))
            .collect()
    };
    assert_eq!(
        judge_level(0, &level(2_000), Terms::fixed(64)).verdict,
        Verdict::Leak
    );
    for _ in 0..200 {
        let judged = judge_level(0, &level(0), Terms::fixed(64));
        assert!(!judged.verdict.is_growth(), "{}", judged.reason);
    }
}

#[test]
fn a_queue_that_falls_behind_is_a_leak_however_long_the_run() {
    // Three in, two out, the oldest first: what is taken out has waited ever longer.
    for n in [120, 200, 400_u32] {
        let mut taken = (1..=n).flat_map(|k| [k, k]);
        let _ = taken.next();
        let lives: Vec<Life> = (1..=n)
            .flat_map(|k| [k; 3])
            .map(|born| (born, taken.next().filter(|&k| k > born), 1000))
            .collect();
        let judged = judge(&series(n, lives), Terms::fixed(64));
        assert_eq!(
            judged.verdict,
            Verdict::Leak,
            "{n} cycles: {}",
            judged.reason
        );
        let slope = judged.bytes_per_cycle.unwrap().value;
        assert!((900.0..1100.0).contains(&slope), "{n} cycles: {slope}");
    }
    // One that is emptied for good within the horizon is none.
    let lives = (1..=40).map(|k| (k, Some(k + k / 2 + 1), 1000));
    let judged = judge(&series(200, lives.collect::<Vec<_>>()), Terms::fixed(64));
    assert!(!judged.verdict.is_growth(), "{}", judged.reason);
}

#[test]
fn a_level_that_is_swept_within_the_horizon_never_grows() {
    for every in [10, 40, 55, 63_u64] {
        for n in (70..300_u64).step_by(11) {
            let level: Vec<u64> = (1..=n).map(|k| 9 + k % every).collect();
            let judged = judge_level(9, &level, Terms::fixed(64));
            assert!(
                judged.verdict < Verdict::Undecided,
                "every {every}, {n} cycles: {}",
                judged.reason
            );
            // A sweep that leaves one of each cycle behind hides nothing.
            let level: Vec<u64> = (1..=n).map(|k| 9 + k % every + k).collect();
            let judged = judge_level(9, &level, Terms::fixed(64));
            let what = format!("every {every}, {n} cycles: {}", judged.reason);
            assert!(
                n < 2 * every || judged.verdict >= Verdict::Undecided,
                "{what}"
            );
            assert!(n < 4 * every || judged.verdict.is_growth(), "{what}");
        }
    }
}

#[test]
fn a_noisy_line_hides_nothing_of_what_others_hand_to_each_other() {
    let terms = Terms::fixed(64);
    for seed in 1..=20 {
        let mut random = crate::base::random::Random::new(seed);
        let mut judged = |until: u32| {
            let [one, other] = handed_over(192, 3, until);
            let noise = (1..=192).map(|k| (k, Some(k + 1), random.below(200_000)));
            let lines = [one, noise.collect(), other];
            let call_sites = lines.map(|lives: Vec<Life>| series(192, lives));
            let mut judged: Vec<Judgement> = call_sites.iter().map(|s| judge(s, terms)).collect();
            judge_handed_over(&mut judged, &call_sites, terms);
            judged.into_iter().max_by_key(|j| j.verdict).unwrap()
        };
        let leak = judged(192);
        assert_eq!(leak.verdict, Verdict::Leak, "{seed}: {}", leak.reason);
        let stopped = judged(60);
        assert!(!stopped.verdict.is_growth(), "{seed}: {}", stopped.reason);
    }
}

#[test]
fn a_container_that_many_lines_grow_is_not_clean_while_it_may_go_on() {
    let terms = Terms::fixed(64);
    for many in [2, 3, 5] {
        for seed in 1..=20 {
            let mut random = crate::base::random::Random::new(seed);
            let mut lines = vec![Vec::new(); many];
            let (mut room, mut born, mut line) = (0_u64, 1, 0);
            for k in 1..=192_u32 {
                if u64::from(k) * 20 > room {
                    lines[line].push((born, Some(k), room));
                    (room, born, line) = (2 * u64::from(k) * 20, k, random.index(many));
                }
            }
            lines[line].push((born, None, room));
            let call_sites: Vec<Series> =
                lines.into_iter().map(|lives| series(192, lives)).collect();
            let mut judged: Vec<Judgement> = call_sites.iter().map(|s| judge(s, terms)).collect();
            judge_handed_over(&mut judged, &call_sites, terms);
            let worst = judged.iter().max_by_key(|j| j.verdict).unwrap();
            let what = (many, seed, &worst.reason);
            assert!(worst.verdict >= Verdict::Undecided, "{what:?}");
        }
    }
}
