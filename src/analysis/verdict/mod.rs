//! Decides what the censuses of one call site prove. Pure functions over numbers.
//!
//! A cache that gains one entry per cycle looks exactly like a leak until it is full, and deferred
//! frees look like one until the next sweep. No finite run can tell them apart by their curves.
//! The rule therefore has a stated *horizon*: growth that continues beyond it is called a leak;
//! growth that stops, or is swept, within the horizon is not, unless it is by whole models.
//!
//! # Terms
//! - *Generation*: the survivors of one birth cycle.
//! - *Longest lifetime*: the longest time for which any generation of the call site lived before it
//!   was freed.
//! - *Retained generation*: one that is older than the longest lifetime, so it has outlived
//!   everything that was ever freed at this call site. Short-lived blocks do not affect it, however
//!   many there are. A sweep or a bounded cache makes the longest lifetime so long that no
//!   generation counts as retained.
//! - *Floor*: the minimum of the live bytes from a boundary to the end of the run. A block that
//!   grows by `realloc` is born again each time, so it leaves no retained generation, but it raises
//!   the floor.
//! - *Rise*: the birth cycle of a retained generation, or a cycle in which the floor rose.
//!
//! The verdict depends on when the rises occurred: whether they have stopped, become rarer, or
//! continue beyond the horizon.
//!
//! # Files
//! | file | content |
//! | --- | --- |
//! | `series` | the input: what the censuses say about one call site |
//! | `thresholds` | numbers that several rules share |
//! | `levels` | minima, records and steps of a series of numbers |
//! | `rises` | when a series rose, by several definitions |
//! | `rhythm` | whether the rises have stopped, slow down or continue |
//! | `decay` | whether rises that become rarer are those of something bounded |
//! | `rise_verdict`, `reasons` | the verdict that rises allow, and its wording |
//! | `call_site` | the decision on one call site; the entry point |
//! | `unretained` | the decision where no generation is retained: cache or churn |
//! | `containers` | containers whose capacity grows by a factor |
//! | `steps` | steady growth that shows itself in steps, such as that of several containers |
//! | `model_sized` | growth by whole models, called before the horizon |
//! | `pooled` | call sites that hold the same memory in turn, judged as one |
//! | `process_level` | the decision on a part of the process, such as the C heap |
//! | `interim` | when a run that ends by itself is analysed, and at which significance |
//! | `judgement` | the result, and how later findings change it |

mod call_site;
mod containers;
mod decay;
mod interim;
mod judgement;
mod levels;
mod model_sized;
mod pooled;
mod process_level;
mod reasons;
mod rhythm;
mod rise_verdict;
mod rises;
mod series;
mod steps;
pub(crate) mod synthetic;
mod thresholds;
mod unretained;

pub(crate) use call_site::judge;
pub(crate) use interim::{Criteria, max_cycles, may_end, next_interim};
pub(crate) use judgement::Judgement;
pub(crate) use levels::{alike, rises};
pub(crate) use model_sized::judge_model_sized;
pub(crate) use pooled::judge_pooled;
pub(crate) use process_level::judge_level;
pub(crate) use series::{Generation, Series};

#[cfg(test)]
mod tests;
