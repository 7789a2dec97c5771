//! Phrases about call sites, holders and parts of the process that several formats share.

use super::names::short;
use crate::base::text::{count, excerpt, plural};
use crate::base::units::{bytes, exact, rate};
#[cfg(feature = "formats")]
use crate::model::frame::{Frame, relevant};
use crate::model::frame::{NOT_ATTRIBUTED, location_of};
use crate::model::holder::{Holder, PathBlock, Root};
use crate::model::holders::HolderKind;
use crate::model::objects::ObjectGrowth;
use crate::model::process::{Grows, Process};
use crate::model::report::{CallSite, Report};

impl HolderKind {
    /// What it is, to stand before its name.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::ThreadLocal => "thread-local",
            Self::Stack => "a local variable of",
            Self::Thread => "the runtime's record of a thread",
            Self::CHeap => "memory of C code",
            Self::Mapped => "memory from mmap",
            Self::Workload => "the workload itself, which lives until the run ends",
            Self::Module => "module",
            Self::Garbage => "garbage",
            Self::Lost => "an unreachable block",
            Self::Cycle => "a reference cycle",
            Self::NotFound => "a block whose holder was not found",
        }
    }
}

/// Columns of a name that the user has given, where it stands in a heading.
const HEADING: usize = 80;

/// What is measured, for a heading: it may be the command line of a program, with a script in it.
pub(super) fn heading(workload: &str) -> String {
    excerpt(workload, HEADING)
}

impl Report {
    /// The workload, for a heading.
    pub(super) fn heading(&self) -> String {
        heading(&self.workload)
    }

    /// How many cycles were run, if the run ended early: `7 of 83 cycles`.
    pub(super) fn cycles_of_all(&self) -> String {
        let all = count(u64::from(self.cycles), "cycle");
        match self.cycles_run() {
            run if run == self.cycles => all,
            run => format!("{run} of {all}"),
        }
    }

    /// The settings of the run as `name=value`.
    pub(super) fn settings(&self) -> Vec<String> {
        let mut settings = Vec::new();
        if !self.exec {
            settings.push(format!("heap={}", self.heap));
        }
        if self.has_strategy() {
            settings.push(format!("strategy={}", self.strategy));
        }
        settings.extend(self.options.iter().cloned());
        settings
    }
}

impl Holder {
    /// What it is, with a space before a name, and its short name, if it has one.
    pub(super) fn kind_and_name(&self) -> (String, String) {
        let without_name = |text: &str| (text.to_owned(), String::new());
        match (self.kind, &self.name) {
            (HolderKind::Stack, None) => without_name("a local variable of a running function"),
            (HolderKind::Static, None) => without_name("a static without a symbol"),
            (HolderKind::ThreadLocal, None) => without_name("a thread-local without a symbol"),
            (kind, Some(name)) if !kind.has_no_root() => {
                (format!("{} ", kind.words()), short(name))
            }
            (kind, _) => without_name(kind.words()),
        }
    }

    /// Where it is declared, running or allocated, as `file:line`, as far as it is known.
    pub(super) fn location(&self) -> String {
        location_of(self.file.as_deref(), self.line)
    }

    /// The short name of what allocated the lost block that is the cause.
    pub(super) fn allocated_by(&self) -> String {
        short(self.name.as_deref().unwrap_or(NOT_ATTRIBUTED))
    }

    /// Who holds the call site's blocks, or that they are lost: a sentence without its full stop.
    #[cfg(feature = "formats")]
    pub(super) fn sentence(&self) -> String {
        if self.kind.has_no_root() {
            return self.lost().trim_end_matches(':').to_owned();
        }
        let (kind, name) = self.kind_and_name();
        let location = match self.location() {
            none if none.is_empty() => none,
            location => format!(" ({location})"),
        };
        let thread = in_thread(self.thread.as_deref());
        format!("held{} by {kind}{name}{location}{thread}", self.part())
    }

    /// Whether the lost block is one of the call site's own: no other is between.
    pub(super) fn is_cause(&self) -> bool {
        self.kind.has_no_root() && self.path_blocks <= 1
    }

    /// How many of the call site's blocks it holds, where that is not all of them.
    pub(super) fn part(&self) -> String {
        if self.blocks == self.of_blocks {
            return String::new();
        }
        let part = format!(
            "{} of {}",
            exact(self.blocks),
            count(self.of_blocks, "block")
        );
        match self.lost_blocks {
            0 => format!(" ({part})"),
            1 => format!(" ({part}; 1 is lost)"),
            lost => format!(" ({part}; {} are lost)", exact(lost)),
        }
    }

