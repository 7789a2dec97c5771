//! The layout of a stack, and the key of what it holds.
//!
//! A layout is the distances at which the frames of a stack lie. A *key* is a hash of the layout and
//! of the two words of each frame, computed with loads that do not depend on each other. Two equal
//! keys mean equal frames: the words of the innermost frame include the address of the next one, and
//! so on to the outermost, so that a walk would find the same return addresses. (What follows the
//! outermost frame was no frame when the layout was recorded, and is taken to be none still.)
//!
//! A key has 63 random bits. A stack has one for each address that it lies at, on each thread: among
//! 200,000 of them, the probability that two are equal is about 2e-9.

use core::mem::MaybeUninit;

use super::counter_row::OwnedRow;
use super::frame::{MAX_FRAMES, WORD, mix};
use super::stack_memory::words;
#[cfg(target_arch = "x86_64")]
use crate::recorder::foreign_memory::aes_round;

/// Frames that are hashed in parallel.
const LANES: usize = 4;

/// Groups of [`LANES`] frames in a layout at most, enough for all frames that are recorded of a
/// stack.
const MAX_GROUPS: usize = MAX_FRAMES / LANES;

/// How keys are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum KeyHash {
    /// Not at all: the build may have no frame pointers.
    None,
    /// By multiplication, on any processor.
    Multiply,
    /// By AES rounds: one instruction hashes both words of a frame.
    #[cfg(target_arch = "x86_64")]
    Aes,
}

impl KeyHash {
    /// The fastest hash that this processor has.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if !cfg!(without = "aes")
            && std::is_x86_feature_detected!("aes")
            && std::is_x86_feature_detected!("avx")
        {
            return Self::Aes;
        }
        Self::Multiply
    }
}

/// A 128-bit hash of the words of all frames.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(16))]
struct Digest([u64; 2]);

/// The digest of no stack, except with a probability of 2^-64.
const NO_DIGEST: Digest = Digest([0; 2]);

/// A layout, and the last stack that had it. Valid if all its bytes are zero: then it is empty.
#[repr(C, align(64))]
pub(super) struct StackLayout {
    /// Address of the innermost frame, with [`DISABLED`] set if lookups must miss; 0 if empty.
    innermost: usize,
    /// Groups of frames; 0 if there is none.
    groups: u16,
    /// The miss count: [`MISS_PENALTY`] for each walked stack with the same innermost frame and
    /// another layout, less 1 for each hit.
    misses: u16,
    /// Row of the last stack.
    row: MaybeUninit<OwnedRow>,
    /// Key of the last stack.
    key: u64,
    /// Hash of the addresses of all frames.
    seed: u64,
    /// Digest of the last stack.
    digest: Digest,
    /// Distance in words from the innermost frame to each frame, innermost first. The last group is
    /// filled up with 0.
    offsets: [[u16; LANES]; MAX_GROUPS],
}

// A lookup of a stack of 32 frames reads two cache lines of its layout.
const _: () = assert!(size_of::<StackLayout>() == 320);
const _: () = assert!(core::mem::offset_of!(StackLayout, offsets) == 64);

/// Set in the address of the innermost frame: no frame lies at an odd address.
const DISABLED: usize = 1;

/// Miss penalty; a hit subtracts 1.
const MISS_PENALTY: u16 = 4;

/// Miss count at which a slot counts as polymorphic and its stacks are always unwound. Computing a
/// key that does not hit costs as much as a walk.
const POLYMORPHIC: u16 = 16;

/// Upper limit of the miss count, so that a slot is soon used again when its stacks get one layout.
const MAX_MISSES: u16 = 32;

impl StackLayout {
    /// Replaces this layout by that of frames at these addresses, the highest first. Returns the
    /// lowest address. If there is no frame, or they are too many or too far apart, the layout stays
    /// as it is and `None` is returned.
    pub(super) fn replace(
        &mut self,
        mut frames: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + Clone,
    ) -> Option<usize> {
        let count = frames.len();
        let offsets = self.offsets.get_mut(..count.div_ceil(LANES))?;
        let (last, _) = offsets.split_last_mut()?;
        let innermost = frames.next_back()?;
        let highest = frames.clone().next().unwrap_or(innermost);
        u16::try_from((highest - innermost) / WORD).ok()?;
        *last = [0; LANES];
        for (offset, at) in offsets.as_flattened_mut().iter_mut().zip(frames.rev()) {
            *offset = ((at - innermost) / WORD) as u16;
        }
        let groups = offsets.iter().map(|group| {
            let [a, b, c, d] = group.map(usize::from);
            a | b << 16 | c << 32 | d << 48
        });
        self.innermost = 0;
        self.seed = groups.fold(innermost as u64, mix);
        self.groups = count.div_ceil(LANES) as u16;
        self.digest = NO_DIGEST;
        Some(innermost)
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        (self.innermost, self.groups) = (0, 0);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.groups == 0
    }

