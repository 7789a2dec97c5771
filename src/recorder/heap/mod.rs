//! The global allocator of a measured process, and the ledger of its live blocks.
//!
//! Nothing here knows what a cycle means: the runner sets the [`Birth`](crate::model::block::Birth)
//! of new blocks and reads the ledger at a boundary. Nothing here allocates from the heap that it
//! counts: all data is static, thread-local or in mappings (`mapping.rs`).
//!
//! # Allocation path
//! 1. [`Heap::alloc`](hooks) counts the bytes until the next sample (`sampler.rs`). In a process that
//!    is not measured, and for a block without a sample, the call goes straight to the allocator.
//! 2. The state of the process (`state.rs`), decided at the first allocation (`startup.rs`), chooses
//!    the hooks: `jemalloc_hooks.rs` for the usual case, `recorded_hooks.rs` for any other backend or
//!    alignment, `sampled_hooks.rs` if blocks are sampled.
//! 3. The hook enters the thread (`thread.rs`). A re-entrant call is not recorded.
//! 4. The allocator is called (`backend.rs`).
//! 5. The stack of the caller leads to a counter row (`stack_lookup.rs`): by the stack-layout cache
//!    (`layout_cache.rs`), else by the stack cache (`stack_cache.rs`, with its prefetch trace,
//!    `prefetch.rs`), else by a walk (`last_stack.rs`; `cfi_walk.rs` in a build without frame
//!    pointers) and the interner (`stack_interner.rs`).
//! 6. The number of the row is stored under the block's address (`block_table.rs`), and the block and
//!    its size are added to the row (`counter_row.rs`), to the thread's sums (`thread_counters.rs`)
//!    and to the live bytes (`peak.rs`), whose peak is copied (`peak_snapshot.rs`).
//! 7. The hook leaves the thread. One call in 255 is timed (`call_timing.rs`).
//!
//! # Free path
//! 1. [`Heap::dealloc`](hooks) tests the address (`sampler.rs`): only a block that may have been
//!    recorded goes on.
//! 2. The block is removed from the block table, before it is freed, which gives its row.
//! 3. The hook enters the thread.
//! 4. The block and its size, which the caller passes, are subtracted from the row: in place if the
//!    thread owns the row, atomically beside it otherwise.
//! 5. The allocator frees the block, and the hook leaves the thread.
//!
//! A `realloc` is a free and an allocation at once: the new block is born now, for the stack that
//! reallocated it.
//!
//! # Hash tables
//! A table that one thread uses at a time is a [`MappedTable`]. These have other needs, which the
//! docs of their modules state: the block table (a radix tree), the interner's index and the rule
//! cache of `cfi.rs` (read without a lock), the stack cache (four bytes a stack, with eviction), the
//! layout cache and the index of the frame store (direct mapped, with eviction).

#[cfg(feature = "dhat")]
mod address_map;
mod amount;
mod backend;
mod block_table;
#[cfg(feature = "c-heap")]
pub(crate) mod c_allocator;
pub(crate) mod c_heap;
#[cfg(feature = "c-heap")]
mod c_hooks;
#[cfg(feature = "c-heap")]
mod c_mode;
#[cfg(feature = "c-heap")]
mod c_sizes;
#[cfg(feature = "c-heap")]
mod c_symbols;
mod call_timing;
#[cfg(target_arch = "x86_64")]
mod cfi;
#[cfg(target_arch = "x86_64")]
mod cfi_modules;
#[cfg(target_arch = "x86_64")]
mod cfi_rule;
#[cfg(target_arch = "x86_64")]
mod cfi_walk;
mod counter_row;
mod counter_rows;
#[cfg(feature = "dhat")]
pub(crate) mod dhat;
mod frame;
mod frame_store;
mod hooks;
#[cfg(feature = "jemalloc")]
pub(crate) mod jemalloc;
#[cfg(feature = "jemalloc")]
mod jemalloc_hooks;
mod last_stack;
mod layout_cache;
mod ledger;
mod mapped_ring;
mod mapped_table;
mod mapped_vec;
mod mapping;
#[cfg(all(feature = "preload", target_arch = "x86_64"))]
mod mixed_stack;
#[cfg(all(any(feature = "preload", test), target_arch = "x86_64"))]
mod native_parts;
mod peak;
mod peak_snapshot;
mod prefetch;
#[cfg(any(feature = "preload", test))]
mod python;
mod queries;
mod recorded_hooks;
mod recording;
mod registers;
mod row_segments;
mod sampled_hooks;
mod sampler;
mod spin_lock;
mod stack_cache;
mod stack_interner;
mod stack_layout;
mod stack_lookup;
mod stack_memory;
mod startup;
mod state;
mod tag_table;
#[cfg(test)]
mod tests;
mod thread;
mod thread_counters;
mod thread_record;
mod thread_stacks;
mod unwinder;
mod witness;

#[cfg(feature = "preload")]
pub(crate) use c_mode::records_c;
#[cfg(all(feature = "preload", target_arch = "x86_64"))]
pub(crate) use cfi::forget_rules;
pub use hooks::Heap;
pub(crate) use mapped_table::{MappedTable, TableSlot};
pub(crate) use mapped_vec::MappedVec;
pub(crate) use mapping::{NoMemory, mapped_bytes};
pub(crate) use peak_snapshot::{PeakSnapshot, read_new as read_new_peak};
#[cfg(test)]
pub(crate) use python::Offsets as PythonOffsets;
#[cfg(feature = "preload")]
pub(crate) use python::{
    Found as FoundPython, find as find_python, is_known as knows_python,
    object_allocator as python_allocator, read_location as read_python_location, symbol,
};
#[cfg(any(feature = "preload", test))]
pub(crate) use python::{
    Layout as PythonLayout, RunningFrame as PythonRunningFrame, characters_of as python_characters,
    line_of as python_line,
};
pub(crate) use queries::{
    OwnCost, allocator_bytes, backend, begin_peaks, for_each_block, for_each_live, is_apart,
    is_bare, is_of_c, is_separate_from_c, knows_sizes, origin, own_cost, peak_bytes, restart_peak,
    stack_frames, totals, usable_bytes,
};
pub(crate) use registers::frame_pointer;
pub(crate) use sampler::{ENV_SAMPLE, interval as sampled_every};
#[cfg(feature = "preload")]
pub(crate) use stack_lookup::{count_python_frames, key_of_caller, stack_room};
pub(crate) use startup::{ENV_HEAP, choose_unwinder, is_installed, stop_recording_in_copy};
#[cfg(feature = "live")]
pub(crate) use startup::{ENV_LIVE, is_live};
#[cfg(feature = "preload")]
pub(crate) use startup::{record_samples, stop_recording};
#[cfg(feature = "live")]
pub(crate) use state::now;
pub(crate) use state::{Backend, set_now};
#[cfg(feature = "preload")]
pub(crate) use thread::is_paused;
pub(crate) use thread::{Paused, pause};
pub(crate) use thread_counters::Totals;
pub(crate) use thread_stacks::iter as thread_stacks;
pub(crate) use unwinder::Unwinder;
#[cfg(feature = "preload")]
pub(crate) use unwinder::walk_by;