    /// How a block is lost as a rule, in the language of the function that allocated it.
    fn usual_loss(&self) -> &'static str {
        let is_of_python = self.file.as_ref().is_some_and(|file| file.ends_with(".py"));
        if is_of_python && self.path.first().is_some_and(|block| block.what.is_some()) {
            return "a reference to the object was counted and never dropped, as by an extension in C";
        }
        let is_in_c = match &self.file {
            Some(file) => !file.ends_with(".rs"),
            // Rust's names have modules.
            None => self.name.as_ref().is_some_and(|name| !name.contains("::")),
        };
        match is_in_c {
            true => "malloc without free, or new without delete",
            false => "mem::forget, Box::leak, or into_raw without from_raw",
        }
    }

    /// How the call site's blocks are lost. Ends with a colon where the function that allocated the
    /// cause follows.
    pub(super) fn lost(&self) -> String {
        let part = self.part();
        if !self.searched_all {
            return format!(
                "no pointer to it was found{part}, but not all memory was searched (see the notes)"
            );
        }
        match (self.kind, self.cycle_blocks.unwrap_or(0)) {
            (HolderKind::Garbage, _) => {
                let colon = if self.is_cause() { "" } else { ":" };
                format!(
                    "garbage{part}: objects that refer only to each other, until Python's collector \
                     comes{colon}"
                )
            }
            (HolderKind::Cycle, 1) => format!(
                "lost{part}: the block points at itself (it holds an `Arc` or `Rc` of itself), and \
                 nothing else does"
            ),
            (HolderKind::Cycle, n) => {
                format!("lost{part}: {n} blocks that only point at each other (a reference cycle)")
            }
            (_, n) if n > 0 && self.is_cause() => format!(
                "lost{part}: nothing points at it but links between blocks that are lost like it"
            ),
            (_, n) if n > 0 => {
                format!("lost{part}: held only by blocks that nothing but links points at:")
            }
            _ if self.is_cause() => {
                format!("lost{part}: nothing points at it ({})", self.usual_loss())
            }
            _ => format!("lost{part}: held only by a block that nothing points at:"),
        }
    }
}

impl PathBlock {
    /// What it is, as far as its allocation tells: `Arc`, or `block`.
    pub(super) fn kind(&self) -> &str {
        self.what.as_deref().unwrap_or("block")
    }

    /// How it is reached, and what it is: `.models: list`.
    pub(super) fn step(&self) -> String {
        match &self.via {
            Some(via) => format!("{via}: {}", self.kind()),
            None => self.kind().to_owned(),
        }
    }

    /// Where it was allocated as `file:line`, as far as it is known.
    pub(super) fn location(&self) -> String {
        location_of(self.file.as_deref(), self.line)
    }
}

impl Root {
    /// What it is, with its short name and its thread.
    pub(super) fn description(&self) -> String {
        let (kind, behind) = match self.kind {
            HolderKind::Lost => ("lost blocks of", ""),
            HolderKind::Garbage => ("garbage of", ""),
            HolderKind::Cycle => ("reference cycles of", ""),
            HolderKind::NotFound => ("blocks of", ", whose holder was not found"),
            kind => (kind.words(), ""),
        };
        let name = match &self.name {
            Some(name) => format!(" {}", short(name)),
            None => String::new(),
        };
        format!("{kind}{name}{}{behind}", in_thread(self.thread.as_deref()))
    }
}

/// The thread that something belongs to, to stand behind its name.
pub(super) fn in_thread(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" in thread `{name}`"))
}

/// Frames that formats show of a stack: a run records 128 calls.
#[cfg(feature = "formats")]
pub(super) const FRAMES: usize = 150;

impl CallSite {
    /// The frames that formats show of its first stack, innermost first.
    #[cfg(feature = "formats")]
    pub(super) fn shown_frames(&self) -> &[Frame] {
        let frames = relevant(&self.stack);
        &frames[..frames.len().min(FRAMES)]
    }

    /// Growth that is known and not 0, in bytes per cycle.
    pub(super) fn growth(&self) -> Option<f64> {
        self.bytes_per_cycle.filter(|&rate| rate != 0.0)
    }

    /// Growth per cycle, else what is retained: `4.10 kB per cycle`, `812 B retained`.
    #[cfg(feature = "formats")]
    pub(super) fn amount(&self) -> String {
        match self.growth() {
            Some(rate) => format!("{} per cycle", bytes(rate)),
            None => format!("{} retained", bytes(self.retained_bytes as f64)),
        }
    }

