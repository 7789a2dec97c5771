//! The child's end of the pipe on which its parent replies.

use std::fs::File;
use std::io::Read;
use std::os::fd::RawFd;

use crate::model::plan::Reply;
use crate::recorder::heap;

/// The pipe; `None` if nobody replies.
pub(super) struct Replies(Option<File>);

impl Replies {
    /// Opens the file descriptor of the plan.
    pub(super) fn open(descriptor: Option<RawFd>) -> Self {
        let _paused = heap::pause();
        Self(descriptor.and_then(|n| File::open(format!("/proc/self/fd/{n}")).ok()))
    }

    /// Waits for the next reply. It is [`Reply::Stop`] if the parent is gone, and without a pipe
    /// the run goes on to its last cycle.
    pub(super) fn next(&mut self) -> Reply {
        let Some(pipe) = &mut self.0 else {
            return Reply::Continue {
                next_analysis: u32::MAX,
            };
        };
        let mut reply = [0; Reply::SIZE];
        match pipe.read_exact(&mut reply) {
            Ok(()) => Reply::from_bytes(reply).unwrap_or(Reply::Stop),
            Err(_) => Reply::Stop,
        }
    }
}
