//! [`Live`], and the thread that ends windows.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::control_group;
use super::helper;
use super::history::{Amount, Change, History};
use super::journals;
use super::last_report;
use super::listener;
use super::settings::Settings;
use super::shared::{Shared, lock, spawn};
use crate::base::error::Error;
use crate::model::verdict::FEWEST_CYCLES;
use crate::recorder::heap;
use crate::recorder::live::Windows;

/// How often the thread looks whether anything is to be done, at least and at most.
const TICK: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// Windows stretch, so that a service that runs for decades has as many as births can be told apart.
const MOST_WINDOWS: u32 = 100_000;

/// A window stretches until as many samples are expected in it: fewer do not tell anything.
const FEWEST_SAMPLES: u64 = 8;

/// Memory that a helper may need, in bytes. With less room below the limit none is started. A small service's needs 24 MB,
/// and one that needs more than there is, is killed in place of the service.
const HELPER_ROOM: u64 = 128 << 20;

/// Whether there is a [`Live`] in this process: there is one heap.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// A service that is judged while it runs.
///
/// Clones refer to the same. It stops when [`Live::stop`] is called, or when the last clone is dropped; then another one
/// may be started.
#[derive(Clone, Debug)]
pub struct Live(Arc<Handle>);

/// What all clones have in common.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    listener: Option<listener::Listener>,
    /// The process that started it.
    process: u32,
}

impl Live {
    /// Starts to judge this process, whose global allocator is [`Heap::live`](crate::Heap::live).
    ///
    /// If recording is off (`AFTERDROP_LIVE=off`), everything works, and nothing is found.
    ///
    /// # Errors
    /// If the global allocator is another one, there is a `Live` already, the value of `AFTERDROP_LIVE` is neither a
    /// number nor `off`, or the address of [`Settings::listen`] cannot be bound.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        check_heap()?;
        if IS_RUNNING.swap(true, Relaxed) {
            return Err(
                Error::usage("cannot start `Live`: there is one in this process already")
                    .hint("clones of a `Live` refer to the same: pass one on"),
            );
        }
        let started = Self::start_only_one(settings);
        if started.is_err() {
            IS_RUNNING.store(false, Relaxed);
        }
        started
    }

    fn start_only_one(settings: Settings) -> Result<Self, Error> {
        // What is kept here is the tool's, and is not recorded.
        let _paused = heap::pause();
        let shared = Arc::new(Shared {
            settings,
            cycles: AtomicU64::new(0),
            progress: Mutex::default(),
            changed: Condvar::new(),
            profiler: Mutex::default(),
        });
        let listener = match shared.settings.listen {
            Some(address) => Some(listener::start(address, &shared)?),
            None => None,
        };
        let thread = match heap::sampled_every() {
            Some(_) => {
                let shared = Arc::clone(&shared);
                Some(spawn("afterdrop-live", move || watch(&shared))?)
            }
            None => None,
        };
        Ok(Self(Arc::new(Handle {
            shared,
            thread: Mutex::new(thread),
            listener,
            process: std::process::id(),
        })))
    }

    /// Says that a cycle has ended: a request was answered, or a model was reloaded. Then a window has a number of
    /// cycles, and not only a time. Costs a few nanoseconds.
    pub fn cycle(&self) {
        self.0.shared.cycles.fetch_add(1, Relaxed);
    }

    /// The address that the listener of [`Settings::listen`] is bound to; `None` without one.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.0.listener.as_ref().map(listener::Listener::address)
    }

    /// Stops all clones. Endpoints answer with what was found last.
    pub fn stop(&self) {
        self.0.stop();
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }
}

impl Handle {
    fn stop(&self) {
        if std::process::id() != self.process {
            // A forked copy has no thread that could be waited for.
            return;
        }
        let _paused = heap::pause();
        let Some(thread) = lock(&self.thread).take() else {
            return self.release();
        };
        lock(&self.shared.progress).is_stopped = true;
        self.shared.changed.notify_all();
        // It does not panic: what may fail is an error.
        let _ = thread.join();
        self.release();
    }

