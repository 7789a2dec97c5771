//! The cycles that the program runs, from mark to mark.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::model::exec::ExecPlan;
use crate::model::plan::{Plan, Subject};
use crate::model::run::{HeapKind, Strategy};
use crate::process;
use crate::python;
use crate::recorder::cycle::runner::Runner;
use crate::recorder::heap;
use crate::room::with_room;

/// The first cycle after which holders are searched for. Then they are after twice as many, and so on,
/// because it is not known which cycle will be the last.
const FIRST_SEARCH: u32 = 8;

static SESSION: Mutex<Session> = Mutex::new(Session::Closed);

pub(crate) enum Session {
    /// The process is not measured, or has been.
    Closed,
    /// It is a copy of a process that is measured, and has had no mark.
    Copied(&'static ExecPlan),
    Open(Box<Open>),
}

pub(crate) struct Open {
    runner: Runner<'static>,
    exec: &'static ExecPlan,
    plan: &'static Plan,
    /// The program has a `malloc` of its own.
    is_foreign: bool,
    /// The running cycle; 0 before the first mark.
    cycle: u32,
    /// When it began.
    since: Instant,
}

/// The session, and the lock that this thread holds.
pub(crate) type SessionGuard = MutexGuard<'static, Session>;

pub(crate) fn lock() -> SessionGuard {
    SESSION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins the journal of this process.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn begin(plan: &'static ExecPlan) -> io::Result<()> {
    let open = Open::new(plan)?;
    if open.is_foreign {
        // The command refuses it. The C library would mix both allocators in what it does for the recorder.
        heap::stop_recording();
        return Ok(());
    }
    *lock() = Session::Open(Box::new(open));
    Ok(())
}

/// The folder of this process; `None` if it is not measured.
pub(crate) fn folder() -> Option<PathBuf> {
    let mut folder = None;
    change(|open| {
        folder = Some(open.plan.out.clone());
        Ok(true)
    });
    folder
}

/// Ends the running cycle, if there is one, and begins the next.
pub(crate) fn mark() {
    if !is_measured() || python::is_ending() {
        return;
    }
    // Its frees are the program's.
    python::collect();
    let _paused = heap::pause();
    change(Open::mark);
}

/// Writes down what code is where, before an object is unloaded.
pub(crate) fn note_code() {
    if !is_measured() {
        return;
    }
    let _paused = heap::pause();
    if is_open() {
        change(|open| open.runner.write_code().map(|()| true));
    }
}

/// Ends the journal, when the process exits.
pub(crate) fn end() {
    if !is_measured() {
        return;
    }
    let _paused = heap::pause();
    if is_open() {
        change(|open| open.finish(false).map(|()| false));
    }
}

/// Whether this process records, and not the recorder itself runs on this thread.
fn is_measured() -> bool {
    heap::records_c() && !heap::is_paused()
}

/// Whether the journal of this process has begun.
fn is_open() -> bool {
    matches!(*lock(), Session::Open(_))
}

/// Changes the session, which begins in a copy. Closes it if the change returns false or fails.
fn change(change: impl FnOnce(&mut Open) -> io::Result<bool> + Send) {
    with_room(|| {
        let _paused = heap::pause();
        let mut session = lock();
        let changed = session.opened().and_then(|open| match open {
            Some(open) => change(open),
            None => Ok(false),
        });
        if let Err(error) = &changed {
            eprintln!("afterdrop: cannot write the journal of this process: {error}");
        }
        if !matches!(changed, Ok(true)) {
            *session = Session::Closed;
        }
    });
}

impl Session {
    /// Leaves the session of another process, of which this one is a copy, and returns its plan; `None` if that
    /// session has ended.
    pub(crate) fn forget(&mut self) -> Option<&'static ExecPlan> {
        let plan = match self {
            Self::Closed => return None,
            Self::Copied(plan) => plan,
            Self::Open(open) => open.exec,
        };
        *self = Self::Copied(plan);
        Some(plan)
    }

    /// The open session; `None` if the process is not measured.
    fn opened(&mut self) -> io::Result<Option<&mut Open>> {
        if let Self::Copied(plan) = self {
            *self = Self::Open(Box::new(Open::new(plan)?));
        }
        match self {
            Self::Open(open) => Ok(Some(open)),
            _ => Ok(None),
        }
    }
}

impl Open {
    /// Begins the journal of this process.
    fn new(exec: &'static ExecPlan) -> io::Result<Self> {
        let (folder, record) = process::announce(&exec.out)?;
        let plan: &'static Plan = Box::leak(Box::new(Plan {
            subject: Subject::Program(record.arguments.join(" ")),
            heap: HeapKind::System,
            strategy: Strategy::Fresh,
            cycles: exec.cycles,
            warmup: exec.warmup,
            horizon: exec.horizon,
            auto: None,
            holders: exec.holders,
            out: folder,
            replies: None,
        }));
        Ok(Self {
            runner: Runner::start(plan)?,
            exec,
            plan,
            is_foreign: record.foreign_malloc.is_some(),
            cycle: 0,
            since: Instant::now(),
        })
    }

    /// Returns whether the session goes on.
    fn mark(&mut self) -> io::Result<bool> {
        if self.cycle == 0 {
            // It may have been loaded since the process began.
            if let Some(found) = heap::find_python() {
                self.runner.write_interpreter(&found, self.exec.collect)?;
            }
            if !heap::walk_by(heap::choose_unwinder()) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.runner.prepare()?;
        } else {
            let nanos = self.since.elapsed().as_nanos() as u64;
            self.runner.end_cycle(nanos)?;
            if self.cycle == self.plan.cycles {
                self.finish(true)?;
                return Ok(false);
            }
            if self.plan.holders && is_search_due(self.cycle) {
                self.runner.search()?;
            }
        }
        self.cycle += 1;
        self.runner.begin_cycle(self.cycle);
        self.since = Instant::now();
        Ok(true)
    }

    /// Ends the journal. While the process exits, nothing is searched: its objects may be gone.
    fn finish(&mut self, search: bool) -> io::Result<()> {
        if self.cycle > 0 {
            self.runner.finish(search)?;
        }
        self.runner.end(None, None)
    }
}

fn is_search_due(cycle: u32) -> bool {
    cycle >= FIRST_SEARCH && cycle.is_power_of_two()
}
