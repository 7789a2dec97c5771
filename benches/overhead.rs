//! What recording costs, beside the bare allocator and dhat, in one run.
//!
//! `cargo bench --bench overhead` prints nanoseconds for one alloc and free of 64 bytes at several
//! stack depths, on one thread and on two at once; the ledger's memory for each live block; and the
//! time of 100 cycles of each Burn model with and without the ledger. Each figure is the lowest of
//! several rounds. The last line has the ratios.
//!
//! The same executable runs as a child for each setting, because a process decides once whether it
//! records.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use tikv_jemallocator::Jemalloc;

static BARE: Jemalloc = Jemalloc;
static LAID_OVER: afterdrop::Heap<Jemalloc> = afterdrop::Heap::over(Jemalloc);
static DHAT: dhat::Alloc = dhat::Alloc;

const DEPTHS: [u32; 3] = [5, 15, 40];
const THREADS: [usize; 2] = [1, 2];
const ROUNDS: usize = 7;

/// One alloc and free of 64 bytes through `heap`, from one of eight call sites.
fn pair<A: GlobalAlloc>(heap: &A, site: usize) {
    #[inline(never)]
    fn leaf<A: GlobalAlloc, const SITE: usize>(heap: &A) {
        let layout = Layout::from_size_align(64, 8).expect("a valid layout");
        // SAFETY: not of size zero, and freed at once with the same layout.
        unsafe {
            let at = black_box(heap.alloc(layout));
            heap.dealloc(at, layout);
        }
        black_box(SITE);
    }
    match site % 8 {
        0 => leaf::<A, 0>(heap),
        1 => leaf::<A, 1>(heap),
        2 => leaf::<A, 2>(heap),
        3 => leaf::<A, 3>(heap),
        4 => leaf::<A, 4>(heap),
        5 => leaf::<A, 5>(heap),
        6 => leaf::<A, 6>(heap),
        _ => leaf::<A, 7>(heap),
    }
}

#[inline(never)]
fn at_depth(depth: u32, work: &dyn Fn() -> f64) -> f64 {
    if depth == 0 {
        return work();
    }
    black_box(at_depth(depth - 1, work))
}

/// Nanoseconds for one pair, the lowest of several rounds; with two threads, of the slower one.
fn nanos<A: GlobalAlloc + Sync>(heap: &'static A, depth: u32, threads: usize, pairs: u32) -> f64 {
    let run = move || {
        at_depth(depth, &|| {
            let start = Instant::now();
            let mut site = 0_usize;
            for _ in 0..pairs {
                // A cheap sequence that visits the sites in no simple order.
                site = site.wrapping_mul(5).wrapping_add(3) ^ (site >> 3);
                pair(heap, site);
            }
            start.elapsed().as_nanos() as f64 / f64::from(pairs)
        })
    };
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let slowest = std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            let times = all.into_iter().map(|t| t.join().expect("no panic"));
            times.fold(0.0, f64::max)
        });
        best = best.min(slowest);
    }
    best
}

/// The child: prints `name depth threads nanoseconds`, a line each.
fn measure(setting: &str) {
    for depth in DEPTHS {
        for threads in THREADS {
            let print = |name: &str, nanos: f64| println!("{name} {depth} {threads} {nanos}");
            match setting {
                "off" => {
                    print("bare", nanos(&BARE, depth, threads, 200_000));
                    print("off", nanos(&LAID_OVER, depth, threads, 200_000));
                }
                "ledger" => {
                    print("bare", nanos(&BARE, depth, threads, 200_000));
                    print("ledger", nanos(&LAID_OVER, depth, threads, 200_000));
                }
                _ => {
                    print("bare", nanos(&BARE, depth, threads, 200_000));
                    let profiler = dhat::Profiler::builder()
                        .testing()
                        .trim_backtraces(None)
                        .build();
                    print("dhat", nanos(&DHAT, depth, threads, 4_000));
                    drop(profiler);
                }
            }
        }
    }
    if setting == "ledger" {
        println!("block 0 0 {}", bytes_per_block());
    }
}

/// Bytes of the ledger for each of a million live blocks.
fn bytes_per_block() -> f64 {
    const BLOCKS: usize = 1_000_000;
    let before = afterdrop::bench::ledger_bytes();
    let layout = Layout::from_size_align(64, 8).expect("a valid layout");
    let blocks: Vec<usize> = (0..BLOCKS)
        // SAFETY: not of size zero.
        .map(|_| unsafe { LAID_OVER.alloc(layout) }.expose_provenance())
        .collect();
    let after = afterdrop::bench::ledger_bytes();
    for at in blocks {
        // SAFETY: allocated above, with this layout.
        unsafe { LAID_OVER.dealloc(std::ptr::with_exposed_provenance_mut(at), layout) };
    }
    (after - before) as f64 / BLOCKS as f64
}

