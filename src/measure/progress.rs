//! Shows the progress of a run.

/// A progress display, such as a progress bar.
pub(crate) trait ShowProgress {
    /// Whether anybody sees it.
    #[cfg(feature = "exec")]
    fn is_shown(&self) -> bool;

    /// Called every few milliseconds while the measured process runs, from its first boundary on.
    ///
    /// `cycle` is the last cycle that reached its boundary, and `live_bytes` are the live bytes at
    /// it. `unsettled` is from the last interim analysis: how many verdicts may still change, and the
    /// reason of the worst of them.
    fn show(&mut self, cycle: u32, live_bytes: u64, unsettled: Option<(usize, &str)>);
}

/// Shows nothing.
impl ShowProgress for () {
    #[cfg(feature = "exec")]
    fn is_shown(&self) -> bool {
        false
    }

    fn show(&mut self, _cycle: u32, _live_bytes: u64, _unsettled: Option<(usize, &str)>) {}
}
