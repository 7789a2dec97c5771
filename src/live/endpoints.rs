//! What [`Live`] answers: bytes and texts that any web framework can return.

use std::time::{Duration, Instant};

use super::metrics;
use super::service::Live;
use super::shared::{Shared, lock};
use crate::recorder::heap;

/// For so long the profile that was made last is the answer. So parallel requests cost one.
const PROFILE_AGE: Duration = Duration::from_secs(1);

/// The answers, for `Content-Type`: `application/octet-stream` for profiles, `text/plain; version=0.0.4` for metrics,
/// `text/html; charset=utf-8` for the page, and `application/json`.
impl Live {
    /// pprof's profile of what is in use, compressed with gzip, for `/debug/pprof/heap` and `/debug/pprof/allocs`: blocks
    /// and bytes by stack, estimated from samples. It has addresses and build IDs in place of names: pprof, Parca and
    /// Pyroscope find the names.
    ///
    /// What is returned is at most a second old.
    pub fn pprof(&self) -> Vec<u8> {
        self.shared().pprof()
    }

    /// The same with names, as the last analysis has found it, for `?symbolize=1`. If there was no analysis yet, waits for
    /// the first, at most a minute; empty if it fails.
    pub fn pprof_with_names(&self) -> Vec<u8> {
        self.shared().pprof_with_names()
    }

    /// The metrics, for `/metrics`, in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.shared().metrics()
    }

    /// The page, for `/debug/afterdrop`: call sites with verdict, growth and generations, as the last analysis has found
    /// them.
    pub fn page(&self) -> String {
        self.shared().page()
    }

    /// The report of the last analysis as JSON, for `/debug/afterdrop.json`: `afterdrop compare` reads two of them.
    /// `null` before the first analysis.
    pub fn json(&self) -> String {
        self.shared().json()
    }
}

impl Shared {
    pub(super) fn pprof(&self) -> Vec<u8> {
        let paused = heap::pause();
        let mut profiler = lock(&self.profiler);
        if let Some((at, profile)) = &profiler.last
            && at.elapsed() < PROFILE_AGE
        {
            return profile.clone();
        }
        let profile = profiler.maker.profile(&paused);
        profiler.last = Some((Instant::now(), profile.clone()));
        profile
    }

    pub(super) fn pprof_with_names(&self) -> Vec<u8> {
        let _paused = heap::pause();
        self.first().profile.clone()
    }

    pub(super) fn metrics(&self) -> String {
        let _paused = heap::pause();
        let (last, _) = self.last();
        metrics::text(&self.settings.service, &last.growth, self.counted())
    }

    pub(super) fn page(&self) -> String {
        let _paused = heap::pause();
        let (last, failure) = self.last();
        if !last.page.is_empty() {
            return String::from_utf8_lossy(&last.page).into_owned();
        }
        let why = failure.unwrap_or_else(|| self.why_nothing());
        let title = format!("{}: nothing to show yet", self.settings.service);
        crate::report::formats::note_page(&title, &why)
    }

    pub(super) fn json(&self) -> String {
        let _paused = heap::pause();
        let (last, _) = self.last();
        match last.report.is_empty() {
            true => "null\n".into(),
            false => String::from_utf8_lossy(&last.report).into_owned(),
        }
    }

    /// Why there is no analysis.
    fn why_nothing(&self) -> String {
        if heap::sampled_every().is_none() {
            return "recording is off: AFTERDROP_LIVE=off".into();
        }
        let windows = self.counted().windows;
        format!(
            "the first analysis comes when enough windows have ended: {windows} so far. A window ends when its time is \
             over, enough cycles were counted, and enough was allocated in it"
        )
    }
}
