//! The cost of recording, compared with the bare allocator and with dhat.
//!
//! `cargo bench --bench overhead` prints the nanoseconds of one alloc and free of 64 bytes at several
//! stack depths, on one thread and on two; the ledger's memory for each live block; the same program
//! under other tools; and the time of 100 cycles of each Burn model with and without the ledger. Each
//! figure is the lowest of several rounds. The last line has the ratios.
//!
//! This executable starts itself as a child process for each setting, because a process decides once
//! whether it records.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::process::Command;

use tikv_jemallocator::Jemalloc;

mod curves;
#[cfg(feature = "burn")]
mod cycles;
mod models;
mod page;
mod parts;
mod peers;
mod program;
mod scale;
mod stacks;
mod time;

use program::nanos;

static BARE: Jemalloc = Jemalloc;
static WRAPPED: afterdrop::Heap<Jemalloc> = afterdrop::Heap::over(Jemalloc);
static DHAT: dhat::Alloc = dhat::Alloc;

const DEPTHS: [u32; 3] = [5, 15, 40];
const THREADS: [usize; 2] = [1, 2];

/// Mean number of bytes between two samples: the default of jemalloc's profiler.
const SAMPLED_EVERY: &str = "524288";

/// The child process: prints lines of `name depth threads nanoseconds`.
fn measure(setting: &str) {
    if std::env::var_os("AFTERDROP_HEAP").is_some() {
        // As the runner does before the first cycle.
        assert_eq!(afterdrop::bench::choose_unwinder(), "frame pointers");
    }
    match setting.split_once(' ').unwrap_or((setting, "")) {
        ("scale", _) => return scale::measure(&BARE, &WRAPPED),
        ("pairs", pairs) => {
            let pairs = pairs.parse().expect("a number");
            nanos(&WRAPPED, 15, 1, pairs);
            return;
        }
        ("curves", "bare") => return curves::measure("bare", &BARE),
        ("curves", "dhat") => {
            let _profiler = dhat_window();
            return curves::measure("dhat", &DHAT);
        }
        ("curves", heap) => return curves::measure(heap, &WRAPPED),
        _ => {}
    }
    for depth in DEPTHS {
        for threads in THREADS {
            let print = |name: &str, nanos: f64| println!("{name} {depth} {threads} {nanos}");
            match setting {
                "off" => {
                    print("bare", nanos(&BARE, depth, threads, 200_000));
                    print("off", nanos(&WRAPPED, depth, threads, 200_000));
                }
                "sampled" => {
                    print("bare", nanos(&BARE, depth, threads, 200_000));
                    print("sampled", nanos(&WRAPPED, depth, threads, 200_000));
                }
                "ledger" => {
                    print("bare", nanos(&BARE, depth, threads, 200_000));
                    print("ledger", nanos(&WRAPPED, depth, threads, 200_000));
                }
                _ => {
                    print("bare", nanos(&BARE, depth, threads, 200_000));
                    let _profiler = dhat_window();
                    print("dhat", nanos(&DHAT, depth, threads, 4_000));
                }
            }
        }
    }
    if setting == "ledger" {
        println!("block 0 0 {}", bytes_per_block());
    }
}

fn dhat_window() -> dhat::Profiler {
    dhat::Profiler::builder()
        .testing()
        .trim_backtraces(None)
        .build()
}

/// The ledger's memory for each of a million live blocks, in bytes.
fn bytes_per_block() -> f64 {
    const BLOCKS: usize = 1_000_000;
    let before = afterdrop::bench::ledger_bytes();
    let layout = Layout::from_size_align(64, 8).expect("a valid layout");
    let blocks: Vec<usize> = (0..BLOCKS)
        // SAFETY: not of size zero.
        .map(|_| unsafe { WRAPPED.alloc(layout) }.expose_provenance())
        .collect();
    let after = afterdrop::bench::ledger_bytes();
    for at in blocks {
        // SAFETY: allocated above, with this layout.
        unsafe { WRAPPED.dealloc(std::ptr::with_exposed_provenance_mut(at), layout) };
    }
    (after - before) as f64 / BLOCKS as f64
}

type Figures = BTreeMap<(String, u32, usize), f64>;

