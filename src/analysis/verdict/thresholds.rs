//! Thresholds that several rules share.

/// Rises that are needed before anything is called growth, and values of a level that are needed
/// for a trend or an interval.
pub(super) const MIN_RISES: usize = 5;

/// Rises are dense if, on average, at least one in this many cycles is one.
pub(super) const DENSE_EVERY: u32 = 4;

/// The number of boundaries that a rise must have outlived before it counts towards the horizon.
/// A younger one may be the first of something that is freed again.
pub(super) const CONFIRMATION: u32 = 3;

/// Cycles without a rise before a call site can count as having stopped.
pub(super) const MIN_PLATEAU: u32 = 8;
