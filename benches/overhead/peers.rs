//! The same program under other tools: crates that track live allocations, jemalloc's profiler,
//! heaptrack and valgrind. A tool that is not installed is reported as missing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Turns; the lowest figure of all turns counts.
const TURNS: usize = 3;

/// A tool and how the program is run under it.
struct Peer {
    name: &'static str,
    /// The crate whose version is shown, or the command that prints it.
    version: Version,
    program: &'static str,
    under: &'static [&'static str],
    malloc_conf: &'static str,
    /// Pairs of alloc and free in a round, so that it takes some milliseconds.
    pairs: u32,
}

enum Version {
    Crate(&'static str),
    Printed(&'static str),
}

const PEERS: &[Peer] = &[
    Peer {
        name: "heapscope, over jemalloc",
        version: Version::Crate("heapscope"),
        program: "heapscope",
        under: &[],
        malloc_conf: "",
        // As many as for the ledger: in a short round two threads may not run at the same time.
        pairs: 200_000,
    },
    Peer {
        name: "mod-alloc, call sites, no live blocks",
        version: Version::Crate("mod-alloc"),
        program: "mod_alloc",
        under: &[],
        malloc_conf: "",
        pairs: 100_000,
    },
    Peer {
        name: "leaktracer",
        version: Version::Crate("leaktracer"),
        program: "leaktracer",
        under: &[],
        malloc_conf: "",
        pairs: 1_000,
    },
    Peer {
        name: "jemalloc's profiler, every allocation",
        version: Version::Crate("tikv-jemallocator"),
        program: "jemalloc",
        under: &[],
        malloc_conf: "prof:true,lg_prof_sample:0",
        pairs: 4_000,
    },
    Peer {
        name: "jemalloc's profiler, one in 512 KiB",
        version: Version::Crate("tikv-jemallocator"),
        program: "jemalloc",
        under: &[],
        malloc_conf: "prof:true,lg_prof_sample:19",
        pairs: 100_000,
    },
    Peer {
        name: "heaptrack",
        version: Version::Printed("heaptrack"),
        program: "system",
        under: &["heaptrack", "-o", "{folder}/heaptrack"],
        malloc_conf: "",
        pairs: 10_000,
    },
    Peer {
        name: "valgrind --tool=dhat",
        version: Version::Printed("valgrind"),
        program: "system",
        under: &[
            "valgrind",
            "--tool=dhat",
            "--dhat-out-file={folder}/valgrind",
        ],
        malloc_conf: "",
        pairs: 1_000,
    },
];

/// Measures all peers and prints their nanoseconds, and how many times that of the ledger they take
/// on one thread and on two. Returns these ratios by name.
pub fn compare(ledger: [f64; 2]) -> Vec<(String, [f64; 2])> {
    println!("other tools, the same program at depth 15 (lowest of {TURNS} turns)");
    let Some(programs) = build("peers", None) else {
        println!("left out: benches/peers does not build here\n");
        return Vec::new();
    };
    let folder = std::env::temp_dir().join(format!("afterdrop-peers-{}", std::process::id()));
    let _ = std::fs::create_dir_all(&folder);
    let mut lowest: Vec<Option<[f64; 2]>> = vec![None; PEERS.len()];
    for _ in 0..TURNS {
        for (peer, lowest) in PEERS.iter().zip(&mut lowest) {
            let Some(nanos) = nanos_of(&mut peer.command(&programs, &folder, &[])) else {
                continue;
            };
            let least = lowest.get_or_insert(nanos);
            *least = [least[0].min(nanos[0]), least[1].min(nanos[1])];
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    println!(
        "{:<38} {:>10} {:>10} {:>10} {:>8} {:>8}",
        "", "version", "1 thread", "2 threads", "x", "x"
    );
    let mut ratios = Vec::new();
    for (peer, nanos) in PEERS.iter().zip(lowest) {
        let version = peer.version.shown();
        let Some([one, two]) = nanos else {
            println!("{:<38} {version:>10}    missing", peer.name);
            continue;
        };
        let times = [one / ledger[0], two / ledger[1]];
        println!(
            "{:<38} {version:>10} {one:>10.0} {two:>10.0} {:>8.1} {:>8.1}",
            peer.name, times[0], times[1]
        );
        ratios.push((peer.name.to_owned(), times));
    }
    println!();
    ratios
}

/// The time of an alloc and free with the ledger in a build without frame pointers, as a multiple of
/// the bare allocator's; `None` if the program does not build.
pub fn without_frame_pointers() -> Option<f64> {
    let programs = build(
        "peers-without-frame-pointers",
        Some("-C force-frame-pointers=no"),
    )?;
    let program = "without_frame_pointers";
    let [bare, ledger] = in_turns(
        &programs,
        [
            (program, &["bare"], &[]),
            (program, &["ledger"], &[("AFTERDROP_HEAP", "jemalloc")]),
        ],
    )?;
    println!(
        "without frame pointers, by call frame information: {ledger:.1} ns at depth 15, bare {bare:.1}"
    );
    Some(ledger / bare)
}

/// The time of an alloc and free with `Heap` as the global allocator, not recording and sampling, as
/// multiples of the bare allocator's; `None` if the program does not build.
pub fn installed(sampled_every: &str) -> Option<[f64; 2]> {
    let programs = build("peers", None)?;
    let sampled = [
        ("AFTERDROP_HEAP", "jemalloc"),
        ("AFTERDROP_SAMPLE", sampled_every),
    ];
    let [bare, off, sampled] = in_turns(
        &programs,
        [
            ("global_bare", &[], &[]),
            ("global_heap", &[], &[]),
            ("global_heap", &[], &sampled),
        ],
    )?;
    println!(
        "as the global allocator: off {off:.1} ns at depth 15, sampled {sampled:.1}, bare {bare:.1}\n"
    );
    Some([off / bare, sampled / bare])
}

/// A program of `benches/peers`, its arguments, and its environment.
type Program<'a> = (&'static str, &'a [&'a str], &'a [(&'a str, &'a str)]);

/// The nanoseconds of these programs on one thread, measured in turns.
fn in_turns<const N: usize>(folder: &Path, programs: [Program; N]) -> Option<[f64; N]> {
    let mut lowest = [f64::INFINITY; N];
    for _ in 0..TURNS {
        for ((program, arguments, environment), lowest) in programs.iter().zip(&mut lowest) {
            let peer = Peer {
                name: "",
                version: Version::Crate("afterdrop"),
                program,
                under: &[],
                malloc_conf: "",
                pairs: 100_000,
            };
            let mut command = peer.command(folder, &std::env::temp_dir(), arguments);
            command.envs(environment.iter().copied());
            *lowest = lowest.min(nanos_of(&mut command)?[0]);
        }
    }
    Some(lowest)
}

/// Builds the programs of `benches/peers` and returns the folder that they are in.
fn build(name: &str, rustflags: Option<&str>) -> Option<PathBuf> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target")
        .join(name);
    let mut command = Command::new("cargo");
    if let Some(flags) = rustflags {
        command.env("RUSTFLAGS", flags);
    }
    let built = command
        .args([
            "build",
            "--release",
            "--quiet",
            "--ignore-rust-version",
            "--target-dir",
        ])
        .arg(&target)
        .current_dir(crate_folder)
        .status();
    built.ok()?.success().then(|| target.join("release"))
}

impl Peer {
    /// The command that runs the program, with these arguments after the number of pairs.
    fn command(&self, programs: &Path, folder: &Path, arguments: &[&str]) -> Command {
        let program = programs.join(self.program);
        let mut command = match self.under {
            [] => Command::new(program),
            [tool, options @ ..] => {
                let mut command = Command::new(tool);
                let folder = folder.to_string_lossy();
                command.args(options.iter().map(|o| o.replace("{folder}", &folder)));
                command.arg(program);
                command
            }
        };
        command
            .arg(self.pairs.to_string())
            .args(arguments)
            .env("_RJEM_MALLOC_CONF", self.malloc_conf);
        command
    }
}

/// Nanoseconds on one thread and on two; `None` if the tool is not installed.
fn nanos_of(command: &mut Command) -> Option<[f64; 2]> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The tool prints lines of its own too.
    let of = |threads: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find_map(|(n, nanos)| (n == threads).then(|| nanos.parse().ok())?)
    };
    of("1").zip(of("2")).map(<[f64; 2]>::from)
}

impl Version {
    fn shown(&self) -> String {
        match self {
            Self::Crate(name) => {
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/Cargo.lock");
                let lock = std::fs::read_to_string(file).unwrap_or_default();
                let behind = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
                let version = behind.and_then(|(_, rest)| rest.split_once('"'));
                version.map_or("?".into(), |(version, _)| version.to_owned())
            }
            Self::Printed(command) => {
                let output = Command::new(command).arg("--version").output();
                let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
                let text = text.unwrap_or_default();
                let last = text.split_whitespace().next_back().unwrap_or("-");
                last.trim_start_matches("valgrind-").to_owned()
            }
        }
    }
}