type Figures = BTreeMap<(String, u32, usize), f64>;

/// Runs this executable again in a setting, and adds to the lowest figures so far.
fn run_child(setting: &str, figures: &mut Figures) {
    let program = std::env::current_exe().expect("this program has a file");
    let mut command = Command::new(program);
    command.env("OVERHEAD_SETTING", setting);
    if setting == "ledger" {
        // The allocator that it is laid over, recorded.
        command.env("AFTERDROP_HEAP", "system");
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
    let mut figures = Figures::new();
    // Settings take turns, so that a slow minute of the machine meets all of them.
    for _ in 0..3 {
        for setting in ["off", "ledger", "dhat"] {
            run_child(setting, &mut figures);
        }
    }
    println!("ns for one alloc + free of 64 bytes, eight call sites; dhat 0.3.3, jemalloc 5.3.1");
    println!(
        "{:>6} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "depth", "threads", "bare", "off", "ledger", "dhat"
    );
    let of = |name: &str, depth, threads| figures[&(name.to_owned(), depth, threads)];
    for threads in THREADS {
        for depth in DEPTHS {
            println!(
                "{depth:>6} {threads:>8} {:>8.1} {:>8.1} {:>8.1} {:>9.0}",
                of("bare", depth, threads),
                of("off", depth, threads),
                of("ledger", depth, threads),
                of("dhat", depth, threads)
            );
        }
    }
    let block = of("block", 0, 0);
    println!("\nledger memory for each of 1,000,000 live blocks: {block:.1} bytes\n");
    let models = models();
    let ratio = |name, to, depth, threads| of(name, depth, threads) / of(to, depth, threads);
    print!(
        "ratios: ledger/bare {:.2} (depth 5 {:.2}, 40 {:.2}; 2 threads {:.2}), off/bare {:.3}, \
         dhat/ledger {:.1}, {block:.0} B/block",
        ratio("ledger", "bare", 15, 1),
        ratio("ledger", "bare", 5, 1),
        ratio("ledger", "bare", 40, 1),
        ratio("ledger", "bare", 15, 2),
        ratio("off", "bare", 15, 1),
        ratio("dhat", "ledger", 15, 1),
    );
    for (name, ratio) in models {
        print!(", {name} {ratio:.3}");
    }
    println!();
}

/// Time of 100 cycles of each Burn model with the ledger, as a multiple of that without.
#[cfg(feature = "burn")]
fn models() -> Vec<(String, f64)> {
    const CYCLES: &str = "100";
    const TURNS: usize = 9;
    let once = |workload: &str, format: &str, heap: &str| -> f64 {
        let name = format!("afterdrop-bench-{}-{heap}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("a temporary folder");
        // The measured child alone, without the parent that would report.
        let status = Command::new(env!("CARGO_BIN_EXE_afterdrop"))
            .args(["run", workload, "--cycles", CYCLES, "--format", format])
            .env("AFTERDROP_HEAP", heap)
            .env("AFTERDROP_OUT", &folder)
            .env("AFTERDROP_PARENT", std::process::id().to_string())
            .status()
            .expect("the command starts");
        assert!(status.success());
        let journal = std::fs::read_to_string(folder.join("journal.jsonl")).expect("a journal");
        let nanos = |line: &str| -> Option<f64> {
            let record: serde_json::Value = serde_json::from_str(line).ok()?;
            record["boundary"]["cycle_nanos"].as_f64()
        };
        let sum = journal.lines().filter_map(nanos).sum();
        let _ = std::fs::remove_dir_all(&folder);
        sum
    };
    println!("100 cycles of load, infer and drop: ms bare, ms with the ledger (lowest of {TURNS})");
    let mut ratios = Vec::new();
    for (workload, format) in [
        ("burn:mlp", "bpk"),
        ("burn:cnn", "bpk"),
        ("burn:transformer", "bpk"),
        ("burn:transformer", "safetensors"),
    ] {
        let (mut bare, mut ledger) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..TURNS {
            bare = bare.min(once(workload, format, "jemalloc-bare"));
            ledger = ledger.min(once(workload, format, "jemalloc"));
        }
        let name = format!("{workload} {format}");
        println!("{name:<30} {:>8.1} {:>8.1}", bare / 1e6, ledger / 1e6);
        ratios.push((name, ledger / bare));
    }
    println!();
    ratios
}

#[cfg(not(feature = "burn"))]
fn models() -> Vec<(String, f64)> {
    println!("Burn models left out: built without the feature `burn`\n");
    Vec::new()
}