    /// Whether a lookup of the stack with this innermost frame may use the layout.
    #[inline(always)]
    pub(super) fn is_enabled_for(&self, innermost: usize) -> bool {
        self.innermost == innermost
    }

    /// Whether the layout is that of frames at these addresses, the highest first.
    pub(super) fn is_of(
        &self,
        innermost: usize,
        frames: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator,
    ) -> bool {
        let offsets = &self.offsets[..usize::from(self.groups)];
        self.begins_at(innermost)
            && frames.len().div_ceil(LANES) == offsets.len()
            && offsets
                .as_flattened()
                .iter()
                .zip(frames.rev().skip(1).chain(core::iter::repeat(innermost)))
                .all(|(&offset, at)| Self::frame_at(innermost, offset) == at)
    }

    /// Whether the layout, enabled or not, is of a stack with this innermost frame.
    #[inline]
    pub(super) fn begins_at(&self, innermost: usize) -> bool {
        self.innermost | DISABLED == innermost | DISABLED
    }

    /// Whether the stacks with this innermost frame have several layouts.
    #[inline]
    pub(super) fn is_polymorphic(&self) -> bool {
        self.misses >= POLYMORPHIC
    }

    /// Lets lookups use the layout, unless it is polymorphic.
    #[inline]
    pub(super) fn enable(&mut self, innermost: usize) {
        self.innermost = if self.is_polymorphic() {
            innermost | DISABLED
        } else {
            innermost
        };
    }

    /// Makes lookups miss until the layout is enabled again.
    #[inline(always)]
    pub(super) fn disable(&mut self) {
        self.innermost |= DISABLED;
    }

    #[inline]
    pub(super) fn reset_misses(&mut self) {
        self.misses = 0;
    }

    /// Counts a walked stack that had this layout.
    #[inline]
    pub(super) fn count_match(&mut self) {
        self.misses = match self.misses.saturating_sub(1) {
            // Below the threshold the count is reset, so that an occasional other layout does not
            // make the slot polymorphic again at once.
            left if left < POLYMORPHIC => 0,
            left => left,
        };
    }

    /// Counts a walked stack that had another layout.
    #[inline]
    pub(super) fn count_miss(&mut self, innermost: usize) {
        self.misses = match self.begins_at(innermost) {
            true => (self.misses + MISS_PENALTY).min(MAX_MISSES),
            false => 0,
        };
    }

    /// Counts a stack whose key was found.
    #[inline]
    pub(super) fn count_hit(&mut self) {
        self.misses = self.misses.saturating_sub(1);
    }

    /// Sets the key and row of the last stack.
    #[inline]
    pub(super) fn set_last(&mut self, key: u64, row: OwnedRow) {
        self.key = key;
        self.row = MaybeUninit::new(row);
    }

    /// The key and row of the last stack.
    ///
    /// # Safety
    /// [`StackLayout::set_last`] was called since the layout was replaced.
    #[inline(always)]
    pub(super) unsafe fn last(&self) -> (u64, OwnedRow) {
        // SAFETY: the contract of this function: the row was set (layout_cache/tests.rs:
        // `a_hit_is_the_stack_that_a_walk_finds`).
        (self.key, unsafe { self.row.assume_init() })
    }

    /// Address of the frame at an offset.
    #[inline(always)]
    fn frame_at(innermost: usize, offset: u16) -> usize {
        innermost + usize::from(offset) * WORD
    }

