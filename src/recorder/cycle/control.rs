//! What the parent tells a run that ends by itself: at each look, whether to go on.

use std::fs::File;
use std::io::Read;

use crate::recorder::heap;

/// Environment variable of the measured child: the number of the file that its parent answers on.
pub(crate) const ENV_CONTROL: &str = "AFTERDROP_CONTROL";

/// The parent's answers.
pub(crate) const GO_ON: u8 = b'+';
pub(crate) const STOP: u8 = b'.';
/// Look for holders first, and ask again.
pub(crate) const SEARCH: u8 = b'?';

/// The child's end.
pub(super) struct Control(Option<File>);

impl Control {
    /// Opens what the environment names. Without it a run goes on to its last cycle.
    pub(super) fn open() -> Self {
        let _paused = heap::pause();
        let number = std::env::var(ENV_CONTROL).ok();
        let number = number.and_then(|n| n.parse::<u32>().ok());
        Self(number.and_then(|n| File::open(format!("/proc/self/fd/{n}")).ok()))
    }

    /// Waits for the parent's answer. A parent that is gone wants no more.
    pub(super) fn answer(&mut self) -> u8 {
        let Some(file) = &mut self.0 else {
            return GO_ON;
        };
        let mut answer = [STOP];
        match file.read_exact(&mut answer) {
            Ok(()) => answer[0],
            Err(_) => STOP,
        }
    }
}
