//! The journal of a service on one scale: the same records as those of a run, from which the same analysis makes a report.

use std::collections::HashSet;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use super::history::Scale;
use super::settings::Settings;
use crate::model::block::{NO_STACK, StackId};
use crate::model::journal::{
    self, Boundary, End, Record, RecordRef, RecordedPath, Stack, Start, VERSION,
};
use crate::model::run::{HeapKind, Strategy};
use crate::recorder::heap::{self, Unwinder};
use crate::recorder::live::{Code, Stacks};

/// Writes the journal of a scale.
///
/// # Errors
/// If `to` fails.
pub(super) fn write(
    scale: &Scale,
    unwinder: Unwinder,
    settings: &Settings,
    to: &mut impl Write,
) -> io::Result<()> {
    let cycles = scale.len() as u32 + 1;
    line(
        to,
        &Record::Start(Start {
            version: VERSION,
            workload: &settings.service,
            heap: heap_kind(),
            strategy: Strategy::Fresh,
            cycles,
            warmup: 1,
            horizon: settings.horizon,
            auto: false,
            pid: std::process::id(),
            by_cfi: unwinder == Unwinder::Cfi,
            sampled_every: heap::sampled_every(),
            exec: false,
            live: true,
        }),
    )?;
    let paused = heap::pause();
    let mut stacks = Stacks::new();
    for code in stacks.code(&paused) {
        line(to, &Record::Code(recorded(&code)))?;
    }
    let mut written: HashSet<StackId> = HashSet::new();
    scale.for_each_boundary(|counts, entries| {
        for entry in entries {
            if entry.stack_id != NO_STACK && written.insert(entry.stack_id) {
                let (stack, cut) = stacks.stack(entry.stack_id);
                let id = entry.stack_id;
                line(to, &Record::Stack(Stack { id, cut, stack }))?;
            }
        }
        let census = entries;
        line(to, &Record::Boundary(Boundary { counts, census }))
    })?;
    line(
        to,
        &Record::End(End {
            failure: None,
            early: None,
            cycle: Some(cycles),
        }),
    )
}

fn recorded(code: &Code) -> journal::Code<RecordedPath<&str, &[u8]>> {
    journal::Code {
        start: code.start,
        end: code.end,
        offset: code.offset,
        path: code.path.as_path().as_os_str().as_bytes().into(),
    }
}

fn line(to: &mut impl Write, record: &RecordRef<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *to, record)?;
    to.write_all(b"\n")
}

/// The allocator of a service, as reports name it.
pub(super) fn heap_kind() -> HeapKind {
    match heap::backend() {
        Some(heap::Backend::Jemalloc) => HeapKind::Jemalloc,
        _ => HeapKind::System,
    }
}
