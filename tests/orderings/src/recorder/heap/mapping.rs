//! In place of `mapping.rs`: memory that lasts as long as the execution.

use crate::recorder::primitive::memory;
pub use memory::map;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

pub fn round_up(bytes: usize) -> usize {
    bytes
}

/// # Safety
/// None is needed: the memory is freed when the execution ends.
pub unsafe fn unmap(_at: *mut u8, _bytes: usize) {}

/// # Safety
/// `at` came from `map(bytes)`, and `to` is not smaller.
pub unsafe fn remap(at: *mut u8, bytes: usize, to: usize) -> *mut u8 {
    let new = map(to);
    // SAFETY: the contract of `remap`: both have at least `bytes` bytes, and the new one is another.
    unsafe { std::ptr::copy_nonoverlapping(at, new, bytes) };
    new
}
