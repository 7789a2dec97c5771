//! Judges the parts of the process beside the recorded blocks: threads, file descriptors, the C
//! heap, mapped memory, resident memory.
//!
//! | file | content |
//! | --- | --- |
//! | `levels` | what is measured of each part |
//! | `parts` | the judgement on each part, and which part explains another |
//! | `verdict` | the verdict on the process |
//! | `sentence` | its wording |
//! | `kept_pages` | pages that an allocator keeps without a live block |

mod kept_pages;
mod levels;
mod parts;
mod sentence;
mod verdict;

pub(crate) use parts::judge;
pub(crate) use verdict::{is_decisive, process};

#[cfg(test)]
mod tests;
