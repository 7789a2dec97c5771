//! The name of a holder: the static, the function of a stack, or the stack that allocated what is
//! lost.

use super::fold::Folding;
use crate::analysis::journal::Journal;
use crate::analysis::symbols::{blame_frame, python_frame, static_name};
use crate::model::frame::{Frame, Owner};
use crate::model::holders::{HolderKind, HolderRecord};

/// A holder with its name and location, as far as they are known.
#[derive(Clone, Debug)]
pub(super) struct NamedHolder {
    pub(super) kind: HolderKind,
    pub(super) name: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) thread: Option<String>,
}

impl NamedHolder {
    /// Names a holder. For a static this takes a pass over all functions of the program.
    pub(super) fn new(
        record: &HolderRecord<String, Vec<u64>>,
        journal: &Journal,
        folding: &mut Folding,
    ) -> Self {
        let mut named = Self {
            kind: record.kind,
            name: None,
            file: None,
            line: None,
            thread: record.thread.and_then(|id| thread_name(id as u32, journal)),
        };
        match record.kind {
            HolderKind::Static | HolderKind::ThreadLocal if !record.symbol.is_empty() => {
                let name = static_name(&record.symbol);
                if let Some((file, line)) = folding.static_location(&name) {
                    (named.file, named.line) = (Some(file), Some(line));
                }
                named.name = Some(name);
            }
            HolderKind::Module => named.name = Some(record.symbol.clone()),
            HolderKind::Stack if !record.symbol.is_empty() => {
                named.take_frame(&python_frame(&record.symbol, &record.file, record.line));
            }
            HolderKind::Stack => named.name_stack(&folding.frames(&record.frames)),
            HolderKind::Lost | HolderKind::Cycle | HolderKind::NotFound | HolderKind::Garbage => {
                let stack = record.stack_id.map(|id| folding.stack(id, journal));
                let stack = stack.unwrap_or_default();
                if let Some(blame) = blame_frame(&stack) {
                    named.take_frame(&stack[blame]);
                }
            }
            _ => {}
        }
        named
    }

    /// Names a holder on a stack by the innermost frame that matters.
    fn name_stack(&mut self, frames: &[Frame]) {
        let first_of = |owner| frames.iter().find(|f| f.owner == owner);
        let matters = |f: &&Frame| matches!(f.owner, Owner::Own | Owner::Dependency | Owner::Tool);
        // What the runner itself holds of the workload is the workload's own state.
        if frames.iter().find(matters).map(|f| f.owner) == Some(Owner::Tool) {
            self.kind = HolderKind::Workload;
            self.thread = None;
            return;
        }
        let frame = first_of(Owner::Own)
            .or_else(|| first_of(Owner::Dependency))
            // What the test harness waits with says less than that it is the harness.
            .or_else(|| frames.iter().find(|f| is_of_test_harness(f)))
            .or_else(|| frames.iter().find(|f| f.line.is_some()));
        if let Some(frame) = frame {
            self.take_frame(frame);
        }
    }

    fn take_frame(&mut self, frame: &Frame) {
        self.name = Some(frame.function.clone());
        self.file.clone_from(&frame.file);
        self.line = frame.line;
    }
}

fn is_of_test_harness(frame: &Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default();
    frame.owner == Owner::Standard && file.starts_with("test/src/")
}

/// The name of a thread of the measured process; `None` if it was in no list of threads.
fn thread_name(id: u32, journal: &Journal) -> Option<String> {
    if id == journal.start.pid {
        return Some("main".to_owned());
    }
    let mut threads = journal.threads.iter().flat_map(|list| &list.threads);
    let thread = threads.find(|(known, _)| *known == id);
    thread.map(|(_, name)| name.clone())
}

/// The type of container or pointer that a block belongs to, by the functions of the standard
/// library that allocated it; `None` if they do not tell.
pub(super) fn container_type(stack: &[Frame]) -> Option<&'static str> {
    const TYPES: [(&str, &str); 13] = [
        ("alloc::sync::", "Arc"),
        ("alloc::rc::", "Rc"),
        ("hashbrown", "HashMap"),
        ("std::collections::hash", "HashMap"),
        ("btree", "BTreeMap"),
        ("vec_deque", "VecDeque"),
        ("linked_list", "LinkedList"),
        ("binary_heap", "BinaryHeap"),
        ("alloc::string", "String"),
        ("mpmc", "channel"),
        ("alloc::boxed", "Box"),
        ("alloc::vec", "Vec"),
        ("alloc::raw_vec", "Vec"),
    ];
    let allocation = stack.iter().take_while(|f| {
        matches!(f.owner, Owner::Standard | Owner::Tool) || f.function.contains("hashbrown")
    });
    // The outermost type says the most, because others are made of `Vec` and `Box`.
    let mut outermost = None;
    for frame in allocation {
        let found = TYPES.iter().find(|(part, _)| frame.function.contains(part));
        match found.map(|(_, name)| *name) {
            Some("Box" | "Vec") if outermost.is_some() => {}
            Some(name) => outermost = Some(name),
            None => {}
        }
    }
    outermost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_of_the_test_harness_is_named_as_the_harness() {
        let frames = [
            (
                "std::sync::mpmc::Receiver<T>::recv",
                "std/src/sync/mpmc/mod.rs",
            ),
            ("test::run_tests", "test/src/lib.rs"),
            ("test::console::run_tests_console", "test/src/console.rs"),
            ("std::rt::lang_start", "std/src/rt.rs"),
        ];
        let frames = frames.map(|(function, file)| Frame {
            function: function.into(),
            file: Some(file.into()),
            line: Some(7),
            owner: Owner::Standard,
        });
        let mut named = NamedHolder {
            kind: HolderKind::Stack,
            name: None,
            file: None,
            line: None,
            thread: Some("main".into()),
        };
        named.name_stack(&frames);
        assert_eq!(named.name.as_deref(), Some("test::run_tests"));
        assert_eq!(named.kind, HolderKind::Stack);
    }
}
