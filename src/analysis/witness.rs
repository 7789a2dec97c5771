//! Compares dhat's profile with what the recorder has, stack by stack.
//!
//! Both have return addresses, so stacks are compared by address. dhat's stacks begin deeper, inside
//! its own hook, and may end later, in the C library's start-up code, which has no frame pointers.
//! The part between is the same stack, walked by another unwinder.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::Value;

use crate::analysis::journal::Journal;
use crate::base::error::Error;
use crate::base::files::write_bytes;
use crate::base::text::count;
use crate::base::units::exact;
use crate::model::layout::HOOKS;
use crate::model::report::Witness;

/// The maximum number of differences that are reported.
const MAX_DIFFERENCES: usize = 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Live {
    bytes: u64,
    blocks: u64,
}

impl std::fmt::Display for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} B in {}",
            exact(self.bytes),
            count(self.blocks, "block")
        )
    }
}

/// A program point of dhat's profile: return addresses, innermost first, and what is live at the end.
struct Point {
    addresses: Vec<u64>,
    live: Live,
}

/// Compares dhat's profile with what the recorder expects in it; `None` if the run ended before
/// dhat began to record.
///
/// # Errors
/// If the file cannot be read, or is not a profile of dhat.
pub(crate) fn compare(journal: &Journal, path: &Path) -> Result<Option<Witness>, Error> {
    let Some(expected) = &journal.witness else {
        return Ok(None);
    };
    let points = read(path)?;
    let mut ledger: HashMap<&[u64], Live> = HashMap::new();
    for &(stack_id, bytes, blocks) in expected {
        let stack = journal.stacks.get(&stack_id).map_or(&[][..], |s| &s.stack);
        let live = ledger.entry(stack).or_default();
        live.bytes += bytes;
        live.blocks += blocks;
    }
    Ok(Some(compare_stacks(ledger, &points)))
}

fn compare_stacks(ledger: HashMap<&[u64], Live>, points: &[Point]) -> Witness {
    let matcher = Matcher::new(ledger.keys().copied());
    let mut dhat: HashMap<&[u64], Live> = HashMap::new();
    for point in points.iter().filter(|p| p.live.blocks > 0) {
        let stack = matcher.find(&point.addresses).unwrap_or(&point.addresses);
        let live = dhat.entry(stack).or_default();
        live.bytes += point.live.bytes;
        live.blocks += point.live.blocks;
    }
    let mut stacks: Vec<&[u64]> = ledger.keys().chain(dhat.keys()).copied().collect();
    stacks.sort_unstable();
    stacks.dedup();
    let of = |map: &HashMap<&[u64], Live>, stack| map.get(stack).copied().unwrap_or_default();
    let mut differences = Vec::new();
    for &stack in &stacks {
        let (l, d) = (of(&ledger, stack), of(&dhat, stack));
        if l != d && differences.len() < MAX_DIFFERENCES {
            differences.push(format!(
                "at {:#x}: the recorder has {l}, dhat has {d}",
                stack.first().copied().unwrap_or(0),
            ));
        }
    }
    let sum = |map: &HashMap<&[u64], Live>, of: fn(&Live) -> u64| map.values().map(of).sum();
    Witness {
        agrees: differences.is_empty(),
        stacks: stacks.len() as u32,
        ledger_bytes: sum(&ledger, |l| l.bytes),
        dhat_bytes: sum(&dhat, |l| l.bytes),
        ledger_blocks: sum(&ledger, |l| l.blocks),
        dhat_blocks: sum(&dhat, |l| l.blocks),
        differences,
    }
}

/// Finds the recorder's stack inside dhat's longer one.
struct Matcher<'a> {
    /// The recorder's stacks by their innermost address, the longest first.
    by_first: HashMap<u64, Vec<&'a [u64]>>,
}

impl<'a> Matcher<'a> {
    fn new(stacks: impl Iterator<Item = &'a [u64]>) -> Self {
        let mut by_first: HashMap<u64, Vec<&[u64]>> = HashMap::new();
        for stack in stacks {
            if let Some(&first) = stack.first() {
                by_first.entry(first).or_default().push(stack);
            }
        }
        for stacks in by_first.values_mut() {
            stacks.sort_by_key(|s| std::cmp::Reverse(s.len()));
        }
        Self { by_first }
    }

