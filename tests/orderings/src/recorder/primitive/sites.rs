//! The orderings that models execute, and the one that is weakened.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::Location;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{self, Relaxed};

/// A line of the recorder that has an ordering stronger than `Relaxed`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Below `src/recorder`.
    pub file: String,
    pub line: u32,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl FromStr for Site {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (file, line) = text.split_once(':').ok_or("not file:line")?;
        let line = line.parse().map_err(|e| format!("{line}: {e}"))?;
        Ok(Self {
            file: file.to_owned(),
            line,
        })
    }
}

static WEAKENED: OnceLock<Site> = OnceLock::new();

thread_local! {
    static EXECUTED: RefCell<BTreeSet<(&'static str, u32)>> = RefCell::default();
}

/// Weakens the orderings of a site to `Relaxed` in this process.
pub fn weaken(site: Site) {
    WEAKENED.set(site).expect("one site is weakened");
}

/// The sites that were executed since the last call.
pub fn take_executed() -> BTreeSet<Site> {
    let executed = EXECUTED.take().into_iter();
    executed.map(|(file, line)| site(file, line)).collect()
}

fn site(file: &str, line: u32) -> Site {
    let (_, file) = file.rsplit_once("src/recorder/").unwrap_or(("", file));
    Site {
        file: file.to_owned(),
        line,
    }
}

/// Whether the ordering at a place is weakened, which is not `Relaxed`.
pub fn is_weakened(place: &'static Location<'static>) -> bool {
    EXECUTED.with_borrow_mut(|executed| executed.insert((place.file(), place.line())));
    let is_at = |weakened: &Site| {
        place.line() == weakened.line && site(place.file(), place.line()) == *weakened
    };
    WEAKENED.get().is_some_and(is_at)
}

/// An ordering, or `Relaxed` if it is weakened.
#[track_caller]
pub fn weakest(ordering: Ordering) -> Ordering {
    match ordering != Relaxed && is_weakened(Location::caller()) {
        true => Relaxed,
        false => ordering,
    }
}
