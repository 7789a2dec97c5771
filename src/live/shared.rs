//! What the thread that ends windows and the endpoints share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::helper::Analysis;
use super::metrics::Counted;
use super::profile::Profiler;
use super::settings::Settings;
use crate::base::error::Error;
use crate::recorder::heap;

/// What the thread and the endpoints share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) cycles: AtomicU64,
    pub(super) progress: Mutex<Progress>,
    pub(super) changed: Condvar,
    pub(super) profiler: Mutex<Made<Profiler>>,
}

/// How far the thread has got.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) is_stopped: bool,
    /// Another `Live` may have been started.
    pub(super) is_released: bool,
    /// Someone waits for an analysis.
    pub(super) is_wanted: bool,
    pub(super) windows: u64,
    pub(super) analyses: u64,
    pub(super) failures: u64,
    pub(super) analysed_at: Option<Instant>,
    pub(super) last: Arc<Analysis>,
    /// Why the last analysis failed.
    pub(super) failure: Option<String>,
}

/// Something that takes some time to make, and what was made last.
#[derive(Debug, Default)]
pub(super) struct Made<T> {
    pub(super) maker: T,
    pub(super) last: Option<(Instant, Vec<u8>)>,
}

/// Locks a mutex. What it guards is whole even if a thread panicked: each change is one assignment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread with a name.
///
/// # Errors
/// If the system refuses one.
pub(super) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    let thread = thread::Builder::new().name(name.into());
    let thread = thread.spawn(move || {
        // All that this thread allocates is the tool's.
        let _paused = heap::pause();
        body();
    });
    thread.map_err(|e| Error::unstarted("a thread of `Live`", &e))
}

impl Shared {
    /// What the last analysis has found, and why there is none since, if it failed.
    pub(super) fn last(&self) -> (Arc<Analysis>, Option<String>) {
        let progress = lock(&self.progress);
        (Arc::clone(&progress.last), progress.failure.clone())
    }

    /// What the last analysis has found. Waits for the first, if there was none yet.
    pub(super) fn first(&self) -> Arc<Analysis> {
        /// An analysis gives up earlier.
        const MOST: Duration = Duration::from_secs(90);
        let mut progress = lock(&self.progress);
        if progress.analysed_at.is_none() && !progress.is_stopped && heap::sampled_every().is_some()
        {
            progress.is_wanted = true;
            self.changed.notify_all();
            let waited = self.changed.wait_timeout_while(progress, MOST, |progress| {
                progress.is_wanted && !progress.is_stopped
            });
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Arc::clone(&progress.last)
    }

    /// What the service knows of itself.
    pub(super) fn counted(&self) -> Counted {
        let progress = lock(&self.progress);
        Counted {
            windows: progress.windows,
            cycles: self.cycles.load(Relaxed),
            analyses: progress.analyses,
            failures: progress.failures,
            age: progress.analysed_at.map(|at| at.elapsed().as_secs_f64()),
        }
    }
}
