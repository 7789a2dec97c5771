use super::copied::shrunk;
use super::pooled::in_turn;
use super::*;
#[test]
fn dump_all() {
    use std::fmt::Write as _;
    let mut out = String::new();
    let mut say = |what: &str, j: &Judgement| {
        let e = &j.evidence;
        let _ = writeln!(
            out,
            "{what} {} {} {:?} {:?} {}",
            j.verdict,
            j.settled,
            j.bytes_per_cycle,
            j.blocks_per_cycle,
            serde_json::to_string(e).unwrap()
        );
    };
    for seed in 0..3000_u64 {
        let mut r = crate::base::random::Random::new(seed.wrapping_mul(77).wrapping_add(5));
        let n = [5, 8, 9, 12, 16, 24, 40, 60, 68, 80, 96, 120, 160, 192, 300][r.index(15)] as u32;
        let sites = 1 + r.index(4);
        let mut lives: Vec<Vec<Block>> = vec![Vec::new(); sites];
        let parts = 1 + r.index(3);
        for _ in 0..parts {
            let at = r.index(sites);
            let from = 1 + r.below(u64::from(n)) as u32 / (1 + r.below(6) as u32);
            let to = n.min(from + r.below(u64::from(n)) as u32 * (r.below(2) as u32 * 3));
            let every = [1, 1, 1, 2, 3, 5, 10][r.index(7)];
            let shift = [4, 10, 20][r.index(3)];
            let bytes = 1 + r.below(1 << shift);
            match r.below(9) {
                0 => lives[at].extend((from..=to).step_by(every).map(|k| (k, None, bytes))),
                1 => {
                    let life = 1 + r.below(50) as u32;
                    lives[at].extend(
                        (from..=to)
                            .step_by(every)
                            .map(|k| (k, Some(k + life), bytes)),
                    )
                }
                2 => {
                    let p = 2 + r.below(60) as u32;
                    lives[at]
                        .extend((from..=to).map(|k| (k, Some((k + 1).next_multiple_of(p)), bytes)))
                }
                3 => lives[at].extend((from..=to).map(|k| (k, Some(k + 1), bytes * u64::from(k)))),
                4 => {
                    for k in from..=to {
                        for _ in 0..1 + r.below(3) {
                            lives[at].push((k, Some(k + r.below(4) as u32), 1 + r.below(1 << 20)));
                        }
                    }
                }
                5 => {
                    let mut seen = std::collections::BTreeSet::new();
                    let keys = 10 + r.below(100);
                    for k in 1..=n {
                        if seen.insert(r.below(keys)) {
                            lives[at].push((k, None, bytes));
                        }
                    }
                }
                6 => {
                    let every = 2 + r.below(11) as u32;
                    let until = if r.below(2) == 0 { n } else { n / 3 };
                    lives[at].extend(shrunk(n, every, until))
                }
                7 => {
                    // a container that doubles, handed to a random site each time
                    let (mut room, mut born, mut line) = (0_u64, 1, at);
                    for k in 1..=n {
                        if u64::from(k) * bytes > room {
                            lives[line].push((born, Some(k), room));
                            (room, born, line) = (2 * u64::from(k) * bytes, k, r.index(sites));
                        }
                    }
                    lives[line].push((born, None, room));
                }
                _ => {
                    let [a, b] = in_turn(
                        n,
                        2 + r.below(9) as u32,
                        if r.below(2) == 0 { n } else { n / 3 },
                    );
                    let other = r.index(sites);
                    lives[at].extend(a);
                    lives[other].extend(b);
                }
            }
        }
        let terms = if r.below(2) == 0 {
            Criteria::fixed(64)
        } else {
            Criteria::interim(n, [64, 16, 128][r.index(3)])
        };
        let mut all: Vec<Series> = lives.iter().map(|l| series(n, l.iter().copied())).collect();
        for s in &mut all {
            s.from_load = r.below(2) == 0;
            if r.below(4) == 0 {
                s.warmup_lifetime = r.below(40) as u32;
            }
        }
        let mut judged: Vec<Judgement> = all.iter().map(|s| judge(s, terms)).collect();
        for j in &judged {
            say("one", j);
        }
        judge_model_sized(&mut judged, [0, bytes_of(&all), 1 << 20][r.index(3)]);
        for j in &judged {
            say("model", j);
        }
        judge_pooled(&mut judged, &all, terms);
        for j in &judged {
            say("pooled", j);
        }
        for j in &judged {
            say("sampled", &crate::analysis::sampling::undecided_if_too_few(j.clone(), n));
        }
        for j in &mut judged {
            j.call_lost(r.below(8) as u32);
        }
        for j in &judged {
            say("lost", j);
        }
        for s in &all {
            say("level", &judge_level(r.below(1 << 16), &s.bytes, terms));
        }
        say(
            "noise",
            &judge_level(
                0,
                &(0..n)
                    .map(|k| r.below(1000) + u64::from(k) * r.below(40))
                    .collect::<Vec<_>>(),
                terms,
            ),
        );
    }
    std::fs::write(std::env::var("DUMP").unwrap(), out).unwrap();
}
#[cfg(test)]
fn bytes_of(all: &[Series]) -> u64 {
    all.iter()
        .filter_map(|s| s.generations.first())
        .map(|g| g.bytes)
        .sum()
}
