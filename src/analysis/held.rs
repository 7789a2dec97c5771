//! The holders of each group of call sites, with their names.

use std::collections::{BTreeMap, BTreeSet};

use super::fold::Folding;
use super::symbols::UNATTRIBUTED;
use crate::analysis::found::{Found, Held};
use crate::analysis::journal::Journal;
use crate::analysis::symbols::{self};
use crate::model::frame::{Frame, Owner};
use crate::model::holder::{Holder, PathBlock, Root};
use crate::model::holders::{HolderRecord, Kind};

/// Share of a group's blocks from which on a holder is that of the group.
const MAJORITY: f64 = 0.5;

/// Holders that are made roots of the report, at most.
const MOST_ROOTS: usize = 12;

/// Who holds a group's blocks, and of how many generations most are lost.
#[derive(Clone, Debug, Default)]
pub(super) struct OfGroup {
    /// `None` if no one holds most of them.
    pub(super) holder: Option<Holder>,
    /// Why there is none.
    pub(super) unknown: Option<String>,
    /// Birth cycles behind the warm-up of which lost blocks are alive, if most of all are lost.
    pub(super) lost_generations: u32,
}

/// Names holders.
pub(super) struct Naming<'a> {
    found: &'a Found,
    journal: &'a Journal,
    named: BTreeMap<u16, Named>,
}

/// A holder's name and place.
#[derive(Clone, Debug)]
struct Named {
    kind: Kind,
    name: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    thread: Option<String>,
}

impl Named {
    fn is_at(&mut self, frame: &Frame) {
        self.name = Some(frame.function.clone());
        self.file.clone_from(&frame.file);
        self.line = frame.line;
    }
}

impl<'a> Naming<'a> {
    pub(super) fn new(found: &'a Found, journal: &'a Journal) -> Self {
        Self {
            found,
            journal,
            named: BTreeMap::new(),
        }
    }

    fn named(&mut self, id: u16, folding: &mut Folding) -> Option<Named> {
        let record = self.found.holder(id)?;
        if let Some(named) = self.named.get(&id) {
            return Some(named.clone());
        }
        let named = name(record, self.journal, folding);
        self.named.insert(id, named.clone());
        Some(named)
    }