    /// The key of the stack in memory; 0 if it is that of the last lookup.
    ///
    /// # Safety
    /// The layout is not empty, the two words of each of its frames are in readable stack memory,
    /// and this processor has what `hash` needs.
    #[inline(always)]
    pub(super) unsafe fn key(&mut self, innermost: usize, hash: KeyHash) -> u64 {
        // SAFETY: the contract of this function is that of both (layout_cache/tests.rs:
        // `every_word_of_every_frame_is_in_the_key`).
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if hash == KeyHash::Aes {
                return self.key_aes_outlined(innermost);
            }
            let _ = hash;
            self.key_multiply(innermost)
        }
    }

    /// [`StackLayout::key`] by multiplication.
    ///
    /// # Safety
    /// The two words of each frame of the layout are in readable stack memory.
    #[inline(never)]
    pub(super) unsafe fn key_multiply(&mut self, innermost: usize) -> u64 {
        let mut lanes = [self.seed, 1, 2, 3];
        for group in &self.offsets[..usize::from(self.groups)] {
            for (lane, &offset) in lanes.iter_mut().zip(group) {
                // SAFETY: the contract of this function: both words are in readable stack memory.
                let (caller_fp, ret) = unsafe { words(Self::frame_at(innermost, offset)) };
                *lane = mix(*lane ^ caller_fp as u64, ret);
            }
        }
        let all = lanes
            .into_iter()
            .fold(0, |all, lane| mix(all, lane as usize));
        let found = Digest([all, 0]);
        if found == self.digest {
            return 0;
        }
        self.digest = found;
        all | 1
    }

    /// [`StackLayout::key`] by AES.
    ///
    /// Each lane is a chain of AES rounds, one for each frame. A round is a permutation, so that
    /// stacks that differ in one frame differ in their lane. If they differ in two frames that are
    /// neighbours in a lane, and in nothing else, the second would have to undo what a round makes
    /// of the first: all four bytes of one column, which a return address can only do by its low
    /// bytes. That has a probability of about 2^-32 where the two calls are more than 16 MiB apart,
    /// and 0 elsewhere. Two rounds for each lane combine them.
    ///
    /// # Safety
    /// The layout is not empty, the two words of each of its frames are in readable stack memory,
    /// and the processor has AES and AVX. To be inlined where the compiler knows that.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn key_aes(&mut self, innermost: usize) -> u64 {
        use core::arch::x86_64::{
            __m128i, _mm_aesenc_si128, _mm_cvtsi128_si64, _mm_load_si128, _mm_set_epi64x,
            _mm_store_si128, _mm_testz_si128, _mm_xor_si128,
        };
        // SAFETY: the contract of this function; the two words of a frame are adjacent, a `Digest`
        // is 16 bytes aligned to 16, and a layout that is not empty has 1 to `MAX_GROUPS` groups
        // (`replace`; layout_cache/tests.rs: `every_word_of_every_frame_is_in_the_key`).
        unsafe {
            let seed = _mm_set_epi64x(0, self.seed as i64);
            let groups = self.offsets.get_unchecked(..usize::from(self.groups));
            let (inner, outer) = groups.split_first().unwrap_unchecked();
            let (mut a, mut b, mut c, mut d) = (seed, seed, seed, seed);
            // A macro: a closure would be a call in a build without optimization.
            macro_rules! round {
                ($group:expr) => {
                    a = aes_round(a, innermost, usize::from($group[0]));
                    b = aes_round(b, innermost, usize::from($group[1]));
                    c = aes_round(c, innermost, usize::from($group[2]));
                    d = aes_round(d, innermost, usize::from($group[3]));
                };
            }
            round!(inner);
            let (pairs, rest) = outer.as_chunks::<2>();
            for [one, other] in pairs {
                round!(one);
                round!(other);
            }
            if let [one] = rest {
                round!(one);
            }
            // Digits of pi, so that what is equal in all lanes does not cancel out.
            let pi = [
                _mm_set_epi64x(0x1319_8A2E_0370_7344, -0x5BF6_C7DD_D660_CE2F),
                _mm_set_epi64x(0x082E_FA98_EC4E_6C89, 0x4528_21E6_38D0_1377),
            ];
            macro_rules! combine {
                ($all:expr, $lane:expr) => {
                    _mm_aesenc_si128(_mm_aesenc_si128($all, pi[0]), $lane)
                };
            }
            let all = combine!(combine!(a, b), combine!(c, d));
            let digest: *mut __m128i = (&raw mut self.digest).cast();
            let difference = _mm_xor_si128(all, _mm_load_si128(digest));
            if _mm_testz_si128(difference, difference) == 1 {
                return 0;
            }
            _mm_store_si128(digest, all);
            let all = _mm_aesenc_si128(_mm_aesenc_si128(all, pi[0]), pi[1]);
            _mm_cvtsi128_si64(all) as u64 | 1
        }
    }

    /// [`StackLayout::key_aes`] for callers that are not compiled for AES.
    ///
    /// # Safety
    /// That of [`StackLayout::key_aes`].
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "aes,avx")]
    #[inline(never)]
    unsafe fn key_aes_outlined(&mut self, innermost: usize) -> u64 {
        // SAFETY: the contract of this function is that of `key_aes`.
        unsafe { self.key_aes(innermost) }
    }
}

#[cfg(test)]
impl StackLayout {
    /// Most walks after which a polymorphic slot is used again, if all its stacks have one layout.
    pub(super) const MAX_WALKS_UNTIL_USED: usize = MAX_MISSES as usize * 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_frames_or_too_large_a_stack_have_no_layout() {
        // SAFETY: an empty layout is all zero.
        let mut layout: StackLayout = unsafe { core::mem::zeroed() };
        let frames = |count: usize, bytes: usize| (0..count).rev().map(move |i| 0x1000 + i * bytes);
        assert_eq!(layout.replace(frames(0, 16)), None);
        assert_eq!(layout.replace(frames(MAX_FRAMES, 16)), Some(0x1000));
        assert_eq!(layout.replace(frames(MAX_FRAMES + 1, 16)), None);
        assert_eq!(layout.replace(frames(2, WORD << 16)), None);
        assert!(!layout.is_enabled_for(0x1000));
    }
}