    fn find(&self, addresses: &[u64]) -> Option<&'a [u64]> {
        (0..addresses.len()).find_map(|start| {
            let rest = &addresses[start..];
            let stacks = self.by_first.get(&rest[0])?;
            let best = stacks.iter().max_by_key(|s| common(s, rest))?;
            is_same_walk(best, rest).then_some(*best)
        })
    }
}

/// The number of equal addresses at the inner ends of two stacks.
fn common(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Whether two walks from the same frame are of the same stack: equal as far as both go. The last
/// address of the recorder's walk may be wrong, because the C library's start-up code uses the frame
/// pointer for something else.
fn is_same_walk(ledger: &[u64], dhat: &[u64]) -> bool {
    const ENOUGH: usize = 4;
    let common = common(ledger, dhat);
    let both = ledger.len().min(dhat.len());
    common == both || (common >= ENOUGH && common + 1 == both)
}

fn read(path: &Path) -> Result<Vec<Point>, Error> {
    let json = read_json(path)?;
    let wrong = |what: &str| Error::malformed(path, None, format!("not a dhat profile: {what}"));
    if json["dhatFileVersion"] != 2 {
        return Err(wrong("`dhatFileVersion` is not 2"));
    }
    let frames: Vec<u64> = json["ftbl"]
        .as_array()
        .ok_or_else(|| wrong("it has no frame table `ftbl`"))?
        .iter()
        .map(|f| address(f.as_str().unwrap_or_default()))
        .collect();
    let points = json["pps"]
        .as_array()
        .ok_or_else(|| wrong("it has no program points `pps`"))?;
    points
        .iter()
        .map(|p| {
            Ok(Point {
                addresses: addresses(p, &frames)
                    .ok_or_else(|| wrong("a program point has no frames `fs`"))?,
                live: Live {
                    bytes: p["eb"]
                        .as_u64()
                        .ok_or_else(|| wrong("a program point has no bytes `eb`"))?,
                    blocks: p["ebk"]
                        .as_u64()
                        .ok_or_else(|| wrong("a program point has no blocks `ebk`"))?,
                },
            })
        })
        .collect()
}

fn read_json(path: &Path) -> Result<Value, Error> {
    let file = File::open(path).map_err(|e| Error::io("read dhat's profile", path, e))?;
    serde_json::from_reader(BufReader::new(file))
        .map_err(|e| Error::malformed(path, Some(e.line() as u64), format!("not JSON: {e}")))
}

/// The return addresses of a program point. Inlined frames repeat the address of their function. A
/// function that calls itself repeats it, too, but then the first frame of the address appears
/// again.
fn addresses(point: &Value, frames: &[u64]) -> Option<Vec<u64>> {
    let mut addresses: Vec<u64> = Vec::new();
    let mut first = None;
    for frame in point["fs"].as_array()? {
        let frame = usize::try_from(frame.as_u64()?).ok()?;
        let address = *frames.get(frame)?;
        if addresses.last() != Some(&address) {
            first = Some(frame);
        } else if first != Some(frame) {
            continue;
        }
        addresses.push(address);
    }
    Some(addresses)
}

/// The address of a frame in dhat's notation, `0x55d0c0a01234: function (file:line:column)`; 0 for
/// `[root]`.
fn address(frame: &str) -> u64 {
    frame
        .strip_prefix("0x")
        .and_then(|rest| u64::from_str_radix(rest.split(':').next()?, 16).ok())
        .unwrap_or(0)
}

/// Rewrites dhat's profile without the frames of dhat's own hook and of the recorder's, which are
/// the same ten or so at the top of every stack. The viewer then opens on the program's frames.
///
/// Stacks that would become equal keep these frames, because the viewer rejects repeated stacks.
///
/// # Errors
/// If the file cannot be read or written.
pub(crate) fn remove_hook_frames(path: &Path) -> Result<(), Error> {
    let mut json = read_json(path)?;
    let is_hook: Vec<bool> = match json["ftbl"].as_array() {
        Some(table) => table
            .iter()
            .map(|f| is_hook(f.as_str().unwrap_or_default()))
            .collect(),
        None => return Ok(()),
    };
    let Some(points) = json["pps"].as_array_mut() else {
        return Ok(());
    };
    let mut seen: HashMap<Vec<Value>, u32> = HashMap::new();
    let trimmed: Vec<Vec<Value>> = points
        .iter()
        .map(|p| {
            let all = p["fs"].as_array().cloned().unwrap_or_default();
            let hook = |i: &Value| {
                i.as_u64()
                    .is_some_and(|i| is_hook.get(i as usize) == Some(&true))
            };
            let top = all.len().min(MAX_HOOK_FRAMES);
            let start = all[..top].iter().rposition(hook).map_or(0, |i| i + 1);
            let rest = all[start..].to_vec();
            *seen.entry(rest.clone()).or_default() += 1;
            rest
        })
        .collect();
    for (point, rest) in points.iter_mut().zip(trimmed) {
        if seen[&rest] == 1 {
            point["fs"] = Value::Array(rest);
        }
    }
    write_bytes(path, json.to_string().as_bytes())
}

/// The maximum number of frames of hooks at the top of a stack, inlined ones included.
const MAX_HOOK_FRAMES: usize = 24;

/// Whether a frame in dhat's notation is of the recorder's hooks, or of the compiler's shim around
/// the allocator.
fn is_hook(frame: &str) -> bool {
    let function = frame.split_once(": ").map_or(frame, |(_, f)| f);
    function.contains(HOOKS) || function.starts_with("__rust")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(addresses: &[u64], bytes: u64, blocks: u64) -> Point {
        Point {
            addresses: addresses.to_vec(),
            live: Live { bytes, blocks },
        }
    }

    fn ledger<'a>(stacks: &[(&'a [u64], u64, u64)]) -> HashMap<&'a [u64], Live> {
        stacks
            .iter()
            .map(|&(s, bytes, blocks)| (s, Live { bytes, blocks }))
            .collect()
    }

    #[test]
    fn stacks_agree_whatever_frames_surround_them() {
        let points = [
            point(&[90, 91, 1, 2, 3, 70], 64, 1),
            point(&[90, 1, 5], 8, 2),
        ];
        let witness = compare_stacks(ledger(&[(&[1, 2, 3], 64, 1), (&[1, 5, 6], 8, 2)]), &points);
        assert!(witness.agrees, "{witness:?}");
        assert_eq!(
            (witness.stacks, witness.dhat_bytes, witness.dhat_blocks),
            (2, 72, 3)
        );
    }

    #[test]
    fn a_difference_is_reported() {
        let points = [point(&[90, 1, 2], 64, 1), point(&[90, 1, 3], 8, 1)];
        let witness = compare_stacks(ledger(&[(&[1, 2], 60, 1), (&[1, 4, 5], 8, 1)]), &points);
        assert!(!witness.agrees);
        assert_eq!(witness.differences.len(), 3, "{:?}", witness.differences);
        assert!(
            witness
                .differences
                .iter()
                .any(|d| d.contains("the recorder has 60 B in 1 block, dhat has 64 B in 1 block"))
        );
    }

    #[test]
    fn a_hook_is_recognized_by_its_name() {
        assert!(is_hook(
            "0x1: afterdrop::recorder::heap::hooks::Heap<A>::measured_alloc (src/recorder/heap/hooks.rs:1:2)"
        ));
        assert!(is_hook("0x1: __rustc::__rust_alloc (???:0:0)"));
        assert!(!is_hook("0x1: serving::heap::load (src/heap.rs:1:2)"));
    }

    #[test]
    fn the_address_of_a_frame_is_parsed() {
        assert_eq!(address("0x55d0: f (a/b.rs:1:2)"), 0x55d0);
        assert_eq!(address("[root]"), 0);
    }
}
