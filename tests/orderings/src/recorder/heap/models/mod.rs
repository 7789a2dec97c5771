//! What has to hold in every execution that the orderings allow. A model is a small program on the
//! recorder's own code; loom runs all its executions.
//!
//! The first thread writes, and another reads: of the accesses to a word that a store may come before,
//! loom considers the last one only, which for a load and store is the writer's own load.

mod block_table;
mod counter_row;
mod counter_rows;
mod spin_lock;
mod stack_interner;
mod thread_record;
mod thread_stacks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::amount::Amount;
use crate::recorder::primitive::memory;

/// A name and its program.
pub type Model = (&'static str, fn());

pub fn all() -> Vec<Model> {
    [
        block_table::MODELS,
        counter_row::MODELS,
        counter_rows::MODELS,
        spin_lock::MODELS,
        stack_interner::MODELS,
        thread_record::MODELS,
        thread_stacks::MODELS,
    ]
    .concat()
}

/// Runs all executions in which threads are preempted twice at most, and returns their number.
///
/// # Panics
/// If the program panics in one of them, or if an access is not ordered with another.
pub fn check(program: fn()) -> u64 {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    let executions = Arc::new(AtomicU64::new(0));
    let count = executions.clone();
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        memory::begin();
        program();
    });
    executions.load(Relaxed)
}

/// Bytes of a block.
const SIZE: i64 = 8;

fn one_block() -> Amount {
    Amount::of_block(SIZE as usize, 0)
}
