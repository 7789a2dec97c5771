//! How often the classifier is right: seeded synthetic call sites of known truth, judged as a run of
//! 80 and of 192 cycles judges them, and as a run does that ends by itself.
//!
//! `cargo bench --no-default-features --bench verdict` prints the confusion matrix of each, false
//! alarms per thousand call sites that do not leak, and the cycles to a decision, and exits with 1 if a
//! target is missed. The same seeds give the same numbers on every machine.

use std::process::ExitCode;

use afterdrop::Verdict;
use afterdrop::bench::{Life, Random, judge, judge_until_settled};

const HORIZON: u32 = 64;
/// Cycles after the warm-up of a run of the default length of a check, and of the longest run that
/// ends by itself.
const SHORT: u32 = 80;
const LONG: u32 = 192;
/// Bytes of a model, where one is loaded.
const MODEL: u64 = 1 << 20;
/// Call sites of each kind under each noise.
const SEEDS: u64 = 200;

/// What a call site does.
#[derive(Clone, Copy, PartialEq)]
enum Truth {
    /// It grows for ever.
    Leak,
    /// It grows for ever, so slowly beside what comes and goes that a run may end undecided.
    Hidden,
    /// It stops, or gives back, within the horizon.
    Bounded,
    /// It is bounded, but fills for longer than the horizon, ever more slowly: what the horizon
    /// does not promise. At most so many of a hundred may be called a leak.
    Beyond(u32),
}

/// A kind of call site: its name, its truth, and its blocks in so many cycles.
struct Kind {
    name: &'static str,
    truth: Truth,
    blocks: fn(u32, &mut Random) -> Vec<Life>,
    /// Bytes that are live in each cycle before the drop, these blocks among them; 0 if nothing is
    /// loaded.
    loaded: u64,
    /// What is kept is copied at least every twelfth cycle, so that no block of it stays.
    is_copied: bool,
}

impl Kind {
    /// Some bytes more of a block, among megabytes at the same line: no line of numbers shows that.
    fn is_hidden_by(&self, noise: &Noise) -> bool {
        let is_heavy = noise.name.contains("heavy");
        let is_light = noise.name.contains("young");
        match self.name {
            "leak of a block that grows" | "registry, copied now and then" => is_heavy,
            "log, shrunk now and then" => is_heavy || is_light,
            _ => false,
        }
    }
}

fn leak_every(n: u32, every: u32, first: u32) -> Vec<Life> {
    (first..=n)
        .step_by(every as usize)
        .map(|k| (k, None, 16))
        .collect()
}

fn sweep(n: u32, period: u32, offset: u32) -> Vec<Life> {
    (1..=n)
        .map(|k| (k, Some((k + offset).next_multiple_of(period) - offset), 900))
        .collect()
}

/// A sweep of some period within the horizon, which began at some time.
fn some_sweep(n: u32, r: &mut Random) -> Vec<Life> {
    let period = 2 + r.below(u64::from(HORIZON) - 2) as u32;
    sweep(n, period, r.below(u64::from(period)) as u32)
}

/// A cache that takes one entry a cycle until it holds so many, at most the horizon.
fn filling(bytes: u64, r: &mut Random) -> Vec<Life> {
    let size = 1 + r.below(u64::from(HORIZON)) as u32;
    (1..=size).map(|k| (k, None, bytes)).collect()
}

/// One entry a cycle, each of which lives for as many cycles, at most so many.
fn evicting(n: u32, most: u64, bytes: u64, r: &mut Random) -> Vec<Life> {
    let size = 1 + r.below(most) as u32;
    (1..=n).map(|k| (k, Some(k + size), bytes)).collect()
}

/// A cache that is asked for one of so many keys in each cycle, as long as anybody asks.
fn random_keys(asked: u32, keys: u64, r: &mut Random) -> Vec<Life> {
    let mut seen = std::collections::BTreeSet::new();
    let new = (1..=asked).filter(|_| seen.insert(r.below(keys)));
    new.map(|k| (k, None, 640)).collect()
}

