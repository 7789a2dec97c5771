//! The profile of a report: live blocks by stack and birth cycle, with numbered frames.

use std::collections::HashMap;
use std::path::Path;

use super::fold::Folding;
use crate::analysis::journal::Journal;
use crate::base::order::sort_by_key;
use crate::model::frame::{Frame, relevant_range};
use crate::model::profile::{Mapping, Profile, ProfileStack};

/// The profile of the call sites of a report, given in their order by their indices in
/// [`Folding::sites`].
pub(super) fn of(sites: &[usize], folding: &mut Folding, journal: &Journal) -> Profile {
    let mut profile = Profile::default();
    let mut numbers: HashMap<Frame, u32> = HashMap::new();
    let mut rank_of = vec![None; folding.sites().len()];
    for (rank, &site) in (0..).zip(sites) {
        rank_of[site] = Some(rank);
    }
    let live = folding.live().into_iter();
    let ranked = live.filter_map(|((site, stack), live)| {
        let rank: u32 = rank_of[site]?;
        Some((rank, stack, live))
    });
    let mut live: Vec<_> = ranked.collect();
    sort_by_key(&mut live, |&(rank, stack, _)| (rank, stack));
    for (site, stack, live) in live {
        let addresses = journal.stacks.get(&stack).map_or(&[][..], |s| &s.stack);
        let (frames, calls) = relevant_calls(folding, addresses);
        let mut number = |frame: &Frame| {
            *numbers.entry(frame.clone()).or_insert_with(|| {
                profile.frames.push(frame.clone());
                profile.frames.len() as u32 - 1
            })
        };
        profile.stacks.push(ProfileStack {
            site,
            frames: frames.iter().map(&mut number).collect(),
            calls,
            live: live.into_iter().map(|(_, born)| born).collect(),
        });
    }
    profile.mappings = mappings(&profile, journal);
    profile
}

/// The relevant frames of a stack of return addresses; and the addresses of these frames, each with
/// the number of frames at it.
pub(super) fn relevant_calls(
    folding: &mut Folding,
    addresses: &[u64],
) -> (Vec<Frame>, Vec<(u64, u32)>) {
    let mut stack: Vec<Frame> = Vec::new();
    let mut call_of: Vec<usize> = Vec::new();
    for (call, &address) in addresses.iter().enumerate() {
        stack.extend(folding.frames(&[address]));
        call_of.resize(stack.len(), call);
    }
    let range = relevant_range(&stack);
    let mut calls: Vec<(u64, u32)> = Vec::new();
    let mut last = None;
    for &call in &call_of[range.clone()] {
        match calls.last_mut().filter(|_| last == Some(call)) {
            Some((_, frames)) => *frames += 1,
            None => calls.push((addresses[call], 1)),
        }
        last = Some(call);
    }
    (stack[range].to_vec(), calls)
}

/// The code mappings that contain a return address of the profile.
fn mappings(profile: &Profile, journal: &Journal) -> Vec<Mapping> {
    let mut addresses: Vec<u64> = profile
        .stacks
        .iter()
        .flat_map(|s| s.calls.iter().map(|c| c.0))
        .collect();
    addresses.sort_unstable();
    let is_used = |start, end| {
        let from = addresses.partition_point(|&a| a < start);
        addresses.get(from).is_some_and(|&a| a < end)
    };
    let here = std::env::current_dir().unwrap_or_default();
    let shown = |path: &Path| {
        let inside = path.strip_prefix(&here).unwrap_or(path);
        inside.to_string_lossy().into_owned()
    };
    let code = journal.code.iter().filter(|c| is_used(c.start, c.end));
    code.map(|c| Mapping {
        start: c.start,
        end: c.end,
        offset: c.offset,
        path: shown(c.path.as_path()),
    })
    .collect()
}
