//! Call sites that hold the same memory in turn.

use super::*;

/// A log in a buffer that doubles, at two call sites. It gains 500 bytes per cycle up to cycle
/// `until`. The first call site grows the buffer, the second shrinks it in every `every`th cycle.
pub(super) fn in_turn(n: u32, every: u32, until: u32) -> [Vec<Block>; 2] {
    let mut sites = [Vec::new(), Vec::new()];
    let (mut size, mut capacity, mut born, mut site) = (0, 0, 1, 0);
    for k in 1..=n {
        size += if k <= until { 500 } else { 0 };
        let (now, at) = match k % every == 0 {
            true => (size, 1),
            false if size > capacity => (2 * size, 0),
            false => (capacity, site),
        };
        if (now, at) != (capacity, site) {
            sites[site].push((born, Some(k), capacity));
            (capacity, born, site) = (now, k, at);
        }
    }
    sites[site].push((born, None, capacity));
    sites
}

#[test]
fn call_sites_that_hold_memory_in_turn_are_judged_as_one() {
    let judged = |every, until, n| {
        let call_sites = in_turn(n, every, until).map(|blocks| series(n, blocks));
        let criteria = Criteria::fixed(64);
        let mut judged: Vec<Judgement> = call_sites.iter().map(|s| judge(s, criteria)).collect();
        judge_pooled(&mut judged, &call_sites, criteria);
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
            leak.reason.contains("together with 1 other call site"),
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
fn a_noisy_call_site_does_not_hide_others_that_hold_memory_in_turn() {
    let criteria = Criteria::fixed(64);
    for seed in 1..=20 {
        let mut random = crate::base::random::Random::new(seed);
        let mut judged = |until: u32| {
            let [one, other] = in_turn(192, 3, until);
            let noise = (1..=192).map(|k| (k, Some(k + 1), random.below(200_000)));
            let sites = [one, noise.collect(), other];
            let call_sites = sites.map(|blocks: Vec<Block>| series(192, blocks));
            let mut judged: Vec<Judgement> =
                call_sites.iter().map(|s| judge(s, criteria)).collect();
            judge_pooled(&mut judged, &call_sites, criteria);
            judged.into_iter().max_by_key(|j| j.verdict).unwrap()
        };
        let leak = judged(192);
        assert_eq!(leak.verdict, Verdict::Leak, "{seed}: {}", leak.reason);
        let stopped = judged(60);
        assert!(!stopped.verdict.is_growth(), "{seed}: {}", stopped.reason);
    }
}

#[test]
fn a_container_that_several_call_sites_grow_is_not_clean() {
    let criteria = Criteria::fixed(64);
    for many in [2, 3, 5] {
        for seed in 1..=20 {
            let mut random = crate::base::random::Random::new(seed);
            let mut sites = vec![Vec::new(); many];
            let (mut capacity, mut born, mut site) = (0_u64, 1, 0);
            for k in 1..=192_u32 {
                if u64::from(k) * 20 > capacity {
                    sites[site].push((born, Some(k), capacity));
                    (capacity, born, site) = (2 * u64::from(k) * 20, k, random.index(many));
                }
            }
            sites[site].push((born, None, capacity));
            let call_sites: Vec<Series> = sites
                .into_iter()
                .map(|blocks| series(192, blocks))
                .collect();
            let mut judged: Vec<Judgement> =
                call_sites.iter().map(|s| judge(s, criteria)).collect();
            judge_pooled(&mut judged, &call_sites, criteria);
            let worst = judged.iter().max_by_key(|j| j.verdict).unwrap();
            let what = (many, seed, &worst.reason);
            assert!(worst.verdict >= Verdict::Undecided, "{what:?}");
        }
    }
}
