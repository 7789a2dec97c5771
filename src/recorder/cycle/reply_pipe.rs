//! The read end of the pipe over which the parent replies to the measured process.

use std::fs::File;
use std::io::Read;
use std::os::fd::RawFd;

use crate::model::plan::Reply;
use crate::recorder::heap;

/// The pipe; `None` if the parent does not reply.
pub(super) struct ReplyPipe(Option<File>);

impl ReplyPipe {
    /// Opens the file descriptor of the plan.
    pub(super) fn open(descriptor: Option<RawFd>) -> Self {
        let _paused = heap::pause();
        Self(descriptor.and_then(|n| File::open(format!("/proc/self/fd/{n}")).ok()))
    }

    /// Waits for the next reply. If the parent has exited, this is [`Reply::Stop`]. Without a pipe
    /// the run continues to its last cycle.
    pub(super) fn receive(&mut self) -> Reply {
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
