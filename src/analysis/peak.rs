//! What was live at the peak, by call site.

use std::collections::HashMap;

use super::fold::{Folding, Live};
use super::journal::Journal;
use super::symbols::UNATTRIBUTED;
use crate::base::order::sort_by;
use crate::base::units::sum;
use crate::model::block::StackId;
use crate::model::frame::{Frame, relevant};
use crate::model::peak::{Peak, PeakCallSite};
use crate::model::run::Phase;

/// Call sites with frames: the largest.
const WITH_FRAMES: usize = 10;

/// A call site in the making.
struct Site {
    blame: Option<Frame>,
    phase: Phase,
    all: Live,
    /// Its stack with the most bytes.
    largest: (u64, StackId),
}

impl Site {
    fn new(blame: Option<Frame>, phase: Phase) -> Self {
        Self {
            blame,
            phase,
            all: Live::default(),
            largest: (0, 0),
        }
    }
}

/// What was live at the peak; `None` if the journal does not tell.
pub(super) fn of(folding: &mut Folding, journal: &Journal) -> Option<Peak> {
    let peak = journal.peak.as_ref()?;
    let mut sites: Vec<Site> = Vec::new();
    let mut number_of: HashMap<(Option<Frame>, Phase), usize> = HashMap::new();
    for entry in &peak.census {
        let stack = folding.stack(entry.stack_id, journal);
        let (blame, phase) = Folding::call_site(&stack, entry.phase);
        let number = number_of.entry((blame.clone(), phase)).or_insert_with(|| {
            sites.push(Site::new(blame, phase));
            sites.len() - 1
        });
        let site = &mut sites[*number];
        site.all.bytes += entry.bytes;
        site.all.blocks += entry.blocks;
        site.largest = site.largest.max((entry.bytes, entry.stack_id));
    }
    sort_by(&mut sites, |a, b| {
        let larger = b.all.bytes.cmp(&a.all.bytes);
        larger.then_with(|| (&a.blame, a.phase).cmp(&(&b.blame, b.phase)))
    });
    let parts = sites.iter().map(|site| site.all.bytes);
    let live_bytes = sum(parts.chain([peak.setup_bytes, peak.other_bytes]));
    let call_sites = sites.into_iter().enumerate();
    let call_sites = call_sites.map(|(rank, site)| {
        let frames = match rank < WITH_FRAMES {
            true => relevant(&folding.stack(site.largest.1, journal)).to_vec(),
            false => Vec::new(),
        };
        let (function, file, line) = match site.blame {
            Some(frame) => (frame.function, frame.file, frame.line),
            None => (UNATTRIBUTED.into(), None, None),
        };
        PeakCallSite {
            function,
            file,
            line,
            phase: site.phase,
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