/// A registry to which an entry of 200 bytes is added in each cycle, and of which every so manyth
/// cycle a copy is made that takes its place, with the newest `most` entries. Its buffer doubles.
fn copied(n: u32, every: u32, most: usize) -> Vec<Life> {
    let (mut entries, mut room, mut buffer) = (Vec::new(), 0, 1);
    let mut lives = Vec::new();
    for k in 1..=n {
        entries.push(k);
        if entries.len() > room {
            lives.push((buffer, Some(k), 24 * room as u64));
            (room, buffer) = ((2 * room).max(4), k);
        }
        if k % every == 0 {
            lives.extend(entries.iter().map(|&born| (born, Some(k), 200)));
            lives.push((buffer, Some(k), 24 * room as u64));
            room = entries.len().min(most);
            (entries, buffer) = (vec![k; room], k);
        }
    }
    lives.extend(entries.into_iter().map(|born| (born, None, 200)));
    lives.push((buffer, None, 24 * room as u64));
    lives
}

/// A log that grows by 500 bytes a cycle in a buffer that doubles, and is shrunk to what it holds
/// every so manyth cycle.
fn shrunk(n: u32, every: u32) -> Vec<Life> {
    let (mut held, mut room, mut born) = (0, 0, 1);
    let mut lives = Vec::new();
    for k in 1..=n {
        held += 500;
        let grown = if held > room { 2 * held } else { room };
        let now = if k % every == 0 { held } else { grown };
        if now != room {
            lives.push((born, Some(k), room));
            (room, born) = (now, k);
        }
    }
    lives.push((born, None, room));
    lives
}

/// Sessions whose number goes up and down like day and night, the oldest or the newest of which end
/// first; one in every `forgotten` cycles is never freed, if that is not 0.
fn waves(n: u32, period: u32, oldest_first: bool, forgotten: u32) -> Vec<Life> {
    let mut open = std::collections::VecDeque::new();
    let mut lives = Vec::new();
    for k in 1..=n {
        let phase = f64::from(k) * std::f64::consts::TAU / f64::from(period);
        let wanted = (30.0 + 25.0 * phase.sin()) as usize;
        while open.len() > wanted {
            let ends = if oldest_first {
                open.pop_front()
            } else {
                open.pop_back()
            };
            lives.extend(ends.map(|born| (born, Some(k), 900)));
        }
        while open.len() < wanted {
            open.push_back(k);
        }
        if forgotten != 0 && k % forgotten == 0 {
            lives.push((k, None, 900));
        }
    }
    lives.extend(open.into_iter().map(|born| (born, None, 900)));
    lives
}

/// Entries that are swept every `period` cycles, all but `kept` of each period, in a buffer that
/// doubles.
fn compacted(n: u32, period: u32, kept: u32) -> Vec<Life> {
    let (mut held, mut room, mut buffer) = (0, 0, 1);
    let mut lives = Vec::new();
    for k in 1..=n {
        held += 1;
        if held > room {
            lives.push((buffer, Some(k), 32 * room));
            (room, buffer) = ((2 * room).max(4), k);
        }
        let place = (k - 1) % period;
        let sweep = k - place + period - 1;
        lives.push((k, (place >= kept).then_some(sweep), 700));
        if k == sweep {
            held -= u64::from(period - kept);
        }
    }
    lives.push((buffer, None, 32 * room));
    lives
}