    /// Growth in bytes and in blocks: `4,096 B and 1 block per cycle`.
    pub(super) fn growth_in_full(&self) -> Option<String> {
        let (in_bytes, blocks) = (rate(self.bytes_per_cycle?), rate(self.blocks_per_cycle?));
        let noun = plural(u64::from(blocks != "1") + 1, "block");
        Some(format!("{in_bytes} B and {blocks} {noun} per cycle"))
    }
}

impl Report {
    /// Growth with its unit of time: in bytes for each cycle, or for each hour of a service.
    pub(super) fn growth_rate(&self, bytes_per_cycle: f64) -> (String, &'static str) {
        match self.live {
            Some(windows) => (bytes(windows.per_hour(bytes_per_cycle)), "hour"),
            None => (bytes(bytes_per_cycle), "cycle"),
        }
    }
}

/// A 95 % interval of bytes, to stand behind its estimate.
pub(super) fn interval(interval: Option<(u64, u64)>) -> String {
    interval.map_or_else(String::new, |(low, high)| {
        format!(" ({} to {})", bytes(low as f64), bytes(high as f64))
    })
}

impl Process {
    /// The word for its verdict: pages that the allocator keeps are no cache.
    pub(super) fn verdict_word(&self) -> &'static str {
        match self.grows {
            Grows::AllocatorKeepsPages => "kept",
            _ => self.verdict.name(),
        }
    }
}

#[cfg(feature = "formats")]
impl crate::model::process::Part {
    /// What grows and how fast: `growth in the C heap, 5.01 kB per cycle`.
    pub(super) fn amount(&self) -> String {
        let name = self.what.name();
        match self.per_cycle {
            Some(n) if self.what.is_in_bytes() => format!("{name}, {} per cycle", bytes(n)),
            Some(n) => format!("{name}, {} per cycle", rate(n)),
            None => name.to_owned(),
        }
    }
}

/// Types of objects that are named.
const OBJECT_TYPES: usize = 8;

/// `Graph +1, dict +1,204 a cycle`: the objects of Python's that each cycle leaves behind; `None` if there are none.
pub(crate) fn growing_objects(objects: &[ObjectGrowth]) -> Option<String> {
    let growing = objects.iter().filter(|objects| objects.per_cycle > 0.0);
    let named: Vec<String> = growing
        .clone()
        .take(OBJECT_TYPES)
        .map(|objects| match objects.per_cycle.fract() == 0.0 {
            true => format!("{} +{}", objects.type_name, exact(objects.per_cycle as u64)),
            false => format!("{} +{:.1}", objects.type_name, objects.per_cycle),
        })
        .collect();
    if named.is_empty() {
        return None;
    }
    let more = match growing.count().saturating_sub(OBJECT_TYPES) {
        0 => String::new(),
        n => format!(", and {}", count(n as u64, "more type")),
    };
    Some(format!("{} a cycle{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(kind: HolderKind) -> Holder {
        Holder {
            kind,
            name: Some("app::models::REGISTRY".into()),
            file: Some("src/models.rs".into()),
            line: Some(7),
            thread: None,
            blocks: 3,
            of_blocks: 3,
            share: 1.0,
            generations: 3,
            lost_blocks: 0,
            searched_all: true,
            cycle_blocks: None,
            path: Vec::new(),
            path_blocks: 1,
        }
    }

    #[test]
    #[cfg(feature = "formats")]
    fn a_holder_is_a_sentence() {
        let mut held = holder(HolderKind::Static);
        assert_eq!(
            held.sentence(),
            "held by static models::REGISTRY (src/models.rs:7)"
        );
        held.of_blocks = 4;
        held.lost_blocks = 1;
        held.thread = Some("worker".into());
        held.kind = HolderKind::ThreadLocal;
        assert_eq!(
            held.sentence(),
            "held (3 of 4 blocks; 1 is lost) by thread-local models::REGISTRY (src/models.rs:7) in \
             thread `worker`"
        );
        held.kind = HolderKind::Workload;
        held.name = None;
        held.file = None;
        held.thread = None;
        held.of_blocks = 3;
        assert_eq!(
            held.sentence(),
            "held by the workload itself, which lives until the run ends"
        );
    }

    #[test]
    fn what_is_lost_says_how() {
        let mut lost = holder(HolderKind::Lost);
        assert!(lost.lost().starts_with("lost: nothing points at it"));
        lost.path_blocks = 2;
        assert_eq!(
            lost.lost(),
            "lost: held only by a block that nothing points at:"
        );
        lost.searched_all = false;
        assert!(lost.lost().starts_with("no pointer to it was found, but"));
        let mut cycle = holder(HolderKind::Cycle);
        cycle.cycle_blocks = Some(1);
        assert!(cycle.lost().starts_with("lost: the block points at itself"));
    }
}
