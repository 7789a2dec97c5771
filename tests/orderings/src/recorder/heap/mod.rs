//! The modules of `src/recorder/heap` that threads share, and the models of them.
//!
//! A model uses a part of a module.
#![allow(dead_code)]

#[path = "../../../../../src/recorder/heap/amount.rs"]
mod amount;
#[path = "../../../../../src/recorder/heap/block_table.rs"]
mod block_table;
#[path = "../../../../../src/recorder/heap/counter_row.rs"]
mod counter_row;
#[path = "../../../../../src/recorder/heap/counter_rows.rs"]
mod counter_rows;
#[path = "../../../../../src/recorder/heap/frame.rs"]
mod frame;
#[path = "../../../../../src/recorder/heap/frame_store.rs"]
mod frame_store;
#[path = "../../../../../src/recorder/heap/mapped_ring.rs"]
mod mapped_ring;
#[path = "../../../../../src/recorder/heap/mapped_vec.rs"]
mod mapped_vec;
mod mapping;
pub mod models;
#[path = "../../../../../src/recorder/heap/row_segments.rs"]
mod row_segments;
#[path = "../../../../../src/recorder/heap/spin_lock.rs"]
mod spin_lock;
#[path = "../../../../../src/recorder/heap/stack_interner.rs"]
mod stack_interner;
#[path = "../../../../../src/recorder/heap/stack_memory.rs"]
mod stack_memory;
#[path = "../../../../../src/recorder/heap/thread_counters.rs"]
mod thread_counters;
#[path = "../../../../../src/recorder/heap/thread_record.rs"]
mod thread_record;
#[path = "../../../../../src/recorder/heap/thread_stacks.rs"]
mod thread_stacks;

/// In place of the caches of a thread. That one thread at a time uses them is checked by the
/// record's cell.
macro_rules! cache {
    ($module:ident, $cache:ident) => {
        mod $module {
            pub struct $cache;

            impl $cache {
                pub fn clear(&mut self) {}
            }
        }
    };
}

cache!(last_stack, LastStack);
cache!(layout_cache, LayoutCache);
cache!(stack_cache, StackCache);
