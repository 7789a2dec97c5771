//! The interpreter's frames of the running thread.

use super::interpreter::{Interpreter, interpreter};
use super::objects::{byte_at, word_at};
use super::offsets::{Offsets, RunningFrame};
use crate::recorder::heap::frame::{MAX_FRAMES, mix};
use crate::recorder::heap::stack_memory::StackBounds;

/// Frames that are followed at most, to where Python begins on the native stack. A program sets how
/// deep its functions may call each other; usually it is 1,000.
const MAX_FOLLOWED: usize = 1 << 20;

/// Every so many frames that are followed, one is remembered.
const REMEMBER_EVERY: usize = 64;

/// Frames that are remembered, by their addresses.
const REMEMBERED: usize = 256;

/// From this owner on a frame is not that of a function.
const NOT_OF_A_FUNCTION: u8 = 3;

/// A frame as it is found.
#[derive(Clone, Copy)]
pub(super) struct PythonFrame {
    /// Addresses of its code object and of its instruction.
    pub(super) code: usize,
    pub(super) instruction: usize,
}

/// The Python frames of the last stack of a thread, innermost first. Valid if all its bytes are zero:
/// then there are none.
pub(crate) struct PythonFrames {
    len: usize,
    /// Whether the outermost frames are missing.
    is_truncated: bool,
    hash: u64,
    frames: [PythonFrame; MAX_FRAMES],
}

/// Where Python begins on the native stack, of frames that were followed before: a deep recursion is not
/// followed to its end at each allocation. Valid if all its bytes are zero: then there are none.
pub(crate) struct Begins([Begin; REMEMBERED]);

impl Begins {
    pub(crate) const fn new() -> Self {
        Self([Begin { frame: 0, at: 0 }; REMEMBERED])
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

/// A frame, and the address where the native frame begins in which its function runs.
#[derive(Clone, Copy)]
struct Begin {
    frame: usize,
    at: usize,
}

impl PythonFrames {
    pub(crate) const fn new() -> Self {
        const NONE: PythonFrame = PythonFrame {
            code: 0,
            instruction: 0,
        };
        Self {
            len: 0,
            is_truncated: false,
            hash: 0,
            frames: [NONE; MAX_FRAMES],
        }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// A hash of the frames, by their addresses.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// The frames, innermost first.
    pub(super) fn frames(&self) -> &[PythonFrame] {
        &self.frames[..self.len]
    }

    /// The frames with this code object.
    pub(crate) fn count_of(&self, code: usize) -> usize {
        let frames = self.frames().iter();
        frames.filter(|frame| frame.code == code).count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads the frames of this thread. Returns the address in the native frame in which the innermost
    /// Python function runs; `None` if no Python runs on this stack. `sp` is in a live native frame.
    #[inline]
    pub(crate) fn read(
        &mut self,
        sp: usize,
        stack: StackBounds,
        begins: Option<&mut Begins>,
    ) -> Option<usize> {
        self.len = 0;
        let interpreter = interpreter()?;
        let thread = interpreter.thread()?;
        // SAFETY: the state is that of the running thread.
        unsafe {
            self.read_of(
                interpreter,
                thread,
                StackBounds { low: sp, ..stack },
                begins,
            )
        }
    }

    /// # Safety
    /// `thread` is the state of the running thread, which no other thread changes.
    unsafe fn read_of(
        &mut self,
        interpreter: &Interpreter,
        thread: usize,
        stack: StackBounds,
        begins: Option<&mut Begins>,
    ) -> Option<usize> {
        let offsets = &interpreter.offsets;
        // SAFETY: the contract of this function: the innermost frame is live, and so are its callers.
        unsafe {
            let (mut frame, record) = running_frame(thread, offsets);
            let mut begin = record.filter(|&at| stack.contains(at));
            let mut hash = 0;
            self.is_truncated = false;
            while frame != 0 && !self.is_truncated {
                if begin.is_none() && stack.contains(frame) {
                    begin = Some(frame);
                }
                if byte_at(frame + offsets.owner) < NOT_OF_A_FUNCTION {
                    hash = self.push(frame, offsets, hash);
                }
                frame = word_at(frame + offsets.previous);
            }
            self.hash = hash;
            if begin.is_none() {
                begin = begin_of(frame, offsets, stack, begins);
            }
            if begin.is_none() {
                self.len = 0;
            }
            begin
        }
    }

    /// Adds the frame of a function and returns the hash with it.
    ///
    /// # Safety
    /// The frame is live.
    #[inline(always)]
    unsafe fn push(&mut self, frame: usize, offsets: &Offsets, hash: u64) -> u64 {
        let Some(next) = self.frames.get_mut(self.len) else {
            self.is_truncated = true;
            return hash;
        };
        // SAFETY: the contract of this function. The lowest bits of a reference to a code object may
        // be a tag. A frame of a function has a code object, which lives as long.
        let (code, instruction, line_table) = unsafe {
            let code = word_at(frame + offsets.code) & !7;
            let instruction = word_at(frame + offsets.instruction);
            (code, instruction, word_at(code + offsets.line_table))
        };
        *next = PythonFrame { code, instruction };
        self.len += 1;
        // Another code object may get the addresses of one that has died; rarely all of them.
        mix(
            hash ^ (line_table as u64).rotate_left(32) ^ code as u64,
            instruction,
        )
    }
}

/// Where Python begins on the native stack, by the callers of the frames that are recorded.
///
/// # Safety
/// The frame is live, or 0.
#[cold]
#[inline(never)]
unsafe fn begin_of(
    first: usize,
    offsets: &Offsets,
    stack: StackBounds,
    mut begins: Option<&mut Begins>,
) -> Option<usize> {
    let (mut frame, mut begin, mut followed) = (first, None, 0);
    while frame != 0 && followed < MAX_FOLLOWED && begin.is_none() {
        let known = begins.as_ref().map(|begins| begins.0[slot_of(frame)]);
        begin = match known {
            // A frame that is over may have been at the same address: then native frames are missing, or
            // those of the interpreter are among them.
            Some(known) if known.frame == frame && stack.contains(known.at) => Some(known.at),
            _ => stack.contains(frame).then_some(frame),
        };
        // SAFETY: the contract of this function: the caller of a live frame is live.
        frame = unsafe { word_at(frame + offsets.previous) };
        followed += 1;
    }
    let at = begin?;
    if let Some(begins) = begins.take_if(|_| followed > 2 * REMEMBER_EVERY) {
        let mut frame = first;
        for number in 0..followed.min(REMEMBERED * REMEMBER_EVERY) {
            if number.is_multiple_of(REMEMBER_EVERY) {
                begins.0[slot_of(frame)] = Begin { frame, at };
            }
            // SAFETY: as above; these frames were followed to here.
            frame = unsafe { word_at(frame + offsets.previous) };
        }
    }
    begin
}

/// Where a frame is remembered.
fn slot_of(frame: usize) -> usize {
    mix(0, frame) as usize % REMEMBERED
}

/// A thread's innermost frame, 0 if there is none, and the address of the record that leads to it, if
/// one does.
///
/// # Safety
/// `thread` is the state of the running thread.
#[inline(always)]
unsafe fn running_frame(thread: usize, offsets: &Offsets) -> (usize, Option<usize>) {
    // SAFETY: the contract of this function. A record lives as long as it is the thread's.
    unsafe {
        match offsets.running {
            RunningFrame::InThread { frame } => (word_at(thread + frame), None),
            RunningFrame::InRecord { record, frame } => match word_at(thread + record) {
                0 => (0, None),
                at => (word_at(at + frame), Some(at)),
            },
        }
    }
}
