//! The verdicts on series of known truth.

use super::synthetic::Block;
use super::thresholds::{CONFIRMATION, MIN_PLATEAU};
use super::unretained::CACHE_GENERATIONS;
use super::*;
use crate::model::verdict::{DEFAULT_HORIZON, DEFAULT_MARGIN, FEWEST_CYCLES, Rule, Verdict};

mod call_sites;
mod containers;
mod copied;
mod corpus;
mod levels;
mod pooled;
mod slower;

/// The series of a call site that allocates these blocks, after `n` cycles.
fn series(n: u32, blocks: impl IntoIterator<Item = Block>) -> Series {
    synthetic::series(n, &blocks.into_iter().collect::<Vec<_>>())
}

/// The verdict on it, with the default horizon.
fn verdict(n: u32, blocks: impl IntoIterator<Item = Block>) -> Verdict {
    judge(&series(n, blocks), Criteria::fixed(DEFAULT_HORIZON)).verdict
}

/// The default number of cycles after the warm-up.
const DEFAULT_N: u32 = DEFAULT_HORIZON + DEFAULT_MARGIN;
