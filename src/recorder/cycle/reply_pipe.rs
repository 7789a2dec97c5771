//! The read end of the pipe over which the parent replies to the measured process.

use std::fs::File;
use std::io::Read;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use crate::model::plan::Reply;
use crate::recorder::heap;

/// The pipe; `None` if the parent does not reply.
pub(super) struct ReplyPipe(Option<Pipe>);

struct Pipe {
    file: File,
    /// The number of the pipe, by which it is told from a file that the program has opened under its
    /// descriptor.
    inode: u64,
}

impl ReplyPipe {
    /// Opens the file descriptor of the plan.
    pub(super) fn open(descriptor: Option<RawFd>) -> Self {
        let _paused = heap::pause();
        let open = |n| -> Option<Pipe> {
            let file = File::open(format!("/proc/self/fd/{n}")).ok()?;
            let inode = file.metadata().ok()?.ino();
            Some(Pipe { file, inode })
        };
        Self(descriptor.and_then(open))
    }

    /// Waits for the next reply. If the parent has exited, this is [`Reply::Stop`]. Without a pipe, or
    /// if the program has closed it, the run continues to its last cycle.
    pub(super) fn receive(&mut self) -> Reply {
        let is_open = |pipe: &Pipe| pipe.file.metadata().is_ok_and(|m| m.ino() == pipe.inode);
        let Some(pipe) = self.0.as_mut().filter(|pipe| is_open(pipe)) else {
            return Reply::Continue {
                next_analysis: u32::MAX,
            };
        };
        let mut reply = [0; Reply::SIZE];
        match pipe.file.read_exact(&mut reply) {
            Ok(()) => Reply::from_bytes(reply).unwrap_or(Reply::Stop),
            Err(_) => Reply::Stop,
        }
    }
}
