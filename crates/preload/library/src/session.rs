//! The cycles that the program runs, from mark to mark.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::model::holders;
use crate::model::plan::Plan;
use crate::recorder::cycle::runner::Runner;
use crate::recorder::heap;

/// The first cycle after which holders are searched for. Then they are after twice as many, and so on,
/// because it is not known which cycle will be the last.
const FIRST_SEARCH: u32 = 8;

static SESSION: Mutex<Option<Session>> = Mutex::new(None);

struct Session {
    runner: Runner<'static>,
    plan: &'static Plan,
    /// The running cycle; 0 before the first mark.
    cycle: u32,
    /// When it began.
    since: Instant,
}

fn lock() -> MutexGuard<'static, Option<Session>> {
    SESSION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins the journal of this process.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn begin(plan: Plan) -> io::Result<()> {
    let plan: &'static Plan = Box::leak(Box::new(plan));
    *lock() = Some(Session {
        runner: Runner::start(plan)?,
        plan,
        cycle: 0,
        since: Instant::now(),
    });
    Ok(())
}

/// Ends the running cycle, if there is one, and begins the next.
pub(crate) fn mark() {
    if !heap::records_c() || heap::is_paused() {
        // A forked copy, or the recorder's own work.
        return;
    }
    let _paused = heap::pause();
    change(Session::mark);
}

/// Writes down what code is where, before an object is unloaded.
pub(crate) fn note_code() {
    if !heap::records_c() || heap::is_paused() {
        return;
    }
    let _paused = heap::pause();
    change(|session| session.runner.write_code().map(|()| true));
}

/// Ends the journal, when the process exits.
pub(crate) fn end() {
    if !heap::records_c() {
        return;
    }
    let _paused = heap::pause();
    change(|session| session.finish(false).map(|()| false));
}

/// Changes the session, and closes it if the change returns false or fails.
fn change(change: impl FnOnce(&mut Session) -> io::Result<bool>) {
    let mut session = lock();
    let Some(open) = session.as_mut() else { return };
    match change(open) {
        Ok(true) => {}
        Ok(false) => *session = None,
        Err(error) => {
            eprintln!("afterdrop: cannot write the journal of this process: {error}");
            *session = None;
        }
    }
}

impl Session {
    /// Returns whether the session goes on.
    fn mark(&mut self) -> io::Result<bool> {
        if self.cycle == 0 {
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
                self.search()?;
            }
        }
        self.cycle += 1;
        self.runner.begin_cycle(self.cycle);
        self.since = Instant::now();
        Ok(true)
    }

    fn search(&mut self) -> io::Result<()> {
        self.remove_last_search();
        self.runner.search()
    }

    /// The next search creates the file again.
    fn remove_last_search(&self) {
        let _ = std::fs::remove_file(self.plan.out.join(holders::FILE));
    }

    /// Ends the journal. While the process exits, nothing is searched: its objects may be gone.
    fn finish(&mut self, search: bool) -> io::Result<()> {
        if self.cycle > 0 {
            if search {
                self.remove_last_search();
            }
            self.runner.finish(search)?;
        }
        self.runner.end(None, None)
    }
}

fn is_search_due(cycle: u32) -> bool {
    cycle >= FIRST_SEARCH && cycle.is_power_of_two()
}
