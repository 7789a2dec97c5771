//! What was live at the peak, by call site.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::fold::{Folding, Live};
use super::journal::Journal;
use super::symbols::UNATTRIBUTED;
use crate::base::units::sum;
use crate::model::block::StackId;
use crate::model::frame::{Frame, relevant};
use crate::model::peak::{Peak, PeakCallSite};
use crate::model::run::Phase;

/// Call sites with frames: the largest.
const WITH_FRAMES: usize = 10;

/// A call site in the making.
#[derive(Default)]
struct Site {
    all: Live,
    /// Its stack with the most bytes.
    largest: (u64, StackId),
}

/// What was live at the peak; `None` if the journal does not tell.
pub(super) fn of(folding: &mut Folding, journal: &Journal) -> Option<Peak> {
    let peak = journal.peak.as_ref()?;
    let mut sites: BTreeMap<(Option<Frame>, Phase), Site> = BTreeMap::new();
    for entry in &peak.census {
        let stack = folding.stack(entry.stack_id, journal);
        let site = sites
            .entry(Folding::call_site(&stack, entry.phase))
            .or_default();
        site.all.bytes += entry.bytes;
        site.all.blocks += entry.blocks;
        site.largest = site.largest.max((entry.bytes, entry.stack_id));
    }
    let mut sites: Vec<_> = sites.into_iter().collect();
    sites.sort_by_key(|(_, site)| Reverse(site.all.bytes));
    let parts = sites.iter().map(|(_, site)| site.all.bytes);
    let live_bytes = sum(parts.chain([peak.setup_bytes, peak.other_bytes]));
    let call_sites = sites.into_iter().enumerate();
    let call_sites = call_sites.map(|(rank, ((blame, phase), site))| {
        let frames = match rank < WITH_FRAMES {
            true => relevant(&folding.stack(site.largest.1, journal)).to_vec(),
            false => Vec::new(),
        };
        let (function, file, line) = match blame {
            Some(frame) => (frame.function, frame.file, frame.line),
            None => (UNATTRIBUTED.into(), None, None),
        };
        PeakCallSite {
            function,
            file,
            line,
            phase,
            bytes: site.all.bytes,
            blocks: site.all.blocks,
            frames,
        }
    });
    Some(Peak {
        cycle: peak.cycle,
        phase: Phase::from_number(peak.phase),
        live_bytes,
        setup_bytes: peak.setup_bytes,
        other_bytes: peak.other_bytes,
        call_sites: call_sites.collect(),
    })
}
