//! Very large reports: those of a very large run, and those that nobody but an attacker would write.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

/// A small report of a real run, of which one part is made large.
const REPORT: &str = include_str!("../../reports/samples/registry-jemalloc/report.json");

/// What is large in a report.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    /// Whether a run could write such a report.
    pub is_plausible: bool,
    /// Where in the report it is. The last component may be new.
    at: &'static str,
    /// The text before and behind the repeated pieces.
    around: (&'static str, &'static str),
    /// What is between two pieces.
    between: &'static str,
    /// A piece, by its number.
    piece: fn(u64) -> String,
}

/// Tiny values in a piece.
const MANY: usize = 1000;

/// All of them.
pub const KINDS: &[Kind] = &[
    plausible("call sites", "/call_sites", |n| site("cache", n)),
    plausible("leaks", "/call_sites", |n| site("leak", n)),
    plausible("cycles", "/call_sites/0/series", |n| (n * 4096).to_string()),
    plausible("zeros", "/call_sites/0/series", |_| ["0"; MANY].join(", ")),
    plausible("boundaries", "/boundaries", boundary),
    plausible("stacks", "/profile/stacks", stack),
    hostile("generations", "/call_sites/0/lives", LIST, ", ", |n| {
        format!("{{\"cycle\": {n}, \"live\": [[{n}, 4096]]}}")
    }),
    hostile("rises", "/call_sites/0/evidence/rises", LIST, ", ", |n| {
        (n * 2).to_string()
    }),
    hostile("births", "/profile/stacks", BIRTHS, ", ", |n| {
        format!("[{n}, 16, 1]")
    }),
    hostile("deep stack", "/profile/stacks", DEEP, ", ", |_| {
        ["0"; MANY].join(", ")
    }),
    hostile("frames", "/call_sites/0/stack", LIST, ", ", frame),
    hostile("long name", "/call_sites/0/function", TEXT, "", |_| {
        "a::bcd ".repeat(MANY)
    }),
    hostile("long path", "/call_sites/0/file", TEXT, "", |_| {
        "/".repeat(MANY)
    }),
    hostile("brackets", "/call_sites/0/function", TEXT, "", |_| {
        "(".repeat(MANY)
    }),
    hostile("markup", "/call_sites/0/function", TEXT, "", |_| {
        "&".repeat(MANY)
    }),
    hostile("long reason", "/call_sites/0/reason", TEXT, "", |_| {
        "word ".repeat(MANY)
    }),
    hostile("escapes", "/workload", TEXT, "", |_| {
        "\\u001b[2J".repeat(MANY)
    }),
    hostile("hidden characters", "/call_sites", LIST, ", ", |n| {
        site("leak", n).replace("app::", "app\\u001b[2J::")
    }),
    hostile("empty strings", "/warnings", LIST, ",", |_| {
        ["\"\""; MANY].join(",")
    }),
    hostile("texts", "/warnings", LIST, ", ", |n| {
        format!("\"warning {n}\"")
    }),
    hostile("dense zeros", "/call_sites/0/series", LIST, ",", |_| {
        ["0"; MANY].join(",")
    }),
    hostile("parts", "/process/parts", LIST, ", ", part),
    hostile(
        "holder path",
        "/call_sites/0/holder/path",
        LIST,
        ", ",
        |n| format!("{{\"function\": \"app::Node::{n}\", \"bytes\": 16}}"),
    ),
    hostile("holders", "/roots", LIST, ", ", root),
    hostile("size classes", "/bins", LIST, ", ", |n| {
        format!(
            "{{\"size\": {n}, \"slots_per_slab\": 8, \"slots_in_use\": [0, 9], \"slabs\": [1, 2]}}"
        )
    }),
    hostile(
        "unknown numbers",
        "/boundaries/0/unknown",
        LIST,
        ", ",
        |_| ["0"; MANY].join(", "),
    ),
    hostile("unknown nesting", "/unknown", ("", ""), "", |_| {
        "[".repeat(MANY)
    }),
];

const LIST: (&str, &str) = ("[", "]");
const TEXT: (&str, &str) = ("\"", "\"");

/// A stack of 16 frames with very many births.
const BIRTHS: (&str, &str) = (
    "[{\"site\": 0, \"frames\": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], \"calls\": [], \
     \"live\": [",
    "]}]",
);

/// A stack of very many frames.
const DEEP: (&str, &str) = (
    "[{\"site\": 0, \"calls\": [], \"live\": [[1, 16, 1]], \"frames\": [",
    "]}]",
);

const fn plausible(name: &'static str, at: &'static str, piece: fn(u64) -> String) -> Kind {
    Kind {
        name,
        is_plausible: true,
        at,
        around: LIST,
        between: ", ",
        piece,
    }
}

const fn hostile(
    name: &'static str,
    at: &'static str,
    around: (&'static str, &'static str),
    between: &'static str,
    piece: fn(u64) -> String,
) -> Kind {
    Kind {
        name,
        is_plausible: false,
        at,
        around,
        between,
        piece,
    }
}

