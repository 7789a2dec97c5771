//! How often the classifier is right, on seeded synthetic call sites of known truth.
//!
//! Each is judged as a run of 80 cycles, as one of 192 cycles, and as one that ends by itself; what fills
//! beyond the horizon also as one of 600 cycles. Words after `--` choose kinds by a part of their names.
//! `cargo bench --no-default-features --features cli --bench verdict` prints for each of them the
//! confusion matrix, the false alarms per thousand call sites that do not leak, and the cycles to a
//! decision. It exits with 1 if a target is missed. The numbers are the same on every machine.

use std::process::ExitCode;

use afterdrop::Verdict;
use afterdrop::bench::{Block, Random, judge, judge_until_settled};

use kinds::{KINDS, Kind, Truth};
use noise::{NOISES, Noise};

mod generators;
mod kinds;
mod noise;

const HORIZON: u32 = 64;
/// Cycles after the warm-up of a check of the default length.
const SHORT: u32 = 80;
/// Cycles after the warm-up of the longest run that ends by itself.
const LONG: u32 = 192;
/// Cycles after the warm-up of a run that shows how what fills ever more slowly goes on.
const LONGEST: u32 = 600;
/// Bytes of a model.
const MODEL: u64 = 1 << 20;
/// Call sites of each kind with each noise.
const SEEDS: u64 = 200;

/// How a call site is judged: the verdict, and after how many cycles.
type Judge = fn(&Kind, &dyn Fn(u32) -> Vec<Block>) -> (Verdict, u32);

/// A length of runs.
struct Run {
    name: &'static str,
    judge: Judge,
    /// Long enough for every leak to be called.
    is_full: bool,
    /// It ends by itself.
    is_auto: bool,
    /// The kinds that are judged by it.
    is_for: fn(&Kind) -> bool,
}

const RUNS: [Run; 4] = [
    Run {
        name: "80 cycles",
        judge: |_, blocks| (judge(SHORT, &blocks(SHORT)), SHORT),
        is_full: false,
        is_auto: false,
        is_for: |_| true,
    },
    Run {
        name: "192 cycles",
        judge: |_, blocks| (judge(LONG, &blocks(LONG)), LONG),
        is_full: true,
        is_auto: false,
        is_for: |_| true,
    },
    Run {
        name: "until settled, 192 at most",
        judge: |kind, blocks| {
            let (n, verdict, _) = judge_until_settled(LONG, &blocks(LONG), kind.loaded);
            (verdict, n)
        },
        is_full: false,
        is_auto: true,
        is_for: |_| true,
    },
    Run {
        name: "600 cycles, what fills ever more slowly",
        judge: |_, blocks| (judge(LONGEST, &blocks(LONGEST)), LONGEST),
        is_full: false,
        is_auto: false,
        is_for: |kind| matches!(kind.truth, Truth::Beyond(_)),
    },
];

/// The verdicts in the order of the columns.
const COLUMNS: [Verdict; 6] = [
    Verdict::Leak,
    Verdict::Growing,
    Verdict::Undecided,
    Verdict::Cache,
    Verdict::Churn,
    Verdict::WarmUp,
];

/// The results for all call sites of one kind with one noise.
#[derive(Default)]
struct Tally {
    verdicts: [u32; Verdict::ALL.len()],
    cycles: Vec<u32>,
    /// Call sites that leaked in at least five generations and were called clean.
    cleared: u32,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        for (sum, count) in self.verdicts.iter_mut().zip(other.verdicts) {
            *sum += count;
        }
        self.cycles.extend(&other.cycles);
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

fn main() -> ExitCode {
    let mut missed = Vec::new();
    let mut judged = 0;
    for run in &RUNS {
        judged += measure(run, &mut missed);
    }
    println!("\n{judged} series judged; {} targets missed", missed.len());
    for miss in &missed {
        println!("missed: {miss}");
    }
    ExitCode::from(u8::from(!missed.is_empty()))
}

/// Judges all kinds with all noises, and prints a row for each kind. Returns the number of series.
fn measure(run: &Run, missed: &mut Vec<String>) -> u32 {
    println!(
        "\n{}, horizon {HORIZON}; {SEEDS} call sites of each kind with each of {} noises",
        run.name,
        NOISES.len()
    );
    println!(
        "{:<28} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}   cycles: median, 95 %",
        "", "leak", "grow", "undec", "cache", "churn", "warm"
    );
    let (mut judged, mut bounded, mut alarms) = (0, 0, 0);
    for kind in kinds().filter(|kind| (run.is_for)(kind)) {
        let mut all = Tally::default();
        for noise in NOISES {
            let mut tally = tally(run, kind, noise);
            all.add(&tally);
            judged += tally.all();
            if kind.truth == Truth::Bounded {
                bounded += tally.all();
                alarms += tally.of(Verdict::Leak);
            }
            missed.extend(misses(run, kind, noise, &mut tally));
        }
        let columns = COLUMNS.map(|v| format!("{:>6}", all.of(v))).join(" ");
        println!(
            "{:<28} {columns}   {:>6} {:>6}",
            kind.name,
            all.percentile(50),
            all.percentile(95)
        );
    }
    if bounded == 0 {
        return judged;
    }
    println!(
        "false alarms: {:.2} of 1000 call sites that do not leak",
        1000.0 * f64::from(alarms) / f64::from(bounded)
    );
    judged
}

/// The kinds whose name contains one of the arguments, or all.
fn kinds() -> impl Iterator<Item = &'static Kind> {
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let words: Vec<String> = words.collect();
    let is_named =
        move |kind: &&Kind| words.is_empty() || words.iter().any(|w| kind.name.contains(w));
    KINDS.iter().filter(is_named)
}

