//! The read end of the pipe over which the parent replies to the measured process.

use std::fs::File;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use crate::model::plan::Reply;
use crate::recorder::heap;

/// The pipe; `None` if the parent does not reply.
pub(super) struct ReplyPipe(Option<Pipe>);

struct Pipe {
    /// Never closed: the program may have closed its descriptor, and use it for a file of its own.
    file: ManuallyDrop<File>,
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
            let file = ManuallyDrop::new(file);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_pipe_that_the_program_has_closed_is_not_closed_again() {
        let (read_end, _write_end) = std::io::pipe().unwrap();
        let mut pipe = ReplyPipe::open(Some(read_end.as_raw_fd()));
        let descriptor = pipe.0.as_ref().unwrap().file.as_raw_fd();
        // SAFETY: the descriptor is the pipe's own, which nothing else uses, and is closed once, here.
        assert_eq!(unsafe { libc::close(descriptor) }, 0);
        let Reply::Continue { next_analysis } = pipe.receive() else {
            panic!("the run goes on");
        };
        assert_eq!(next_analysis, u32::MAX);
        // In a debug build the standard library would end the process here if `pipe` closed its file.
    }
}
