//! Growth that becomes rarer: of pools and caches beyond the horizon, and of the leaks that look like it.

use super::*;
use crate::base::random::Random;

const LENGTHS: [u32; 3] = [80, 197, 597];

/// How many of 100 call sites are called a leak after `n` cycles.
fn leaks(n: u32, blocks: impl Fn(&mut Random) -> Vec<Block>) -> usize {
    let is_leak = |&seed: &u64| verdict(n, blocks(&mut Random::new(seed))) == Verdict::Leak;
    (0..100).filter(is_leak).count()
}

/// A block of `bytes` in each of these cycles.
fn kept(at: impl Iterator<Item = u32>, bytes: u64) -> Vec<Block> {
    at.map(|k| (k, None, bytes)).collect()
}

#[test]
fn a_pool_that_keeps_what_rare_peaks_needed_is_no_leak() {
    let pool = |n: u32, r: &mut Random| {
        let mut blocks = Vec::new();
        for k in -2..=i64::from(n) {
            let mut needed = 1;
            while needed < 31 && r.below(3) == 0 {
                needed += 1 + r.below(2) as usize;
            }
            while blocks.len() < needed {
                blocks.push((k.max(0) as u32, None, 512));
            }
        }
        blocks
    };
    for n in LENGTHS {
        assert_eq!(leaks(n, |r| pool(n, r)), 0, "{n} cycles");
    }
    let sparse = |r: &mut Random| kept((1..=197).filter(|_| r.below(8) == 0), 512);
    let found = leaks(197, sparse);
    assert!(found >= 95, "{found} of 100 leaks in 1 of 8 cycles");
}

#[test]
fn a_cache_of_equal_entries_some_of_which_are_rare_is_no_leak() {
    let ring = |n: u32, r: &mut Random| {
        let mut seen = [false; 400];
        let mut is_new = || {
            let key = (r.below(400) as f64 * r.unit()) as usize;
            !std::mem::replace(&mut seen[key], true)
        };
        kept((1..=n).filter(|_| is_new()), 100)
    };
    for (n, most) in LENGTHS.into_iter().zip([15, 10, 5]) {
        let found = leaks(n, |r| ring(n, r));
        assert!(found <= most, "{n} cycles: {found} of 100");
    }
    // The twin: a leak at a constant rate beside a cache that is full within the horizon.
    let leak = |n: u32, r: &mut Random| {
        let mut seen = [false; 20];
        let is_new = |_: &u32| !std::mem::replace(&mut seen[r.index(20)], true);
        let cached: Vec<u32> = (1..=64).filter(is_new).collect();
        let leaked: Vec<u32> = (1..=n).filter(|_| r.below(3) == 0).collect();
        kept(cached.into_iter().chain(leaked), 100)
    };
    for (n, least) in [(197, 70), (597, 95)] {
        let found = leaks(n, |r| leak(n, r));
        assert!(found >= least, "{n} cycles: {found} of 100 leaks");
    }
}

/// Tables of 40 bytes for each entry that double, one for each of `filled`, which says whether it gains
/// an entry in a cycle.
fn tables(n: u32, filled: &mut [Box<dyn FnMut(u32) -> bool + '_>]) -> Vec<Block> {
    let mut blocks = Vec::new();
    for gains in filled {
        let (mut entries, mut capacity, mut born) = (0, 4, 0);
        for k in -2..=i64::from(n) {
            entries += u64::from(gains((k + 3) as u32));
            if entries > capacity {
                let now = k.max(0) as u32;
                blocks.push((born, Some(now), 40 * capacity));
                (capacity, born) = (2 * capacity, now);
            }
        }
        blocks.push((born, None, 40 * capacity));
    }
    blocks
}

/// The tables of eight workers, each of which is asked for one of `keys` keys in each cycle.
fn workers(n: u32, keys: usize, r: &mut Random) -> Vec<Block> {
    let mut all = Vec::new();
    for _ in 0..8 {
        let mut seen = vec![false; keys];
        let gains = |_| !std::mem::replace(&mut seen[r.index(keys)], true);
        all.extend(tables(n, &mut [Box::new(gains)]));
    }
    all
}

#[test]
fn tables_that_fill_ever_more_slowly_are_no_leak() {
    for (n, most) in LENGTHS.into_iter().zip([0, 8, 0]) {
        let found = leaks(n, |r| workers(n, 100, r));
        assert!(found <= most, "{n} cycles: {found} of 100");
    }
    let slow = |seed: u64| {
        let blocks = workers(197, 100, &mut Random::new(seed));
        judge(&series(197, blocks), Criteria::fixed(64))
    };
    let slower = (0..100).map(slow).find(|j| j.verdict == Verdict::Growing);
    let slower = slower.expect("most of them are growing");
    assert_eq!(slower.evidence.rule, Rule::Slower);
    assert!(
        slower.reason.contains("ever more slowly"),
        "{}",
        slower.reason
    );
    // The twin: of so many keys that none is asked for twice.
    let found = leaks(197, |r| workers(197, 1_000_000, r));
    assert!(found >= 95, "{found} of 100 leaks");
}

#[test]
fn the_rate_of_tables_that_double_is_that_of_their_entries() {
    for many in [1, 2, 3, 4, 8] {
        for n in [120, 147, 197, 297, 400, 597] {
            let mut filled: Vec<Box<dyn FnMut(u32) -> bool>> = Vec::new();
            let mut truth = 0.0;
            for which in 0..many {
                let every = 1 + which % 4;
                filled.push(Box::new(move |k| k % every == 0));
                truth += 40.0 / f64::from(every);
            }
            let judged = judge(&series(n, tables(n, &mut filled)), Criteria::fixed(64));
            let rate = judged.bytes_per_cycle.unwrap();
            let is_near = (0.9 * truth..1.2 * truth).contains(&rate.value);
            let is_within = rate.low <= truth * 1.01 && truth <= rate.high;
            assert!(is_near && is_within, "{many} in {n}: {truth}, {rate:?}");
            // What they have room for is at most twice what they hold.
            let room = *series(n, tables(n, &mut filled)).bytes.last().unwrap() as f64;
            assert!(room <= rate.high * f64::from(n) * 1.01, "{room}: {rate:?}");
        }
    }
}

#[test]
fn tables_are_not_clean_before_the_next_step_is_overdue() {
    // They gain an entry in each, each second, third and fourth cycle.
    let four = |n: u32, stops: u32| {
        let gains = |every: u32| move |k: u32| k.is_multiple_of(every) && k <= stops;
        let mut filled: [Box<dyn FnMut(u32) -> bool>; 4] = [
            Box::new(gains(1)),
            Box::new(gains(2)),
            Box::new(gains(3)),
            Box::new(gains(4)),
        ];
        verdict(n, tables(n, &mut filled))
    };
    for n in 16..200 {
        let found = four(n, u32::MAX);
        assert!(found >= Verdict::Undecided, "{n} cycles: {found}");
    }
    for stops in [10, 20, 40, 64] {
        let found = four(200, stops);
        assert!(found < Verdict::Undecided, "stopped in {stops}: {found}");
    }
}
