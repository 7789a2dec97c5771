//! The counters of a boundary that the heap keeps.

use super::heap::{self, OwnCost, Totals};
use crate::model::journal::Counts;

/// What the heap had counted at the boundary before, and what the recorder had cost before the first cycle.
pub(crate) struct Before {
    pub(crate) totals: Totals,
    pub(crate) cost: OwnCost,
}

impl Before {
    /// What is counted now.
    pub(crate) fn now() -> Self {
        Self {
            totals: heap::totals(),
            cost: heap::own_cost(),
        }
    }

    /// The counters of a boundary at which the heap has these totals.
    pub(crate) fn counts(&self, totals: &Totals, peak_bytes: u64) -> Counts {
        let (before, cost) = (&self.totals, heap::own_cost());
        Counts {
            live_bytes: totals.live_bytes,
            live_blocks: totals.live_blocks,
            peak_bytes,
            allocations: totals.allocations - before.allocations,
            allocated_bytes: totals.allocated_bytes - before.allocated_bytes,
            hook_nanos: cost.hook_nanos - self.cost.hook_nanos,
            timed_calls: cost.timed_calls - self.cost.timed_calls,
            mapped_bytes: cost.mapped_bytes,
            unseen: cost.unseen,
            unknown_frees: totals.unknown_frees,
            refused: totals.refused + cost.refused_stacks,
            ..Counts::default()
        }
    }
}