    /// Who holds each group that is wanted.
    pub(super) fn of_groups(
        &mut self,
        folding: &mut Folding,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Vec<OfGroup> {
        let mut held: Vec<Vec<Held>> = vec![Vec::new(); folding.groups().len()];
        for row in &self.found.held {
            if let Some(group) = folding
                .group(row.stack_id, row.phase)
                .filter(|&g| is_wanted(g))
            {
                held[group].push(*row);
            }
        }
        let groups = held.into_iter().map(|rows| self.of_group(rows, folding));
        groups.collect()
    }

    fn of_group(&mut self, mut rows: Vec<Held>, folding: &mut Folding) -> OfGroup {
        let warmup = self.journal.start.warmup;
        let behind = |r: &Held| r.birth > warmup;
        if rows.iter().any(behind) {
            rows.retain(behind);
        }
        let all: u64 = rows.iter().map(|r| r.blocks).sum();
        if all == 0 {
            return OfGroup::default();
        }
        // Holders that are shown as one count as one: threads of a pool hold alike.
        let mut sums: BTreeMap<(Kind, Option<String>, Option<u32>), Vec<Held>> = BTreeMap::new();
        for row in rows {
            let Some(named) = self.named(row.holder, folding) else {
                continue;
            };
            let key = (named.kind, named.name.or(named.thread), named.line);
            sums.entry(key).or_default().push(row);
        }
        let blocks = |rows: &[Held]| rows.iter().map(|r| r.blocks).sum::<u64>();
        let births = |rows: &mut dyn Iterator<Item = &Held>| {
            rows.map(|r| r.birth).collect::<BTreeSet<_>>().len() as u32
        };
        let lost = || {
            sums.iter()
                .filter(|(k, _)| k.0.is_lost())
                .flat_map(|(_, r)| r)
        };
        let lost_blocks: u64 = lost().map(|r| r.blocks).sum();
        let lost_generations = match lost_blocks as f64 > MAJORITY * all as f64 {
            true => births(&mut lost()),
            false => 0,
        };
        let most = sums.values().max_by_key(|rows| blocks(rows));
        let Some(most) = most.filter(|rows| blocks(rows) as f64 > MAJORITY * all as f64) else {
            return OfGroup {
                holder: None,
                unknown: Some(format!("{} hold them, none of them most", sums.len())),
                lost_generations,
            };
        };
        // Of those that are shown as one, the one that holds the most of them.
        let largest = most.iter().max_by_key(|r| r.blocks);
        let holder = largest.and_then(|row| {
            let named = self.named(row.holder, folding)?;
            let (path, path_blocks) = self.path(row, folding);
            let record = self.found.holder(row.holder)?;
            Some(Holder {
                kind: named.kind,
                name: named.name,
                file: named.file,
                line: named.line,
                thread: named.thread,
                blocks: blocks(most),
                of_blocks: all,
                share: blocks(most) as f64 / all as f64,
                generations: births(&mut most.iter()),
                lost_blocks: if named.kind.is_lost() { 0 } else { lost_blocks },
                searched_all: self.found.searched_all(),
                cycle_blocks: (record.cycle > 0).then_some(record.cycle),
                path,
                path_blocks,
            })
        });
        OfGroup {
            holder,
            unknown: None,
            lost_generations,
        }
    }

    fn path(&self, row: &Held, folding: &mut Folding) -> (Vec<PathBlock>, u32) {
        let mut ways = self.found.ways.iter();
        let way =
            ways.find(|w| (w.stack_id, w.phase, w.holder) == (row.stack_id, row.phase, row.holder));
        let Some(way) = way else {
            return (Vec::new(), 0);
        };
        let blocks = way.blocks.iter().map(|&(site, bytes)| {
            let stack = folding.stack_of(site, self.journal);
            let blame = symbols::blame_frame(&stack).map(|i| stack[i].clone());
            PathBlock {
                what: what(&stack).map(str::to_owned),
                function: blame
                    .as_ref()
                    .map_or_else(|| UNATTRIBUTED.into(), |f| f.function.clone()),
                file: blame.as_ref().and_then(|f| f.file.clone()),
                line: blame.and_then(|f| f.line),
                bytes,
            }
        });
        (blocks.collect(), way.in_all)
    }

    /// What each holder would set free, the most first.
    pub(super) fn roots(&mut self, folding: &mut Folding) -> Vec<Root> {
        type Key = (Kind, Option<String>, Option<u32>, Option<String>);
        let mut roots: BTreeMap<Key, Root> = BTreeMap::new();
        let mut records: Vec<_> = self.found.holders.iter().filter(|h| h.bytes > 0).collect();
        records.sort_by_key(|h| std::cmp::Reverse((h.alone_bytes, h.bytes)));
        // To name one takes a look through all functions of the program.
        for record in records.into_iter().take(MOST_ROOTS) {
            let id = record.id;
            let (bytes, blocks) = (record.alone_bytes, record.alone_blocks);
            let (reached, reached_blocks) = (record.bytes, record.blocks);
            let Some(named) = self.named(id, folding) else {
                continue;
            };
            let key = (
                named.kind,
                named.name.clone(),
                named.line,
                named.thread.clone(),
            );
            let root = roots.entry(key).or_insert(Root {
                kind: named.kind,
                name: named.name,
                file: named.file,
                line: named.line,
                thread: named.thread,
                retained_bytes: 0,
                retained_blocks: 0,
                reached_bytes: 0,
                reached_blocks: 0,
            });
            root.retained_bytes += bytes;
            root.retained_blocks += blocks;
            root.reached_bytes += reached;
            root.reached_blocks += reached_blocks;
        }
        let mut roots: Vec<Root> = roots.into_values().collect();
        roots.sort_by_key(|r| std::cmp::Reverse((r.retained_bytes, r.reached_bytes)));
        roots
    }
}

fn name(
    record: &HolderRecord<String, Vec<u64>>,
    journal: &Journal,
    folding: &mut Folding,
) -> Named {
    let thread = record.thread.and_then(|id| {
        if id as u32 == journal.start.pid {
            return Some("main".to_owned());
        }
        let mut known = journal.threads.iter().flat_map(|t| &t.threads);
        let of = known.find(|(known, _)| *known == id as u32);
        of.map(|(_, name)| name.clone())
    });
    let mut named = Named {
        kind: record.kind,
        name: None,
        file: None,
        line: None,
        thread,
    };
    match record.kind {
        Kind::Static | Kind::ThreadLocal if !record.symbol.is_empty() => {
            let name = symbols::static_name(&record.symbol);
            let place = folding.static_location(&name);
            named.name = Some(name);
            (named.file, named.line) = place.map_or((None, None), |(f, l)| (Some(f), Some(l)));
        }
        Kind::Stack => {
            let frames = folding.frames(&record.frames);
            let of = |owner| frames.iter().find(|f| f.owner == owner);
            let matters = |f: &&Frame| matches!(f.owner, Owner::Own | Owner::Dependency);
            // What the run itself holds of the workload is the workload's own state.
            let first = frames.iter().find(|f| f.owner == Owner::Tool || matters(f));
            if first.is_some_and(|f| f.owner == Owner::Tool) {
                named.kind = Kind::Workload;
                named.thread = None;
                return named;
            }
            let frame = of(Owner::Own)
                .or_else(|| of(Owner::Dependency))
                .or_else(|| frames.iter().find(|f| f.line.is_some()));
            frame.into_iter().for_each(|f| named.is_at(f));
        }
        Kind::Lost | Kind::Cycle => {
            let stack = record.stack_id.map(|site| folding.stack_of(site, journal));
            let stack = stack.unwrap_or_default();
            let blame = symbols::blame_frame(&stack).map(|i| &stack[i]);
            blame.into_iter().for_each(|f| named.is_at(f));
        }
        _ => {}
    }
    named
}

/// What a block is, by who asked for it: the innermost function that says so.
fn what(stack: &[Frame]) -> Option<&'static str> {
    const KINDS: [(&str, &str); 13] = [
        ("alloc::sync::", "Arc"),
        ("alloc::rc::", "Rc"),
        ("hashbrown", "HashMap"),
        ("std::collections::hash", "HashMap"),
        ("btree", "BTreeMap"),
        ("vec_deque", "VecDeque"),
        ("linked_list", "LinkedList"),
        ("binary_heap", "BinaryHeap"),
        ("alloc::string", "String"),
        ("mpmc", "channel"),
        ("alloc::boxed", "Box"),
        ("alloc::vec", "Vec"),
        ("alloc::raw_vec", "Vec"),
    ];
    let inner = stack.iter().take_while(|f| {
        matches!(f.owner, Owner::Standard | Owner::Tool) || f.function.contains("hashbrown")
    });
    // A wrapper says more than what it is made of: of those on the way, the outermost that is no box.
    let mut kind = None;
    for frame in inner {
        let of = KINDS.iter().find(|(part, _)| frame.function.contains(part));
        match of.map(|(_, kind)| *kind) {
            Some("Box" | "Vec") if kind.is_some() => {}
            Some(found) => kind = Some(found),
            None => {}
        }
    }
    kind
}
