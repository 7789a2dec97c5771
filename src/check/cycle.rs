//! What a check's closure is handed, and what it may return.

use std::fmt::Display;

use crate::model::run::Phase;
use crate::recorder::cycle::{CycleBody, CycleError, PhaseTracker};

/// One running cycle.
#[derive(Debug)]
pub struct Cycle<'a> {
    pub(super) phases: &'a mut PhaseTracker,
}

impl Cycle<'_> {
    /// Runs the part that loads: what it allocates is reported as from `load`.
    pub fn load<R>(&mut self, load: impl FnOnce() -> R) -> R {
        let loaded = self.phases.load(load);
        self.phases.enter(Phase::Cycle);
        loaded
    }

    /// Runs the part that infers.
    pub fn infer<R>(&mut self, infer: impl FnOnce() -> R) -> R {
        self.within(Phase::Infer, infer)
    }

    /// Runs the part that drops, where that is worth telling apart.
    pub fn drop<R>(&mut self, drop: impl FnOnce() -> R) -> R {
        self.within(Phase::Drop, drop)
    }

    /// The number of this cycle, from 1.
    pub fn number(&self) -> u32 {
        self.phases.cycle()
    }

    fn within<R>(&mut self, phase: Phase, f: impl FnOnce() -> R) -> R {
        self.phases.enter(phase);
        let result = f();
        self.phases.enter(Phase::Cycle);
        result
    }
}

/// What a cycle's closure may return: nothing, or a `Result` whose error can be shown.
pub trait CycleResult {
    /// What there is to say.
    ///
    /// # Errors
    /// If the cycle failed: the error, as it shows itself with all its causes (`{:#}`).
    fn into_result(self) -> Result<(), String>;
}

impl CycleResult for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T, E: Display> CycleResult for Result<T, E> {
    fn into_result(self) -> Result<(), String> {
        self.map(drop).map_err(|error| format!("{error:#}"))
    }
}

/// A closure that is one cycle.
pub(super) struct Closure<F>(pub(super) F);

impl<R: CycleResult, F: FnMut(&mut Cycle<'_>) -> R> CycleBody for Closure<F> {
    fn run_cycle(&mut self, phases: &mut PhaseTracker) -> Result<(), CycleError> {
        let result = (self.0)(&mut Cycle { phases });
        result.into_result().map_err(CycleError::Workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_any_error_end_a_cycle() {
        assert!(().into_result().is_ok());
        assert!(Ok::<i32, std::fmt::Error>(1).into_result().is_ok());
        let text = Err::<(), &str>("no").into_result();
        assert_eq!(text, Err("no".into()));
        let boxed: Box<dyn std::error::Error> = "any".into();
        assert_eq!(Err::<(), _>(boxed).into_result(), Err("any".into()));
    }
}