impl Kind {
    /// Writes a report of this kind with about so many bytes.
    pub fn write(&self, bytes: u64, path: &Path) -> io::Result<()> {
        const HOLE: &str = "\"(here)\"";
        let mut report: Value = serde_json::from_str(REPORT)?;
        let (parent, last) = self
            .at
            .rsplit_once('/')
            .expect("a pointer begins with a slash");
        let parent = report
            .pointer_mut(parent)
            .expect("the report has this part");
        let hole = json!(HOLE.trim_matches('"'));
        match parent {
            Value::Array(values) => values[last.parse::<usize>().expect("an index")] = hole,
            parent => parent[last] = hole,
        }
        let text = report.to_string();
        let (before, behind) = text.split_once(HOLE).expect("the hole is in the report");
        let mut file = BufWriter::new(File::create(path)?);
        write!(file, "{before}{}", self.around.0)?;
        let (mut written, mut n) = (0, 0);
        while written < bytes {
            n += 1;
            let piece = (self.piece)(n);
            let between = if n > 1 { self.between } else { "" };
            write!(file, "{between}{piece}")?;
            written += (between.len() + piece.len()) as u64;
        }
        if self.name == "unknown nesting" {
            write!(file, "0{}", "]".repeat(n as usize * MANY))?;
        } else {
            write!(file, "{}", self.around.1)?;
        }
        write!(file, "{behind}")?;
        file.flush()
    }
}

/// A call site without details, as most of a large run are.
fn site(verdict: &str, n: u64) -> String {
    let series: Vec<String> = (0..80).map(|i| (i * n % 100_000).to_string()).collect();
    let rises: Vec<String> = (1..40).map(|i| i.to_string()).collect();
    let mut site = json!({
        "verdict": verdict,
        "reason": "80 generations are retained, the latest from cycle 80 after the warm-up",
        "function": format!("app::module_{}::Type::function_{n}", n % 100),
        "file": format!("src/module_{}/file.rs", n % 100),
        "line": n % 1000,
        "phase": "load",
        "bytes_per_cycle": n % 4096,
        "bytes_per_cycle_interval": [1.0, 4096.5],
        "blocks_per_cycle": 1.0,
        "retained_bytes": n,
        "retained_blocks": 83,
        "generations": 83,
        "series": "(series)",
        "evidence": {
            "rule": "horizon", "rises_by": "generations", "rises": "(rises)", "span": 76,
            "longest_gap": 1, "quiet": 0, "quiet_needed": 80, "longest_life": 0, "chance": 1e-9,
            "significance": 0.01, "analyses": 0, "more_cycles": null,
        },
        "stacks": 1,
        "stack": [],
        "stack_cut": false,
        "other_stacks": [],
        "fingerprint": format!("{n:016x}"),
    })
    .to_string();
    for (name, numbers) in [("\"(series)\"", series), ("\"(rises)\"", rises)] {
        site = site.replace(name, &format!("[{}]", numbers.join(", ")));
    }
    site
}

fn boundary(n: u64) -> String {
    json!({
        "cycle": n, "live_bytes": n * 4096, "live_blocks": n, "peak_bytes": n * 4096,
        "resident_bytes": n * 5000, "peak_resident_bytes": n * 6000, "allocations": 1000,
        "allocated_bytes": 100_000, "loaded_bytes": 4096, "load_peak_bytes": 8192, "threads": 3,
        "quiet": true, "seconds": 0.0123, "balance": null,
    })
    .to_string()
}

/// A stack of 20 frames with live blocks of two cycles.
fn stack(n: u64) -> String {
    let frames: Vec<String> = (0..20).map(|i| (i * n % 4).to_string()).collect();
    let calls: Vec<String> = (0..20)
        .map(|i| format!("[{}, 1]", 0x5555_5555_0000_u64 + i * n % 100_000))
        .collect();
    format!(
        "{{\"site\": 0, \"frames\": [{}], \"calls\": [{}], \"live\": [[{}, 4096, 1], [83, 16, 1]]}}",
        frames.join(", "),
        calls.join(", "),
        n % 80,
    )
}

fn frame(n: u64) -> String {
    format!("{{\"function\": \"app::f{n}\", \"file\": null, \"line\": null, \"owner\": \"own\"}}")
}

fn part(n: u64) -> String {
    static PART: LazyLock<Value> = LazyLock::new(|| {
        let mut report: Value = serde_json::from_str(REPORT).expect("a report");
        let mut part = report["process"]["parts"][0].take();
        part["verdict"] = json!("leak");
        part["series"] = json!([]);
        part
    });
    let mut part = PART.clone();
    part["reason"] = json!(format!("for reason {n}"));
    part.to_string()
}

fn root(n: u64) -> String {
    format!(
        "{{\"kind\": \"static\", \"name\": \"app::CACHE_{n}\", \"retained_bytes\": 18446744073709551615, \
         \"retained_blocks\": {n}, \"reached_bytes\": {n}, \"reached_blocks\": {n}}}"
    )
}
