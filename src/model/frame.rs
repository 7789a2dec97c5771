//! Frames of a stack, as reports have them.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A place as `file:line`, as far as it is known; else nothing.
pub(crate) fn location_of(file: Option<&str>, line: Option<u32>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.to_owned(),
        _ => String::new(),
    }
}

/// One frame of a stack, inlined or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Frame {
    /// Demangled name without its hash; `??` if the executable does not tell.
    pub function: String,
    /// Source file, relative to the folder of the crate that was built where that is known.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Whose code it is.
    pub owner: Owner,
}

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The user's own: not one of the others.
    Own,
    /// The user's own, but written by a macro: its line is an attribute such as
    /// `#[derive(Module)]`.
    Generated,
    /// A crate from a registry or a checkout.
    Dependency,
    /// `std`, `core`, `alloc`, crates that only store things for others, and code without a line.
    Standard,
    /// afterdrop itself. Its workloads count as the user's own.
    Tool,
}

impl Frame {
    /// What the frame is part of: the folder of its crate, as far as the file tells.
    pub(crate) fn package(&self) -> &str {
        let file = self.file.as_deref().unwrap_or(&self.function);
        file.split('/').next().unwrap_or_default()
    }

    /// Its place as `file:line`, as far as it is known; else nothing.
    pub fn location(&self) -> String {
        location_of(self.file.as_deref(), self.line)
    }

    /// Whether it is of code that somebody edits.
    fn matters(&self) -> bool {
        matches!(
            self.owner,
            Owner::Own | Owner::Generated | Owner::Dependency
        )
    }
}

impl Frame {
    /// Whether this is where the standard library begins a thread: what it keeps of each is of one
    /// cause, whichever line of its own allocates it, and in whichever phase that is.
    pub(crate) fn starts_thread(&self) -> bool {
        self.owner == Owner::Standard && self.function.ends_with("::thread_start")
    }
}

/// The part of a stack that a reader wants: from where it left the allocator and the standard
/// library to where the tool's runner, a thread's start or `main` called it.
pub(crate) fn relevant(stack: &[Frame]) -> &[Frame] {
    &stack[relevant_range(stack)]
}

/// The same as indices.
pub(crate) fn relevant_range(stack: &[Frame]) -> Range<usize> {
    let inner = stack.iter().position(Frame::matters).unwrap_or(stack.len());
    let outer = stack[inner..]
        .iter()
        .position(|f| f.owner == Owner::Tool)
        .map_or(stack.len(), |n| inner + n);
    let end = stack[inner..outer].iter().rposition(Frame::matters);
    inner..end.map_or(inner, |i| inner + i + 1)
}
