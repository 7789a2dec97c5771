//! The stack-layout cache: which layouts the stacks of a thread have had, and which counter row the
//! last stack of each was counted in.
//!
//! A program that reaches a place again mostly has its frames at the same addresses as before. So in
//! place of a walk, in which each load waits for the one before, a lookup hashes the words at the
//! addresses of the recorded layout (`stack_layout.rs`):
//!
//! 1. The address of the innermost frame and its return address choose a slot. The cache is direct
//!    mapped: each slot has one layout.
//! 2. If the slot's layout begins at this frame, the key of the stack is computed. If it is the same
//!    as in the last lookup, the row of that stack is the result. Otherwise the key is, by which
//!    the stack cache finds the row.
//! 3. If the key is not found there, the stack is walked, and the cache learns its layout.
//!
//! Where stacks with one innermost frame have several layouts, as in a parser of nested input, keys
//! do not hit. A miss count finds that out: such stacks are walked and found by the hash of the walk.
//!
//! Invariants:
//! 1. A layout that lookups may use has a row: only [`LayoutCache::set_row`] enables one that was
//!    replaced.
//! 2. All addresses of a layout are on the stack of the thread that uses the cache, at or above the
//!    innermost frame. The cache is cleared when another thread takes it over.

use super::counter_row::OwnedRow;
use super::frame::WORD;
use super::stack_layout::{KeyHash, StackLayout};
use crate::recorder::foreign_memory::word;
use crate::recorder::primitive::{AtomicU8, Ordering::Relaxed};

#[cfg(test)]
mod tests;

/// Layouts that are kept: a power of two.
const SLOTS: usize = 4096;

/// How keys are computed in this process: a [`KeyHash`].
static KEY_HASH: AtomicU8 = AtomicU8::new(KeyHash::None as u8);

#[inline]
fn key_hash() -> KeyHash {
    match KEY_HASH.load(Relaxed) {
        #[cfg(target_arch = "x86_64")]
        hash if hash == KeyHash::Aes as u8 => KeyHash::Aes,
        hash if hash == KeyHash::Multiply as u8 => KeyHash::Multiply,
        _ => KeyHash::None,
    }
}

/// Turns the cache on in all threads: the build has frame pointers.
pub(super) fn enable() {
    if !cfg!(without = "layouts") {
        KEY_HASH.store(KeyHash::best() as u8, Relaxed);
    }
}

/// Whether keys are computed by AES.
pub(super) fn uses_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return key_hash() == KeyHash::Aes;
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The layouts that a thread's stacks have had. Valid if all its bytes are zero: then there are
/// none.
pub(super) struct LayoutCache {
    layouts: [StackLayout; SLOTS],
    /// The slots that are in use: the first `used_count` of these.
    used: [u16; SLOTS],
    used_count: u32,
}

/// The result of a lookup.
pub(super) enum Lookup {
    /// The same stack as in the last lookup in this slot: its key, and the row that it was counted
    /// in.
    SameStack(u64, OwnedRow),
    /// The key of another stack with the same layout.
    Key(u64),
    Miss,
}

