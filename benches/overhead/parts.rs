//! What each part of the recorder costs: the instructions of one alloc and free, counted by
//! callgrind and attributed to the source file that they come from, inlined or not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::program::{COPIES, ROUNDS};

/// Pairs of alloc and free in the two runs. Their difference does not include the set-up.
const PAIRS: [u32; 2] = [10_000, 30_000];

/// The parts, by the beginning of the name of a file in `src/recorder/heap`; the first that fits.
const FILES: [(&str, &str); 11] = [
    ("layout_cache.rs", "stack-layout cache"),
    ("stack_layout.rs", "stack-layout cache"),
    ("stack_lookup.rs", "stack-layout cache"),
    ("registers.rs", "stack-layout cache"),
    ("thread.rs", "re-entry guard and timing"),
    ("amount.rs", "counter rows and sums"),
    ("counter_row", "counter rows and sums"),
    ("thread_counters.rs", "counter rows and sums"),
    ("peak.rs", "counter rows and sums"),
    ("block_table.rs", "block table"),
    ("", "hooks and the rest"),
];
const ALLOCATOR: &str = "jemalloc";
const REST: &str = "the measured program";

/// The instructions of one pair by part, the largest first; `None` if a tool is missing.
pub fn parts(program: &Path) -> Option<Vec<(String, f64)>> {
    let [few, many] = PAIRS.map(|pairs| instructions(program, pairs));
    let (few, many) = (few?, many?);
    let by = f64::from(PAIRS[1] - PAIRS[0]) * (ROUNDS * COPIES) as f64;
    let places = places(program, many.keys())?;
    let mut parts: BTreeMap<String, f64> = BTreeMap::new();
    for (address, count) in &many {
        let once = count - few.get(address).unwrap_or(&0).min(count);
        if once > 0 {
            let part = places.get(address).map_or(REST, |p| part_of(p));
            *parts.entry(part.to_owned()).or_default() += once as f64 / by;
        }
    }
    // Less than that is not due to the pairs but to differences between the two runs.
    let mut parts: Vec<_> = parts.into_iter().filter(|p| p.1 >= 0.5).collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    Some(parts)
}

/// The part of an instruction with these frames, innermost first: that of the innermost frame in the
/// recorder, if there is one.
fn part_of(frames: &[String]) -> &'static str {
    let of_recorder = frames.iter().find_map(|frame| {
        let (_, rest) = frame.rsplit_once("src/recorder/heap/")?;
        FILES.iter().find(|(file, _)| rest.starts_with(file))
    });
    match of_recorder {
        Some((_, what)) => what,
        None if frames.iter().any(|f| f.contains("jemalloc")) => ALLOCATOR,
        None => REST,
    }
}

/// How often each instruction of the program ran, by address; `None` if valgrind is missing.
fn instructions(program: &Path, pairs: u32) -> Option<BTreeMap<u64, u64>> {
    let out = std::env::temp_dir().join(format!("afterdrop-parts-{}", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-instr=yes", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .env("OVERHEAD_SETTING", format!("pairs {pairs}"))
        .env("AFTERDROP_HEAP", "jemalloc")
        .output()
        .ok()?;
    let text = std::fs::read_to_string(&out).ok()?;
    let _ = std::fs::remove_file(&out);
    status.status.success().then(|| counts(&text, program))
}

/// Parses callgrind's format (valgrind's manual, "Callgrind Format Specification"): the costs of one
/// object, by address.
fn counts(text: &str, program: &Path) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut address, mut is_ours, mut is_call) = (0_u64, false, false);
    for line in text.lines() {
        let (is_callee, object) = match line.strip_prefix("cob=") {
            Some(object) => (true, Some(object)),
            None => (false, line.strip_prefix("ob=")),
        };
        if let Some(object) = object {
            // `(1) name` the first time, also in a `cob` line, and `(1)` after that.
            let (id, name) = object.split_once(' ').unwrap_or((object, ""));
            if !name.is_empty() {
                names.insert(id, name);
            }
            if !is_callee {
                is_ours = names.get(id).is_some_and(|n| Path::new(n) == program);
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let mut fields = line.split(' ');
            let position = fields.next().unwrap_or("*");
            let number = |text: &str| -> u64 {
                text.strip_prefix("0x").map_or_else(
                    || text.parse().unwrap_or(0),
                    |hex| u64::from_str_radix(hex, 16).unwrap_or(0),
                )
            };
            address = match position.as_bytes()[0] {
                b'*' => address,
                b'+' => address + number(&position[1..]),
                b'-' => address - number(&position[1..]),
                _ => number(position),
            };
            // The line after a `calls` line has the cost of the callee.
            if !std::mem::take(&mut is_call) && is_ours {
                *counts.entry(address).or_default() += number(fields.nth(1).unwrap_or("0"));
            }
        }
    }
    counts
}

/// The source files of the frames at each address, innermost first, from `addr2line` of binutils.
fn places<'a>(
    program: &Path,
    addresses: impl Iterator<Item = &'a u64>,
) -> Option<BTreeMap<u64, Vec<String>>> {
    let list: Vec<String> = addresses.map(|a| format!("{a:#x}")).collect();
    let mut places: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for some in list.chunks(1000) {
        let output = Command::new("addr2line")
            .args(["-i", "-a", "-e"])
            .arg(program)
            .args(some)
            .output()
            .ok()?;
        let mut at = 0;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.strip_prefix("0x") {
                Some(hex) => at = u64::from_str_radix(hex, 16).unwrap_or(0),
                None => places.entry(at).or_default().push(line.to_owned()),
            }
        }
    }
    Some(places)
}