const KINDS: &[Kind] = &[
    Kind {
        name: "leak every cycle",
        truth: Truth::Leak,
        blocks: |n, _| leak_every(n, 1, 1),
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "leak every 2 to 5",
        truth: Truth::Leak,
        blocks: |n, r| {
            let every = 2 + r.below(4) as u32;
            leak_every(n, every, 1 + r.below(u64::from(every)) as u32)
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "leak every tenth",
        truth: Truth::Leak,
        blocks: |n, r| leak_every(n, 10, 1 + r.below(10) as u32),
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "leak at random, 1 in 3",
        truth: Truth::Leak,
        blocks: |n, r| {
            let births = (1..=n).filter(|_| r.below(3) == 0);
            births.map(|k| (k, None, 64)).collect()
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "leak of a block that grows",
        truth: Truth::Leak,
        blocks: |n, _| {
            (1..=n)
                .map(|k| (k, Some(k + 1), 64 * u64::from(k)))
                .collect()
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "leak from cycle 31 on",
        truth: Truth::Leak,
        blocks: |n, _| leak_every(n, 1, 31),
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "leak and a late cache",
        truth: Truth::Leak,
        blocks: |n, r| {
            let mut lives = leak_every(n, 1, 1);
            lives.extend((1..=1 + r.below(40) as u32).map(|k| (k, None, 4096)));
            lives
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "registry, copied now and then",
        truth: Truth::Leak,
        blocks: |n, r| copied(n, 2 + r.below(11) as u32, usize::MAX),
        loaded: 0,
        is_copied: true,
    },
    Kind {
        name: "log, shrunk now and then",
        truth: Truth::Leak,
        blocks: |n, r| shrunk(n, 2 + r.below(11) as u32),
        loaded: 0,
        is_copied: true,
    },
    Kind {
        name: "leak beneath waves of 30 to 60",
        truth: Truth::Hidden,
        blocks: |n, r| {
            let (period, forgotten) = (30 + r.below(31) as u32, 1 + r.below(8) as u32);
            waves(n, period, r.below(2) == 0, forgotten)
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "sweep that keeps some",
        truth: Truth::Hidden,
        blocks: |n, r| {
            let period = 3 + r.below(20) as u32;
            compacted(n, period, 1 + r.below(u64::from(period) / 2) as u32)
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "nothing but noise",
        truth: Truth::Bounded,
        blocks: |_, _| Vec::new(),
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "cache, one a cycle",
        truth: Truth::Bounded,
        blocks: |_, r| filling(640, r),
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "cache, keys at random",
        truth: Truth::Bounded,
        blocks: |_, r| {
            // The last new one comes within the horizon.
            let keys = 2 + r.below(20);
            random_keys(HORIZON, keys, r)
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "cache, oldest evicted",
        truth: Truth::Bounded,
        blocks: |n, r| evicting(n, 40, 700, r),
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "cache, evicts in bursts",
        truth: Truth::Bounded,
        blocks: |n, r| {
            // Holds up to `most`, then throws all but `least` away.
            let most = 4 + r.below(28) as usize;
            let least = r.below(most as u64 / 2) as usize;
            let (mut held, mut lives) = (Vec::new(), Vec::new());
            for k in 1..=n {
                held.push(k);
                if held.len() > most {
                    let gone = held.len() - least;
                    lives.extend(held.drain(..gone).map(|b| (b, Some(k + 1), 500)));
                }
            }
            lives.extend(held.into_iter().map(|b| (b, None, 500)));
            lives
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "sweep within the horizon",
        truth: Truth::Bounded,
        blocks: some_sweep,
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "backlog of 1 to 6",
        truth: Truth::Bounded,
        blocks: |n, r| evicting(n, 6, MODEL, r),
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "lives of random length",
        truth: Truth::Bounded,
        blocks: |n, r| {
            let mean = 1.0 + 9.0 * r.unit();
            (1..=n)
                .map(|k| {
                    let life = (-mean * (1.0 - r.unit()).ln()).min(40.0);
                    (k, Some(k + 1 + life as u32), 10)
                })
                .collect()
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "a vector that doubles",
        truth: Truth::Bounded,
        blocks: |_, r| {
            let doublings = 1 + r.below(6) as u32;
            let grown = (0..doublings).map(|i| (1 << i, Some(2 << i), 64 << i));
            grown
                .chain([(1 << doublings, None, 64 << doublings)])
                .collect()
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "one late initialisation",
        truth: Truth::Bounded,
        blocks: |_, r| vec![(1 + r.below(u64::from(HORIZON)) as u32, None, 336)],
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "a pool grows to its cap",
        truth: Truth::Bounded,
        blocks: |_, r| {
            let mut at = 1;
            let mut lives = Vec::new();
            while at <= HORIZON && lives.len() < 16 {
                lives.push((at, None, 8192));
                at += 1 + r.below(6) as u32;
            }
            lives
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "a leak that was stopped",
        truth: Truth::Bounded,
        blocks: |_, r| leak_every(20 + r.below(u64::from(HORIZON) - 20) as u32, 1, 1),
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "registry of a size, copied",
        truth: Truth::Bounded,
        blocks: |n, r| {
            let every = 2 + r.below(11) as u32;
            copied(n, every, 1 + r.below(u64::from(HORIZON - every)) as usize)
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "waves of 10 to 50",
        truth: Truth::Bounded,
        blocks: |n, r| waves(n, 10 + r.below(41) as u32, r.below(2) == 0, 0),
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "leak of whole models",
        truth: Truth::Leak,
        blocks: |n, _| (1..=n).map(|k| (k, None, MODEL)).collect(),
        loaded: MODEL + MODEL / 20,
        is_copied: false,
    },
    Kind {
        name: "cache beside a small model",
        truth: Truth::Bounded,
        blocks: |_, r| filling(8 * MODEL, r),
        loaded: 9 * MODEL,
        is_copied: false,
    },
    Kind {
        name: "evicting beside a small model",
        truth: Truth::Bounded,
        blocks: |n, r| evicting(n, 40, 8 * MODEL, r),
        loaded: 9 * MODEL,
        is_copied: false,
    },
    Kind {
        name: "sweep beside a small model",
        truth: Truth::Bounded,
        blocks: some_sweep,
        loaded: 1012,
        is_copied: false,
    },
    Kind {
        name: "backlog of 1 to 6 models",
        truth: Truth::Bounded,
        blocks: |n, r| evicting(n, 6, MODEL, r),
        loaded: MODEL,
        is_copied: false,
    },
    Kind {
        name: "cache of 20 to 60 random keys",
        truth: Truth::Beyond(5),
        blocks: |n, r| {
            let keys = 20 + r.below(41);
            random_keys(n, keys, r)
        },
        loaded: 0,
        is_copied: false,
    },
    Kind {
        name: "cache of 61 to 200 random keys",
        truth: Truth::Beyond(100),
        blocks: |n, r| {
            let keys = 61 + r.below(140);
            random_keys(n, keys, r)
        },
        loaded: 0,
        is_copied: false,
    },
];

fn random(seed: u64) -> Random {
    Random::new(seed.wrapping_mul(0x0005_DEEC_E66D).wrapping_add(11))
}

/// What happens at the same call site besides.
struct Noise {
    name: &'static str,
    add: fn(u32, &mut Random, &mut Vec<Life>),
}

const NOISES: &[Noise] = &[
    Noise {
        name: "none",
        add: |_, _, _| {},
    },
    Noise {
        name: "young blocks now and then",
        add: |n, r, lives| {
            for k in 1..=n {
                if r.below(4) == 0 {
                    lives.push((k, Some(k + 1), 1 + r.below(1 << 20)));
                }
            }
        },
    },
    Noise {
        name: "heavy churn, lives up to 3",
        add: |n, r, lives| {
            for k in 1..=n {
                for _ in 0..1 + r.below(5) {
                    lives.push((k, Some(k + r.below(4) as u32), 1 + r.below(50 << 20)));
                }
            }
        },
    },
];

/// Of all call sites of one kind under one noise.
#[derive(Default)]
struct Tally {
    verdicts: [u32; Verdict::ALL.len()],
    cycles: Vec<u32>,
    /// Call sites that leaked, had shown it in five generations, and were cleared.
    cleared: u32,
}

impl Tally {
    fn count(&mut self, verdict: Verdict, cycles: u32) {
        self.verdicts[verdict as usize] += 1;
        self.cycles.push(cycles);
    }

    fn of(&self, verdict: Verdict) -> u32 {
        self.verdicts[verdict as usize]
    }

    fn all(&self) -> u32 {
        self.verdicts.iter().sum()
    }

    fn percentile(&mut self, percent: usize) -> u32 {
        self.cycles.sort_unstable();
        let last = self.cycles.len().saturating_sub(1);
        self.cycles.get(last * percent / 100).copied().unwrap_or(0)
    }
}

/// How a call site is judged: the verdict and after how many cycles.
type Judge = fn(&Kind, &dyn Fn(u32) -> Vec<Life>) -> (Verdict, u32);

const RUNS: &[(&str, Judge)] = &[
    ("80 cycles", |_, lives| (judge(SHORT, &lives(SHORT)), SHORT)),
    ("192 cycles", |_, lives| (judge(LONG, &lives(LONG)), LONG)),
    ("until settled, 192 at most", |kind, lives| {
        let (n, verdict, _) = judge_until_settled(LONG, &lives(LONG), kind.loaded);
        (verdict, n)
    }),
];

fn main() -> ExitCode {
    let mut missed = Vec::new();
    let mut judged = 0;
    for (run, judge) in RUNS {
        println!(
            "\n{run}, horizon {HORIZON}; {SEEDS} sites of each kind under each of {} noises",
            NOISES.len()
        );
        println!(
            "{:<28} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}   cycles: median, 95 %",
            "", "leak", "grow", "undec", "cache", "churn", "warm"
        );
        let (mut bounded, mut alarms) = (0, 0);
        for kind in KINDS {
            let mut all = Tally::default();
            for noise in NOISES {
                let mut tally = Tally::default();
                for seed in 0..SEEDS {
                    let lives = |n| {
                        let mut random = random(seed);
                        let mut lives = (kind.blocks)(n, &mut random);
                        (noise.add)(n, &mut random, &mut lives);
                        lives
                    };
                    let (verdict, cycles) = judge(kind, &lives);
                    tally.count(verdict, cycles);
                    all.count(verdict, cycles);
                    let leaked = (kind.blocks)(cycles, &mut random(seed));
                    let shown = kind.is_copied && cycles >= 60 || shows(&leaked);
                    tally.cleared += u32::from(shown && verdict < Verdict::Undecided);
                }
                judged += tally.all();
                if kind.truth == Truth::Bounded {
                    bounded += tally.all();
                    alarms += tally.of(Verdict::Leak);
                }
                for miss in misses(run, kind, noise, &mut tally) {
                    missed.push(miss);
                }
            }
            let columns = [
                Verdict::Leak,
                Verdict::Growing,
                Verdict::Undecided,
                Verdict::Cache,
                Verdict::Churn,
                Verdict::WarmUp,
            ];
            let columns = columns.map(|v| format!("{:>6}", all.of(v))).join(" ");
            println!(
                "{:<28} {columns}   {:>6} {:>6}",
                kind.name,
                all.percentile(50),
                all.percentile(95)
            );
        }
        println!(
            "called a leak and is none: {:.2} of 1000 sites",
            1000.0 * f64::from(alarms) / f64::from(bounded)
        );
    }
    println!("\n{judged} series judged; {} targets missed", missed.len());
    for miss in &missed {
        println!("missed: {miss}");
    }
    ExitCode::from(u8::from(!missed.is_empty()))
}

/// Whether five blocks that never go were born one after the other.
fn shows(lives: &[Life]) -> bool {
    let staying = lives.iter().filter(|&&(_, dies, _)| dies.is_none());
    staying.count() >= 5
}

/// The targets that a tally misses.
fn misses(run: &str, kind: &Kind, noise: &Noise, tally: &mut Tally) -> Vec<String> {
    let all = tally.all();
    let mut missed = Vec::new();
    let mut target = |holds: bool, what: String| {
        if !holds {
            missed.push(format!(
                "{run}, {}, noise: {}: {what}",
                kind.name, noise.name
            ));
        }
    };
    let full = run.starts_with("192");
    let auto = run.starts_with("until");
    match kind.truth {
        Truth::Bounded => {
            let leaks = tally.of(Verdict::Leak);
            target(leaks == 0, format!("{leaks} of {all} called a leak"));
        }
        Truth::Beyond(percent) => {
            let leaks = tally.of(Verdict::Leak);
            let holds = leaks * 100 <= all * percent;
            target(holds, format!("{leaks} of {all} called a leak"));
        }
        Truth::Hidden => {
            let cleared = tally.cleared;
            target(cleared == 0, format!("{cleared} of {all} called clean"));
        }
        Truth::Leak => {
            if kind.is_hidden_by(noise) {
                return Vec::new();
            }
            let cleared = tally.cleared;
            target(cleared == 0, format!("{cleared} of {all} called clean"));
            if full {
                let leaks = tally.of(Verdict::Leak);
                target(leaks == all, format!("only {leaks} of {all} called a leak"));
            }
            if auto && kind.name == "leak every cycle" {
                let most = if noise.name == "none" { 4 } else { 16 };
                let last = tally.percentile(100);
                target(
                    last <= HORIZON + most,
                    format!(
                        "called {} cycles after the horizon",
                        last.saturating_sub(HORIZON)
                    ),
                );
            }
        }
    }
    if auto && kind.name == "leak of whole models" {
        let last = tally.percentile(100);
        target(last <= 8, format!("called after {last} cycles"));
    }
    if full && matches!(kind.truth, Truth::Leak | Truth::Bounded) {
        let undecided = tally.of(Verdict::Undecided);
        target(
            undecided * 100 <= all,
            format!("{undecided} of {all} undecided"),
        );
    }
    missed
}