/// The slot of a stack, by its innermost frame.
///
/// # Safety
/// The two words of that frame are in readable stack memory.
#[inline(always)]
pub(super) unsafe fn slot_of(innermost: usize) -> usize {
    // SAFETY: the contract of this function; the return address is the second word of the frame.
    let ret = unsafe { word::<WORD>(innermost) };
    let hash = (innermost as u64 ^ ret as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (hash >> (u64::BITS - SLOTS.ilog2())) as usize
}

impl LayoutCache {
    /// Looks up the stack whose innermost frame is at an address. `aes_slot` is the slot of the
    /// stack if the caller is compiled for AES and keys are computed by it, and `None` otherwise.
    ///
    /// # Safety
    /// If the cache is on, `innermost` is a live frame on the stack of the thread that uses it.
    #[inline(always)]
    pub(super) unsafe fn find(&mut self, innermost: usize, aes_slot: Option<usize>) -> Lookup {
        // SAFETY: the contract of this function is that of `find_in`, and the cache is on where
        // there is a hash.
        unsafe {
            if let Some(slot) = aes_slot {
                return self.find_in(slot, innermost, None);
            }
            match key_hash() {
                KeyHash::None => Lookup::Miss,
                hash => self.find_in(slot_of(innermost), innermost, Some(hash)),
            }
        }
    }

    /// [`LayoutCache::find`] in a slot. `hash` is `None` if the caller is compiled for AES.
    ///
    /// # Safety
    /// That of [`LayoutCache::find`], and the cache is on.
    #[inline(always)]
    unsafe fn find_in(&mut self, slot: usize, innermost: usize, hash: Option<KeyHash>) -> Lookup {
        let layout = &mut self.layouts[slot];
        if !layout.is_enabled_for(innermost) {
            return Lookup::Miss;
        }
        // SAFETY: all frames of the layout were on this thread's stack when it was recorded, at or
        // above `innermost`, which is live (invariant 2; stack_memory.rs, invariant 1; tests:
        // `a_hit_is_the_stack_that_a_walk_finds`).
        let key = unsafe {
            match hash {
                Some(hash) => layout.key(innermost, hash),
                #[cfg(target_arch = "x86_64")]
                None => layout.key_aes(innermost),
                #[cfg(not(target_arch = "x86_64"))]
                None => layout.key_multiply(innermost),
            }
        };
        match key {
            0 => {
                // SAFETY: the layout is enabled, so that it has a row (invariant 1; tests:
                // `a_hit_is_the_stack_that_a_walk_finds`).
                let (key, row) = unsafe { layout.last() };
                Lookup::SameStack(key, row)
            }
            key => {
                layout.disable();
                Lookup::Key(key)
            }
        }
    }

    /// Learns the layout of a stack that was walked: `frames` are the addresses of its frames,
    /// outermost first, and `key` is what the lookup gave, or 0. Returns the key of the stack; `None`
    /// if it has none.
    ///
    /// # Safety
    /// That of [`LayoutCache::find`], and all frames are live.
    #[inline]
    pub(super) unsafe fn learn(
        &mut self,
        innermost: usize,
        key: u64,
        frames: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + Clone,
    ) -> Option<u64> {
        match key_hash() {
            KeyHash::None => None,
            // SAFETY: the contract of this function, and the cache is on.
            hash => unsafe { self.learn_by(hash, innermost, key, frames) },
        }
    }

    /// # Safety
    /// That of [`LayoutCache::learn`], and the cache is on.
    unsafe fn learn_by(
        &mut self,
        hash: KeyHash,
        innermost: usize,
        key: u64,
        frames: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + Clone,
    ) -> Option<u64> {
        // SAFETY: `innermost` is a live frame, so that its words are readable.
        let slot = unsafe { slot_of(innermost) };
        let layout = &mut self.layouts[slot];
        let is_new = layout.is_empty();
        if is_new {
            layout.reset_misses();
        } else if layout.is_of(innermost, frames.clone()) {
            if key != 0 {
                return Some(key);
            }
            layout.count_match();
        } else {
            layout.count_miss(innermost);
        }
        let lowest = layout.replace(frames)?;
        debug_assert_eq!(lowest, innermost);
        if is_new {
            self.used[self.used_count as usize] = slot as u16;
            self.used_count += 1;
        }
        if layout.is_polymorphic() {
            // Disabled, but known to begin here, so that the miss count goes on.
            layout.enable(innermost);
            return None;
        }
        // SAFETY: all frames of the layout are live, and this process computes keys by `hash`
        // (tests: `a_hit_is_the_stack_that_a_walk_finds`).
        Some(unsafe { layout.key(innermost, hash) })
    }

    /// Sets the row of the stack that begins at `innermost`, after its key was computed, and lets
    /// lookups use its layout.
    ///
    /// # Safety
    /// That of [`LayoutCache::find`].
    #[inline]
    pub(super) unsafe fn set_row(&mut self, innermost: usize, key: u64, row: OwnedRow) {
        // SAFETY: `innermost` is a live frame, so that its words are readable.
        let layout = &mut self.layouts[unsafe { slot_of(innermost) }];
        if layout.is_empty() {
            return;
        }
        layout.count_hit();
        layout.enable(innermost);
        layout.set_last(key, row);
    }

    /// Forgets all layouts.
    pub(super) fn clear(&mut self) {
        for &slot in &self.used[..self.used_count as usize] {
            self.layouts[usize::from(slot)].clear();
        }
        self.used_count = 0;
    }
}
