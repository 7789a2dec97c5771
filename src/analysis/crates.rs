//! What the code of each crate or shared library has allocated.

use std::cmp::Reverse;

use super::fold::Folding;
use super::journal::Journal;
use super::profile::relevant_calls;
use super::symbols::UNATTRIBUTED;
use crate::base::order::sort_by_key;
use crate::base::vec_map::VecMap;
use crate::model::frame::{Frame, Owner};
use crate::model::peak::CrateShare;
use crate::model::profile::Profile;

/// The user's own crates.
const OWN: &str = "own code";

/// Stacks of which no frame is the user's or a dependency's.
const STANDARD: &str = "standard library";

/// Adds up what is retained and what was live at the peak, the largest first.
pub(super) fn shares(
    profile: &Profile,
    folding: &mut Folding,
    journal: &Journal,
) -> Vec<CrateShare> {
    let is_exec = journal.start.exec;
    let mut shares: VecMap<String, CrateShare> = VecMap::new();
    for stack in &profile.stacks {
        let frame = stack.frames.first().map(|&n| &profile.frames[n as usize]);
        let call = stack.calls.first().map(|call| call.0);
        let share = shares.get_or_default(name(frame, call, folding, is_exec));
        for born in &stack.live {
            share.retained_bytes += born.bytes;
            share.retained_blocks += born.blocks;
        }
    }
    for entry in journal.peak.iter().flat_map(|peak| &peak.census) {
        let addresses = journal.stacks.get(&entry.stack_id);
        let addresses = addresses.map_or(&[][..], |s| &s.stack);
        let (frames, calls) = relevant_calls(folding, addresses);
        let name = match addresses {
            [] => UNATTRIBUTED.to_owned(),
            _ => name(
                frames.first(),
                calls.first().map(|call| call.0),
                folding,
                is_exec,
            ),
        };
        let share = shares.get_or_default(name);
        share.peak_bytes += entry.bytes;
        share.peak_blocks += entry.blocks;
    }
    let named = shares
        .into_iter()
        .map(|(name, share)| CrateShare { name, ..share });
    let mut named: Vec<CrateShare> = named.collect();
    sort_by_key(&mut named, |s| Reverse(s.retained_bytes.max(s.peak_bytes)));
    named
}

/// The crate or shared library of a frame that is called at an address.
fn name(frame: Option<&Frame>, call: Option<u64>, folding: &Folding, is_exec: bool) -> String {
    let object = || call.and_then(|call| folding.object(call));
    match frame {
        None => STANDARD.into(),
        // Of a program as it is nobody knows which of its libraries are the user's own.
        Some(frame) if is_exec => object().unwrap_or_else(|| frame.package().to_owned()),
        Some(frame) if matches!(frame.owner, Owner::Own | Owner::Generated) => OWN.into(),
        Some(frame) if is_versioned(frame.package()) => frame.package().to_owned(),
        Some(frame) => object().unwrap_or_else(|| frame.package().to_owned()),
    }
}

/// Whether it is the folder of a crate: `ndarray-0.17.2`, or `burn-git` of a checkout.
fn is_versioned(package: &str) -> bool {
    package.rsplit_once('-').is_some_and(|(name, version)| {
        !name.is_empty() && (version == "git" || version.starts_with(|c: char| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(owner: Owner, file: Option<&str>) -> String {
        let frame = Frame {
            function: "f".into(),
            file: file.map(Into::into),
            line: Some(1),
            owner,
        };
        name(Some(&frame), None, &Folding::default(), false)
    }

    #[test]
    fn a_dependency_is_named_with_its_version() {
        let file = Some("burn-tensor-0.22.1/src/lib.rs");
        assert_eq!(name_of(Owner::Dependency, file), "burn-tensor-0.22.1");
        let file = Some("my-crate-git/src/lib.rs");
        assert_eq!(name_of(Owner::Dependency, file), "my-crate-git");
    }

    #[test]
    fn the_users_own_crates_are_one() {
        assert_eq!(name_of(Owner::Own, Some("src/lib.rs")), OWN);
        assert_eq!(name_of(Owner::Generated, Some("crates/x/src/lib.rs")), OWN);
    }

    #[test]
    fn a_stack_of_the_standard_library_alone_is_named_so() {
        assert_eq!(name(None, None, &Folding::default(), false), STANDARD);
    }
}
