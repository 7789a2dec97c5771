//! What a check's closure is handed, and what it may return.

use crate::cycle::{Body, Failure, Marks, Phase, Stopped};

/// One running cycle.
#[derive(Debug)]
pub struct Cycle<'a> {
    pub(super) marks: &'a mut Marks,
}

impl Cycle<'_> {
    /// Runs the part that loads: what it allocates is reported as from `load`.
    pub fn load<R>(&mut self, load: impl FnOnce() -> R) -> R {
        let loaded = self.marks.load(load);
        self.marks.enter(Phase::Cycle);
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
        self.marks.cycle()
    }

    fn within<R>(&mut self, phase: Phase, f: impl FnOnce() -> R) -> R {
        self.marks.enter(phase);
        let result = f();
        self.marks.enter(Phase::Cycle);
        result
    }
}

/// What a cycle's closure may return: nothing, or a `Result`.
pub trait CycleResult {
    /// The error that ends the run.
    ///
    /// # Errors
    /// If the cycle failed.
    fn into_result(self) -> Result<(), Failure>;
}

impl CycleResult for () {
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl<T, E: Into<Failure>> CycleResult for Result<T, E> {
    fn into_result(self) -> Result<(), Failure> {
        self.map(drop).map_err(Into::into)
    }
}

/// A closure that is one cycle.
pub(super) struct Closure<F>(pub(super) F);

impl<R: CycleResult, F: FnMut(&mut Cycle<'_>) -> R> Body for Closure<F> {
    fn cycle(&mut self, marks: &mut Marks) -> Result<(), Stopped> {
        let result = (self.0)(&mut Cycle { marks });
        Ok(result.into_result()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_any_error_end_a_cycle() {
        assert!(().into_result().is_ok());
        assert!(Ok::<i32, std::fmt::Error>(1).into_result().is_ok());
        assert!(Err::<(), &str>("no").into_result().is_err());
    }
}
