//! Atomics, fences, cells and waiting: all that the recorder's threads share is made of these.
//!
//! `tests/orderings` compiles the recorder's shared data with another module in this one's place,
//! whose types are those of loom, to try all executions that the orderings allow.

pub(crate) use core::cell::UnsafeCell;
pub(crate) use core::hint::spin_loop;
pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
    Ordering, compiler_fence, fence,
};
pub(crate) use std::thread::yield_now;

/// Whether tables are to be so small that all executions can be tried.
pub(crate) const IS_MODEL: bool = false;