/// Runs this executable as a child in a setting, and keeps the lowest figures.
fn run_child(setting: &str, figures: &mut Figures) {
    let program = std::env::current_exe().expect("this program has a file");
    let mut command = Command::new(program);
    command.env("OVERHEAD_SETTING", setting);
    if ["ledger", "sampled", "scale"].contains(&setting) {
        // As the command runs a workload: every block is recorded, over jemalloc.
        command.env("AFTERDROP_HEAP", "jemalloc");
    }
    if setting == "sampled" {
        command.env("AFTERDROP_SAMPLE", SAMPLED_EVERY);
    }
    let output = command.output().expect("the child starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, depth, threads, nanos] = fields[..] else {
            continue;
        };
        let key = (
            name.to_owned(),
            depth.parse().expect("a depth"),
            threads.parse().expect("threads"),
        );
        let nanos: f64 = nanos.parse().expect("nanoseconds");
        let lowest = figures.entry(key).or_insert(nanos);
        *lowest = lowest.min(nanos);
    }
}

fn main() {
    if let Ok(setting) = std::env::var("OVERHEAD_SETTING") {
        measure(&setting);
        return;
    }
    if std::env::args().any(|argument| argument == "curves") {
        page::write().expect("the page and its pictures");
        return;
    }
    let mut figures = Figures::new();
    // The settings alternate, so that a slow period of the machine affects all of them.
    for _ in 0..3 {
        for setting in ["off", "sampled", "ledger", "dhat", "scale"] {
            run_child(setting, &mut figures);
        }
    }
    println!("ns for one alloc + free of 64 bytes, eight call sites; dhat 0.3.3, jemalloc 5.3.1");
    println!(
        "{:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "depth", "threads", "bare", "off", "sampled", "ledger", "dhat"
    );
    let of = |name: &str, depth, threads| figures[&(name.to_owned(), depth, threads)];
    for threads in THREADS {
        for depth in DEPTHS {
            println!(
                "{depth:>6} {threads:>8} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>9.0}",
                of("bare", depth, threads),
                of("off", depth, threads),
                of("sampled", depth, threads),
                of("ledger", depth, threads),
                of("dhat", depth, threads)
            );
        }
    }
    let block = of("block", 0, 0);
    println!("\nledger memory for each of 1,000,000 live blocks: {block:.1} bytes\n");
    scale::print(of);
    let peers = peers::compare([of("ledger", 15, 1), of("ledger", 15, 2)]);
    let by_cfi = peers::without_frame_pointers();
    let installed = peers::installed(SAMPLED_EVERY);
    let models = models::models();
    models::report_seconds();
    let ratio = |name, to, depth, threads| of(name, depth, threads) / of(to, depth, threads);
    print!(
        "ratios: ledger/bare {:.2} (depth 5 {:.2}, 40 {:.2}; 2 threads {:.2}), depth 40/15 {:.2}, \
         2 threads/1 {:.2}, off/bare {:.3}, sampled/bare {:.3} (depth 5 {:.3}, 40 {:.3}), \
         dhat/ledger {:.1}, {block:.0} B/block",
        ratio("ledger", "bare", 15, 1),
        ratio("ledger", "bare", 5, 1),
        ratio("ledger", "bare", 40, 1),
        ratio("ledger", "bare", 15, 2),
        of("ledger", 40, 1) / of("ledger", 15, 1),
        of("ledger", 15, 2) / of("ledger", 15, 1),
        ratio("off", "bare", 15, 1),
        ratio("sampled", "bare", 15, 1),
        ratio("sampled", "bare", 5, 1),
        ratio("sampled", "bare", 40, 1),
        ratio("dhat", "ledger", 15, 1),
    );
    if let Some([off, sampled]) = installed {
        print!(", as the global allocator off/bare {off:.3}, sampled/bare {sampled:.3}");
    }
    if let Some(ratio) = by_cfi {
        print!(", by cfi/bare {ratio:.2}");
    }
    for (name, [one, two]) in peers {
        print!(", {name} / ledger {one:.1} and {two:.1}");
    }
    for (name, ratio) in models {
        print!(", {name} {ratio:.3}");
    }
    println!();
}
