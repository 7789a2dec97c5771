//! What this library does when the loader has loaded it, and when the process exits.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::model::exec::{ENV_EXEC, ExecPlan, Marks};
use crate::recorder::{heap, privileges};
use crate::{fork, openings, python, session, symbols};

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

extern "C" fn start() {
    let _paused = heap::pause();
    match received_plan().map(|plan| plan.and_then(begin)) {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            heap::stop_recording();
            eprintln!("afterdrop: cannot record this process: {error}");
        }
        None => heap::stop_recording(),
    }
}

extern "C" fn end() {
    openings::end();
    session::end();
}

/// The plan of the command; `None` if this process is not to be measured.
fn received_plan() -> Option<io::Result<ExecPlan>> {
    if privileges::were_gained() {
        return None;
    }
    let text = std::env::var(ENV_EXEC).ok()?;
    Some(serde_json::from_str(&text).map_err(io::Error::other))
}

fn begin(plan: ExecPlan) -> io::Result<()> {
    let plan: &'static ExecPlan = Box::leak(Box::new(plan));
    if let Some(every) = plan.sample_every {
        heap::record_samples(every);
    }
    session::begin(plan)?;
    python::prepare();
    match &plan.marks {
        Marks::Open(pattern) => openings::watch(pattern),
        Marks::Function(name) => python::watch(name),
        Marks::Call | Marks::Every(_) | Marks::None => {}
    }
    if plan.collect {
        python::collect_at_marks();
    }
    symbols::CALLS_ARE_MARKS.store(plan.marks == Marks::Call, Relaxed);
    fork::follow();
    mark_by_time(plan)
}

/// Marks cycles by time, if the plan says so.
pub(crate) fn mark_by_time(plan: &ExecPlan) -> io::Result<()> {
    match plan.marks {
        Marks::Every(milliseconds) => mark_every(Duration::from_millis(milliseconds)),
        _ => Ok(()),
    }
}

/// Marks a cycle whenever this time has passed.
fn mark_every(interval: Duration) -> io::Result<()> {
    let marks = move || {
        loop {
            std::thread::sleep(interval);
            session::mark();
        }
    };
    std::thread::Builder::new()
        .name("afterdrop".into())
        .spawn(marks)
        .map(drop)
}
