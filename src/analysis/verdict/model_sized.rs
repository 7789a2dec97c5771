//! Growth by whole models, which is called a leak without waiting for the horizon.

use super::judgement::Judgement;
use crate::base::units::bytes;
use crate::model::verdict::{Rule, Verdict};

/// The number of generations from which growth by whole models is a leak.
pub(super) const MODEL_SIZED_GENERATIONS: usize = 8;

/// Calls growth by whole models a leak: each growing call site retains a generation born in the
/// load in every cycle, and together they retain at least 90 % of `loaded_bytes` in every cycle,
/// which is what one load leaves live before the drop.
///
/// If a cache is filled during the load, its entries are among the loaded bytes. For a false alarm
/// they would have to be nine times as large as the model.
pub(crate) fn judge_model_sized(judgements: &mut [Judgement], loaded_bytes: u64) {
    let growing = judgements.iter().filter(|j| j.is_growth());
    let retained: u64 = growing.filter_map(|j| j.retained_every_cycle).sum();
    if loaded_bytes == 0 || retained < loaded_bytes - loaded_bytes / 10 {
        return;
    }
    for j in judgements {
        if j.verdict != Verdict::Growing || j.retained_every_cycle.is_none() {
            continue;
        }
        let models = j.evidence.rises.len();
        j.verdict = Verdict::Leak;
        j.settled = true;
        j.evidence.rule = Rule::ModelSized;
        j.evidence.more_cycles = None;
        j.reason = format!(
            "a generation is retained in every cycle, and together these call sites retain {} of \
             the {} of one load in every cycle (at least 90 %): whole models, {models} so far. If \
             they are cached or swept, then more than {models} at a time",
            bytes(retained as f64),
            bytes(loaded_bytes as f64)
        );
    }
}
