//! A stack of native frames above Python's: what a thread keeps of its last one.

use super::frame::{Frame, MAX_FRAMES, Walk, mix};
use super::native_parts::NativeParts;
use super::python::{Begins, PythonFrames, resolve};

/// Valid if all its bytes are zero: then it is empty.
pub(super) struct MixedStack {
    pub(super) python: PythonFrames,
    pub(super) begins: Begins,
    /// Where the native part ends.
    pub(super) end: usize,
    /// Whether the native part was walked, and not only found in the cache.
    pub(super) is_walked: bool,
    pub(super) parts: NativeParts,
    /// The frames to intern, outermost first.
    frames: [Frame; MAX_FRAMES],
}

impl MixedStack {
    pub(super) const fn new() -> Self {
        Self {
            python: PythonFrames::new(),
            begins: Begins::new(),
            end: 0,
            is_walked: false,
            parts: NativeParts::new(),
            frames: [Frame::EMPTY; MAX_FRAMES],
        }
    }

    pub(super) fn clear(&mut self) {
        self.python.clear();
        self.begins.clear();
    }

    /// The native frames above the locations of Python's, outermost first, and their walk. If they are too
    /// many, the outermost are left out. `native` are outermost first.
    pub(super) fn merge(&mut self, walk: Walk, native: &[Frame]) -> (Walk, &[Frame]) {
        let Walk { mut truncated, .. } = walk;
        let room = MAX_FRAMES - native.len();
        let mut count = 0;
        // Python's frames are found from the innermost on.
        resolve(&self.python, |location| match count < room {
            true => {
                self.frames[count].return_address = location;
                count += 1;
            }
            false => truncated = true,
        });
        self.frames[..count].reverse();
        let len = count + native.len();
        for (frame, native) in self.frames[count..len].iter_mut().zip(native) {
            frame.return_address = native.return_address;
        }
        let mut hash = 0;
        for frame in &mut self.frames[..len] {
            hash = mix(hash, frame.return_address);
            frame.hash = hash;
        }
        (Walk { hash, truncated }, &self.frames[..len])
    }
}