fn tally(run: &Run, kind: &Kind, noise: &Noise) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        let blocks = |n| {
            let mut random = random(seed);
            let mut blocks = (kind.blocks)(n, &mut random);
            (noise.add)(n, &mut random, &mut blocks);
            blocks
        };
        let (verdict, cycles) = (run.judge)(kind, &blocks);
        tally.verdicts[verdict as usize] += 1;
        tally.cycles.push(cycles);
        let leaked = (kind.blocks)(cycles, &mut random(seed));
        let is_shown = kind.is_copied && cycles >= 60 || has_leaked(&leaked);
        tally.cleared += u32::from(is_shown && verdict < Verdict::Undecided);
    }
    tally
}

fn random(seed: u64) -> Random {
    Random::new(seed.wrapping_mul(0x0005_DEEC_E66D).wrapping_add(11))
}

/// Whether at least five blocks are never freed.
fn has_leaked(blocks: &[Block]) -> bool {
    let retained = blocks.iter().filter(|&&(_, freed, _)| freed.is_none());
    retained.count() >= 5
}

/// The targets that a tally misses.
fn misses(run: &Run, kind: &Kind, noise: &Noise, tally: &mut Tally) -> Vec<String> {
    let all = tally.all();
    let mut missed = Vec::new();
    let mut target = |is_met: bool, what: String| {
        if !is_met {
            missed.push(format!(
                "{}, {}, noise: {}: {what}",
                run.name, kind.name, noise.name
            ));
        }
    };
    let leaks = tally.of(Verdict::Leak);
    let cleared = tally.cleared;
    match kind.truth {
        Truth::Bounded => target(leaks == 0, format!("{leaks} of {all} called a leak")),
        Truth::Beyond(_) | Truth::Hidden if kind.is_hidden_by(noise) => {}
        Truth::Beyond(percent) => {
            let is_met = leaks * 100 <= all * percent;
            target(is_met, format!("{leaks} of {all} called a leak"));
        }
        Truth::Sparse => target(
            cleared * 100 <= all * 5,
            format!("{cleared} of {all} called clean"),
        ),
        Truth::Hidden => target(cleared == 0, format!("{cleared} of {all} called clean")),
        Truth::Leak => {
            if kind.is_hidden_by(noise) {
                return Vec::new();
            }
            target(cleared == 0, format!("{cleared} of {all} called clean"));
            if run.is_full {
                target(leaks == all, format!("only {leaks} of {all} called a leak"));
            }
            if run.is_auto && kind.name == "leak every cycle" {
                let max = HORIZON + if noise.is_noise { 16 } else { 4 };
                let last = tally.percentile(100);
                target(last <= max, format!("called after {last} cycles"));
            }
        }
    }
    if run.is_auto && kind.name == "leak of whole models" {
        let last = tally.percentile(100);
        target(last <= 8, format!("called after {last} cycles"));
    }
    if run.is_full && matches!(kind.truth, Truth::Leak | Truth::Bounded) {
        let undecided = tally.of(Verdict::Undecided);
        target(
            undecided * 100 <= all,
            format!("{undecided} of {all} undecided"),
        );
    }
    missed
}
