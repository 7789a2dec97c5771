//! Levels of the process, which have no generations.

use super::*;

#[test]
fn a_level_that_rises_below_fluctuation_grows() {
    let mut random = crate::base::random::Random::new(21);
    let mut level = |rate: u64| -> Vec<u64> {
        (1..=200_u64)
            .map(|k| rate * k + random.below(40_000))
            .collect()
    };
    assert_eq!(
        judge_level(0, &level(2_000), Criteria::fixed(64)).verdict,
        Verdict::Leak
    );
    for _ in 0..200 {
        let judged = judge_level(0, &level(0), Criteria::fixed(64));
        assert!(!judged.verdict.is_growth(), "{}", judged.reason);
    }
}

#[test]
fn a_level_that_is_swept_within_the_horizon_does_not_grow() {
    for every in [10, 40, 55, 63_u64] {
        for n in (70..300_u64).step_by(11) {
            let level: Vec<u64> = (1..=n).map(|k| 9 + k % every).collect();
            let judged = judge_level(9, &level, Criteria::fixed(64));
            assert!(
                judged.verdict < Verdict::Undecided,
                "every {every}, {n} cycles: {}",
                judged.reason
            );
            // Each sweep leaves one unit per cycle: growth.
            let level: Vec<u64> = (1..=n).map(|k| 9 + k % every + k).collect();
            let judged = judge_level(9, &level, Criteria::fixed(64));
            let what = format!("every {every}, {n} cycles: {}", judged.reason);
            assert!(
                n < 2 * every || judged.verdict >= Verdict::Undecided,
                "{what}"
            );
            assert!(n < 4 * every || judged.verdict.is_growth(), "{what}");
        }
    }
}
