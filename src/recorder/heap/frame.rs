//! A stack frame as a walk records it, and the hash of a backtrace.

/// Most frames recorded of one stack. A deeper stack is truncated at its outer end, and the
/// truncation is recorded.
pub(super) const MAX_FRAMES: usize = 128;

/// Bytes of a machine word.
pub(super) const WORD: usize = size_of::<usize>();

/// The two words at the start of a frame that has a frame pointer: the caller's frame pointer and
/// the return address. The order is the same on x86-64 and aarch64.
pub(super) type FrameWords = (usize, usize);

/// One frame of a recorded backtrace.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// The return address, read one word above `at`.
    pub(super) return_address: usize,
    /// Address of the frame's two words.
    pub(super) at: usize,
    /// Hash of the return addresses from the outermost frame to this one.
    pub(super) hash: u64,
}

impl Frame {
    pub(super) const EMPTY: Self = Self {
        return_address: 0,
        at: 0,
        hash: 0,
    };
}

/// The result of a stack walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// Hash of all recorded return addresses; 0 if there is none.
    pub(super) hash: u64,
    /// Whether the stack has more than [`MAX_FRAMES`] frames.
    pub(super) truncated: bool,
}

/// Mixes one more return address into the hash of a backtrace, by multiplying and folding as in
/// wyhash (Wang Yi, public domain). With 64 bits, the probability that two of 200,000 stacks have
/// the same hash is about 1e-9.
#[inline]
pub(super) fn mix(hash: u64, return_address: usize) -> u64 {
    let wide = u128::from(hash ^ 0x9E37_79B9_7F4A_7C15)
        * u128::from(return_address as u64 ^ 0xD6E8_FEB8_6659_FD93);
    let folded = (wide as u64) ^ ((wide >> 64) as u64);
    folded.rotate_left(23).wrapping_add(return_address as u64)
}