    /// Lets another one start, once.
    fn release(&self) {
        if let Some(listener) = &self.listener {
            listener.stop();
        }
        if !std::mem::replace(&mut lock(&self.shared.progress).is_released, true) {
            IS_RUNNING.store(false, Relaxed);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// That the global allocator records, or why it does not.
fn check_heap() -> Result<(), Error> {
    if !heap::is_live() {
        return Err(Error::usage(
            "cannot start `Live`: the global allocator is not `Heap::live()`",
        )
        .hint("#[global_allocator] static HEAP: afterdrop::Heap = afterdrop::Heap::live();"));
    }
    let value = std::env::var_os(heap::ENV_LIVE.to_string_lossy().as_ref());
    let is_off = value.as_ref().is_some_and(|value| value == "off");
    if heap::sampled_every().is_none() && !is_off {
        let value = value.unwrap_or_default();
        return Err(Error::usage(format!(
            "cannot start `Live`: AFTERDROP_LIVE must be a positive number of bytes or `off`, got {value:?}"
        )));
    }
    Ok(())
}

/// Ends windows, and analyses, until the service stops.
fn watch(shared: &Shared) {
    let mut watch = Watch {
        shared,
        windows: Windows::begin(&heap::pause()),
        history: History::new(),
        begun: Instant::now(),
        window_begun: Instant::now(),
        cycles_before: 0,
        is_reported: false,
    };
    let [least, most] = TICK;
    let tick = (shared.settings.window / 4).clamp(least, most);
    loop {
        let progress = lock(&shared.progress);
        let waited = shared
            .changed
            .wait_timeout_while(progress, tick, |progress| {
                !progress.is_stopped && !progress.is_wanted
            });
        let (progress, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (is_stopped, is_wanted) = (progress.is_stopped, progress.is_wanted);
        drop(progress);
        if is_stopped {
            return;
        }
        watch.tick(is_wanted);
    }
}

struct Watch<'a> {
    shared: &'a Shared,
    windows: Windows,
    history: History,
    begun: Instant,
    window_begun: Instant,
    cycles_before: u64,
    /// Whether the report before the end was written.
    is_reported: bool,
}

impl Watch<'_> {
    fn tick(&mut self, is_wanted: bool) {
        if self.is_window_over() {
            self.end_window();
        }
        if is_wanted || self.is_analysis_due() {
            self.analyse();
        }
        if !self.is_reported && self.shared.settings.report_folder.is_some() {
            self.report_before_the_end();
        }
    }

    /// Writes the report if the memory of the control group runs short.
    fn report_before_the_end(&mut self) {
        let Some(usage) = control_group::usage() else {
            return;
        };
        let share = usage.used as f64 / usage.limit.max(1) as f64;
        self.is_reported = share >= self.shared.settings.report_at;
        if self.is_reported {
            let unwinder = self.windows.unwinder();
            last_report::write(self.shared, &self.history, unwinder, usage);
        }
    }

    /// Whether the window has taken long enough, has enough cycles, and enough was allocated in it.
    fn is_window_over(&self) -> bool {
        let settings = &self.shared.settings;
        let shortest = settings.window.max(self.begun.elapsed() / MOST_WINDOWS);
        let cycles = self.shared.cycles.load(Relaxed);
        let has_cycles = cycles == 0 || cycles - self.cycles_before >= settings.cycles;
        let every = heap::sampled_every().unwrap_or(u64::MAX);
        let has_samples = || self.windows.allocated_bytes() >= FEWEST_SAMPLES.saturating_mul(every);
        self.window_begun.elapsed() >= shortest && has_cycles && has_samples()
    }

    fn end_window(&mut self) {
        let nanos = self.window_begun.elapsed().as_nanos() as u64;
        let Ok(counts) = self.windows.end(nanos) else {
            // There is no memory for a census: the window goes on.
            return;
        };
        self.window_begun = Instant::now();
        self.cycles_before = self.shared.cycles.load(Relaxed);
        let changes: Vec<Change> = self
            .windows
            .changes()
            .map(|(entry, (bytes, blocks))| Change {
                stack: entry.stack_id,
                born: entry.birth,
                by: Amount {
                    bytes: entry.bytes as i64 - bytes as i64,
                    blocks: entry.blocks as i64 - blocks as i64,
                },
            })
            .collect();
        self.history.add(counts, &changes);
        lock(&self.shared.progress).windows += 1;
    }

    fn is_analysis_due(&self) -> bool {
        let has_windows = self.history.scales[0].len() >= FEWEST_CYCLES as usize;
        let before = lock(&self.shared.progress).analysed_at;
        let every = self.shared.settings.analysis;
        has_windows && before.is_none_or(|at| at.elapsed() >= every)
    }

    fn analyse(&mut self) {
        let answer = match control_group::usage() {
            Some(usage) if usage.limit.saturating_sub(usage.used) < HELPER_ROOM => {
                Err(Error::child(format!(
                    "the service was not judged: of the memory limit of its control group less than {} MiB are left",
                    HELPER_ROOM >> 20
                )))
            }
            _ => helper::ask(|mut to| self.write_journals(&mut to)),
        };
        let mut progress = lock(&self.shared.progress);
        progress.is_wanted = false;
        progress.analysed_at = Some(Instant::now());
        match answer {
            Ok(analysis) => {
                progress.analyses += 1;
                progress.failure = None;
                progress.last = Arc::new(analysis);
            }
            Err(error) => {
                progress.failures += 1;
                progress.failure = Some(error.to_string());
            }
        }
        self.shared.changed.notify_all();
    }

    /// Writes what is live now, and the journals of all scales that have windows enough.
    fn write_journals(&self, mut to: &mut dyn Write) -> std::io::Result<()> {
        let (unwinder, settings) = (self.windows.unwinder(), &self.shared.settings);
        journals::write_now(unwinder, settings, &mut to)?;
        to.write_all(b"\n")?;
        for (number, scale) in self.history.scales.iter().enumerate() {
            if scale.len() > 0 && (number == 0 || scale.len() >= FEWEST_CYCLES as usize) {
                journals::write(scale, unwinder, settings, &mut to)?;
                to.write_all(b"\n")?;
            }
        }
        Ok(())
    }
}
